//! Removals that race with everything else, on two nodes, and that are killed in their middle: nobody comes back, nothing
//! is forgotten, nothing happens twice.

use std::collections::{BTreeMap, BTreeSet};

use be8::domain::account::CreateAccount;
use be8::domain::dialog::StartConversation;
use be8_events::{AccId, AccountEvent, DialogEvent, ErasureEvent, Event, GroupEvent, MessageEvent, Recorded, ThreadId};
use futures_util::future::{join_all, try_join_all};
use serde_json::json;
use sqlx::PgPool;

use crate::client::Person;
use crate::faults::sound_log;
use crate::groups::people;
use crate::library::Library;
use crate::patience::eventually;
use crate::replay::replay;
use crate::rig::{Rig, create, token};
use crate::server::{Server, two_nodes};

/// The accounts that a log removes, and where.
fn removals(log: &[Recorded]) -> BTreeMap<AccId, i64> {
    let mut removed = BTreeMap::new();
    for event in log {
        if let Event::Account(AccountEvent::AccountRemoved(e)) = &event.event {
            assert_eq!(removed.insert(e.account, event.position.0), None, "{} is removed twice", e.account);
        }
    }
    removed
}

/// Nothing binds itself to an account that is gone, and nothing that hung on it is left over.
pub fn nobody_comes_back(log: &[Recorded]) {
    let removed = removals(log);
    let gone = |account: AccId, at: &Recorded| removed.get(&account).is_some_and(|position| *position < at.position.0);
    let mut dialogs: BTreeSet<ThreadId> = BTreeSet::new();
    let mut members = BTreeSet::new();
    let mut erased = BTreeSet::new();
    for event in log {
        let living = |account: AccId| assert!(!gone(account, event), "{account} in {:?}", event.event);
        match &event.event {
            Event::Dialog(DialogEvent::ConversationStarted(e)) => {
                let ThreadId::Dialog { initiator, receiver } = e.thread else { panic!("{:?}", e.thread) };
                [initiator, receiver].into_iter().for_each(living);
                dialogs.insert(e.thread);
            }
            Event::Dialog(DialogEvent::ConversationEnded(e)) => {
                assert!(gone(e.gone, event));
                assert!(dialogs.remove(&e.thread), "{:?} ends twice", e.thread);
            }
            Event::Message(MessageEvent::MessageWritten(e)) => {
                living(e.sender);
                e.thread.partner_of(e.sender).into_iter().for_each(living);
            }
            Event::Group(GroupEvent::GroupCreated(e)) => {
                living(e.admin);
                members.insert((e.group, e.admin));
            }
            Event::Group(GroupEvent::MemberJoined(e)) => {
                living(e.account);
                members.insert((e.group, e.account));
            }
            Event::Group(GroupEvent::MemberAdded(e)) => {
                [e.account, e.by].into_iter().for_each(living);
                members.insert((e.group, e.account));
            }
            Event::Group(GroupEvent::MemberLeft(e)) => assert!(members.remove(&(e.group, e.account))),
            Event::Group(GroupEvent::MemberKicked(e)) => assert!(members.remove(&(e.group, e.account))),
            Event::Group(GroupEvent::GroupDestroyed(e)) => e.members.iter().for_each(|(member, _)| {
                assert!(members.remove(&(e.group, *member)));
            }),
            Event::Group(GroupEvent::GroupKeyStored(e)) => {
                [e.account, e.by, e.keyholder].into_iter().for_each(living);
            }
            Event::Erasure(ErasureEvent::KeysDeleted(e)) => {
                e.keys.iter().for_each(|key| assert!(erased.insert(key.id), "erased twice"))
            }
            _ => {}
        }
    }
    let orphans: Vec<_> =
        dialogs.iter().filter(|thread| removed.keys().any(|account| thread.partner_of(*account).is_some())).collect();
    assert!(orphans.is_empty(), "{orphans:?}");
    let orphans: Vec<_> = members.iter().filter(|(_, member)| removed.contains_key(member)).collect();
    assert!(orphans.is_empty(), "{orphans:?}");
}

/// How many conversations and memberships of removed accounts there are.
pub async fn ties(pool: &PgPool) -> i64 {
    sqlx::query_scalar(
        "select (select count(*) from read_1.thread_member t join read_1.removal r on r.account = t.account
                 where t.thread > 0)
              + (select count(*) from read_1.group_stay s join read_1.removal r on r.account = s.account
                 where s.closed is null)",
    )
    .fetch_one(pool)
    .await
    .unwrap()
}

