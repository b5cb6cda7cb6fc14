//! The read models of groups, rebuilt from the log in pages of any size, are the live ones row by row.

use futures_util::future::join_all;
use serde_json::json;

use super::people;
use crate::client::Person;
use crate::cluster::fresh_database;
use crate::replay::replay;
use crate::rig::Rig;
use crate::server::Setup;

/// Lives of groups side by side, so that batches hold events of several.
async fn lives(people: &[Person; 4]) {
    let [alice, bob, carol, dave] = people;
    let life = async |admin: &Person, others: [&Person; 3]| {
        let group = admin.creates("public", json!(4)).await;
        let [first, second, third] = others;
        admin.takes_version(&group).await;
        let enter = [admin, first, second].map(|who| who.asks("/groupjoinmember", &group));
        join_all(enter).await;
        admin.adds(&group, third).await;
        for member in others {
            let key = json!({
                "groupID": group, "accID": member.id, "keyholder": admin.id, "groupKey": "a wrapped key",
            });
            admin.client.post("/groupstorekey", &key).await;
        }
        join_all([admin, first, second, third].map(|who| who.says(&group, "hello"))).await;
        join_all([first, second].map(|who| who.messages(&group))).await;
        let gone = [first.asks("/groupleavemember", &group), second.asks("/groupleavemember", &group)];
        join_all(gone).await;
        first.enters(&group).await;
        first.takes_version(&group).await;
        first.says(&group, "again").await;
        admin.kicks(&group, third).await;
        admin.messages(&group).await;
        let signal = json!({ "groupID": group, "update": "joinmember" });
        first.client.post("/grouptriggersseupdate", &signal).await;
        group
    };
    let groups = futures_util::future::join(
        life(alice, [bob, carol, dave]),
        futures_util::future::join(life(bob, [carol, dave, alice]), life(carol, [dave, alice, bob])),
    )
    .await;
    // One goes on, one is destroyed, one goes with its admin.
    let (_, (second, third)) = groups;
    bob.destroys(&second).await;
    carol.leaves(&third).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_says_all_that_is_in_the_tables() {
    let database = fresh_database().await;
    let server = Setup::on(&database).start().await;
    let people = people(&server, ["Alice", "Bob", "Carol", "Dave"]).await;
    lives(&people).await;
    let rig = Rig::on(&database.url).await;
    for page in [1, 2, 7, 40, 10_000] {
        replay(&rig, page).await;
    }
    // What there is to compare is there.
    for (table, least) in [("groups", 3), ("group_stay", 15), ("group_key", 9), ("message", 60), ("read_mark", 6)] {
        let sql = format!("select count(*) from read_1.{table}");
        let rows: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&rig.pool).await.unwrap();
        assert!(rows >= least, "{table}: {rows}");
    }
}
