//! Switching generations under running servers: nothing fails, and everybody reads what was written.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use futures_util::future::join_all;
use rustix::process::{Signal, kill_process};
use sqlx::PgPool;

use super::{tables, value};
use crate::client::{Person, two_people};
use crate::patience::eventually;
use crate::program::Program;
use crate::server::{Server, two_nodes};

fn program(server: &Server) -> Program {
    Program::on(server.setup().database_url(), &server.setup().master_key())
}

async fn pool(server: &Server) -> PgPool {
    PgPool::connect(server.setup().database_url()).await.unwrap()
}

/// Writes at one node, reads at the other, until asked to stop. Every request must succeed and show what was written.
async fn talk(from: &Person, to: &Person, thread: &str, nodes: [&Server; 2], stop: &AtomicBool, count: &AtomicU32) {
    for turn in 0.. {
        let [here, there] = if turn % 2 == 0 { [nodes[0], nodes[1]] } else { [nodes[1], nodes[0]] };
        let number = from.at(here).write(thread, to, &format!("turn {turn}")).await;
        let shown = to.at(there).messages(thread).await;
        let last = shown.last().expect("messages")["messageID"].as_str().expect("an id").to_owned();
        assert_eq!(last, number.to_string());
        let listed = to.at(there).threads().await;
        assert!(listed.iter().any(|listed| listed["threadID"] == thread), "{listed:?}");
        count.fetch_add(1, Ordering::Relaxed);
        if stop.load(Ordering::Relaxed) {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_go_on_through_switches() {
    let (one, two) = two_nodes().await;
    let program = program(&one);
    let pool = pool(&one).await;
    let mut people = Vec::new();
    for _ in 0..4 {
        people.push(two_people(&one).await);
    }
    let (stop, count) = (AtomicBool::new(false), AtomicU32::new(0));
    let talks = people.iter().map(|(from, to, thread)| talk(from, to, thread, [&one, &two], &stop, &count));
    let rebuilds = async {
        for round in 2..=6 {
            let before = count.load(Ordering::Relaxed);
            let how: &[&str] = if round % 2 == 0 { &["rebuild"] } else { &["rebuild", "messages", "read-marks"] };
            let output = program.run(how).await.fine();
            assert!(output.starts_with(&format!("read_{round} is live")), "{output}");
            if round == 4 {
                // There and back, and what is old goes at once.
                program.run(&["rebuild", "--rollback"]).await.fine();
                program.run(&["rebuild", "--rollback"]).await.fine();
                program.run(&["rebuild", "--drop-old"]).await.fine();
            }
            eventually("they talk in this generation", async || count.load(Ordering::Relaxed) > before + 8).await;
        }
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(join_all(talks), rebuilds);
    assert_eq!(value::<i32>(&pool, "select generation from log_head").await, 6);
    assert!(program.run(&["check"]).await.fine().ends_with("sound\n"));
    for server in [one, two] {
        let log = server.kill().await.log();
        assert!(log.contains("a rebuilt generation of the read models is live"), "{log}");
        assert!(!log.contains("ERROR"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_slept_through_a_switch_wakes_up_in_the_new_generation() {
    let (one, two) = two_nodes().await;
    let (alice, bob, thread) = two_people(&one).await;
    bob.at(&two).messages(&thread).await;
    alice.at(&two).write(&thread, &bob, "before").await;
    let pool = pool(&one).await;
    kill_process(two.pid(), Signal::STOP).unwrap();
    program(&one).run(&["rebuild"]).await.fine();
    program(&one).run(&["rebuild", "--drop-old"]).await.fine();
    assert_eq!(tables(&pool, "read_1").await, [""; 0]);
    kill_process(two.pid(), Signal::CONT).unwrap();
    // Its tables are gone: both a write and a read notice.
    let (writer, reader) = (alice.at(&two), bob.at(&two));
    let (written, shown) = tokio::join!(writer.write(&thread, &bob, "after"), reader.messages(&thread));
    assert_eq!(written, 3);
    assert!(shown.len() >= 2);
    assert_eq!(bob.at(&two).messages(&thread).await.len(), 3);
    assert!(!two.kill().await.log().contains("ERROR"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_rebuilds_at_start_and_stops_the_nodes_of_before() {
    let one = Server::start().await;
    let (alice, bob, thread) = two_people(&one).await;
    alice.write(&thread, &bob, "before").await;
    let pool = pool(&one).await;
    // As an older be8 would have left it: other tables, under another shape.
    let older =
        "update read_generations set models = array_replace(models, models[1], 'accounts@0:0'), build = '0.0.9'";
    sqlx::query(older).execute(&pool).await.unwrap();
    let two = one.setup().second().start().await;
    assert_eq!(value::<i32>(&pool, "select generation from log_head").await, 2);
    assert_eq!(bob.at(&two).messages(&thread).await.len(), 2);
    assert!(two.setup().log().contains("the read models are of another version: rebuilding"));
    // The first one is of this build, too, and goes on; one that knows other read models only must not.
    alice.at(&one).write(&thread, &bob, "after").await;

    let foreign = "insert into read_generations select 3, '{accounts@9:9}', '99.0.0', 'live', rebuilt, null, reached,
                   indexes from read_generations where generation = 2";
    sqlx::query(foreign).execute(&pool).await.unwrap();
    sqlx::query("update log_head set generation = 3").execute(&pool).await.unwrap();
    let refused = alice.at(&one).client.post("/writemessage", &alice.letter(&thread, &bob.id, "no")).await;
    assert_eq!(refused.verdict(), "503 UNAVAILABLE");
    for server in [one, two] {
        let (setup, status) = server.ended().await;
        assert!(status.success(), "{status}");
        assert!(setup.log().contains("another version of be8 has made its own read models live: this node stops"));
        // And it does not come back to undo what a newer one did.
        let (mut process, _) = setup.launch();
        assert_eq!(process.wait().await.unwrap().code(), Some(1));
        assert!(setup.log().contains("be8: the live read models were made by be8 99.0.0, which is newer"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_upgrade_nobody_reads_by_statements_for_tables_of_another_shape() {
    let server = Server::start().await;
    let (alice, bob, thread) = two_people(&server).await;
    alice.write(&thread, &bob, "before").await;
    let pool = pool(&server).await;
    let setup = server.kill().await;
    // Tables as another build may have made them: columns of other names and types.
    let shape = "update read_generations set models = '{}', build = '0.0.9';
                 alter table read_1.account rename until to other;
                 alter table read_1.message alter thread type text using thread::text;
                 alter table read_1.device rename endpoint to other";
    sqlx::raw_sql(shape).execute(&pool).await.unwrap();
    let server = setup.start().await;
    assert_eq!(bob.at(&server).messages(&thread).await.len(), 2);
    assert_eq!(alice.at(&server).threads().await.len(), 2);
    alice.at(&server).write(&thread, &bob, "after").await;
    assert_eq!(value::<i32>(&pool, "select generation from log_head").await, 2);
    let log = server.kill().await.log();
    assert!(!log.contains("does not exist") && !log.contains("gave up"), "{log}");
}