/// Shows (docs/protocol.md): Requests in flight.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removals_race_with_writes_joins_and_keys_on_two_nodes() {
    let (one, two) = two_nodes().await;
    let library = Library::open(&one).await;
    for round in 0..6 {
        let [alice, bob, carol] = people(&one, ["Alice", "Bob", "Carol"]).await;
        let thread = alice.start_conversation(&bob).await;
        let mine = alice.founds().await;
        let theirs = bob.founds().await;
        bob.enters(&mine).await;
        bob.takes_version(&theirs).await;
        let key = json!({ "groupID": theirs, "accID": bob.id, "keyholder": alice.id, "groupKey": "wrapped by Alice" });
        let nodes = [&one, &two];
        // Everybody at every node does to Alice what can be done, and she to them, while she vanishes.
        let work = (0..10).map(|nth: usize| {
            let (alice, bob, carol) = (alice.at(nodes[nth % 2]), bob.at(nodes[nth / 2 % 2]), carol.at(nodes[nth % 2]));
            let (thread, mine, theirs, key) = (&thread, &mine, &theirs, &key);
            async move {
                let letters = [alice.letter(thread, &bob.id, "from her"), bob.letter(thread, &alice.id, "to her")];
                let receiver = json!({ "receiverID": alice.id });
                tokio::join!(
                    alice.client.post("/writemessage", &letters[0]),
                    bob.client.post("/writemessage", &letters[1]),
                    carol.client.post("/startconversation", &receiver),
                    bob.asks_for("/groupaddmember", theirs, &alice),
                    carol.asks("/groupjoinmember", mine),
                    alice.asks("/groupjoinmember", theirs),
                    bob.client.post("/groupstorekey", key),
                    bob.client.get("/getthreads"),
                )
            }
        });
        let vanish = async {
            // Sooner or later in the turmoil.
            for _ in 0..round * 2 {
                alice.client.get("/me").await;
            }
            let at = nodes[round % 2];
            join_all([alice.at(at).destroys_account(), alice.at(&one).destroys_account()]).await
        };
        let (answers, vanished) = tokio::join!(join_all(work), vanish);
        let answers: Vec<_> =
            answers.into_iter().flat_map(|(a, b, c, d, e, f, g, h)| [a, b, c, d, e, f, g, h]).collect();
        assert!(answers.iter().all(|answer| answer.status < 500), "{answers:?}");
        assert_eq!(vanished.iter().filter(|answer| answer.status == 200).count(), 1, "{vanished:?}");
        for bob in [bob.at(&one), bob.at(&two)] {
            assert!(bob.threads().await.iter().all(|listed| listed["threadID"] != thread));
            assert!(!bob.members(&theirs).await.contains(&alice.id));
        }
    }
    eventually("nothing hangs on the dead", async || ties(&library.pool).await == 0).await;
    let log = sound_log(&library.pool).await;
    assert_eq!(removals(&log).len(), 6);
    nobody_comes_back(&log);
    replay(&Rig::on(one.setup().database_url()).await, 1000).await;
}

/// Somebody who has talked to many; the others answer to nobody.
async fn popular(server: &Server, library: &Library, partners: u64) -> Person {
    let star = Person::sign_up(server, "Star").await;
    let receiver = Some(star.id.parse().unwrap());
    let begin = (1..=partners).map(|nth| async move {
        library.ledger.execute(CreateAccount { ..create(nth) }).await?;
        library.ledger.execute(StartConversation { session: Some(token(nth)), receiver }).await
    });
    try_join_all(begin).await.expect("conversations");
    star
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_that_is_killed_in_its_middle_is_finished_by_who_comes_next() {
    let server = Server::start().await;
    let library = Library::open(&server).await;
    let star = popular(&server, &library, 600).await;
    let group = star.founds().await;
    star.vanishes().await;
    // More than fits the step before the answer.
    let left = ties(&library.pool).await;
    let setup = server.kill().await;
    let after_the_kill = ties(&library.pool).await;
    assert!(left > 0 && after_the_kill > 0, "{left} and {after_the_kill}: the removal was over before the kill");
    assert!(after_the_kill < 602, "nothing was done before the answer");
    let server = setup.start().await;
    eventually("nothing hangs on the dead", async || ties(&library.pool).await == 0).await;
    let log = sound_log(&library.pool).await;
    nobody_comes_back(&log);
    let ended =
        log.iter().filter(|event| matches!(event.event, Event::Dialog(DialogEvent::ConversationEnded(_)))).count();
    assert_eq!(ended, 600, "each conversation once");
    assert!(log.iter().any(
        |event| matches!(&event.event, Event::Group(GroupEvent::GroupDestroyed(e)) if e.group.to_string() == group)
    ));
    eventually("the public key is erased", async || {
        let said = server.setup().run(&["erasure-report", &star.id]).await;
        said.success && said.out.contains("The erasure is complete")
    })
    .await;
    replay(&Rig::on(server.setup().database_url()).await, 1000).await;
}
