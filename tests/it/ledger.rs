//! The ledger and its log on a real PostgreSQL: versions, reading, batches, failures and the clock.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use be8::domain::erasure::Erase;
use be8::domain::{Command, Decision, Rejection, Stop, View};
use be8::ledger::{Direction, ExpectedVersion, LedgerError, LedgerSettings, LogError};
use be8::support::clock::{Clock, SystemClock};
use be8_events::erasure::Cause;
use be8_events::session::{Ending, Opening, SessionEnded, SessionOpened};
use be8_events::{
    AccId, ErasureEvent, Event, MessageEvent, NewEvent, Position, Recorded, Sealed, SealedContext, StreamName, Subject,
    ThreadId,
};
use chrono::TimeDelta;
use futures_util::future::join_all;

use crate::rig::{Dial, Node, Rig, Wrong, create, start, token, write};

fn opened(account: i64) -> NewEvent {
    let account = AccId::new(account).unwrap();
    let event = SessionOpened { account, how: Opening::Created }.into();
    NewEvent { stream: StreamName::Session(token(0)), actor: Some(account), event, secret: None }
}

fn ended(account: i64) -> NewEvent {
    let account = AccId::new(account).unwrap();
    let event = SessionEnded { account, why: Ending::Replaced }.into();
    NewEvent { event, ..opened(account.number()) }
}

fn positions(events: &[Recorded]) -> Vec<i64> {
    events.iter().map(|event| event.position.0).collect()
}

fn rejected<T: std::fmt::Debug>(result: Result<T, LedgerError>, why: Rejection) {
    assert!(matches!(&result, Err(LedgerError::Rejected(rejection)) if *rejection == why), "{result:?}");
}

#[tokio::test]
async fn a_stream_is_appended_to_at_the_expected_version_only() {
    use ExpectedVersion::{Any, Exact, NoStream};
    let rig = Rig::new().await;
    let (one, other) = (rig.node().await, rig.node().await);
    let stream = StreamName::Session(token(1));
    let wrong = Rejection::WrongExpectedVersion;
    let pair = || vec![opened(10_001), ended(10_001)];
    rejected(one.ledger.append(stream, Exact(1), pair()).await, wrong);
    assert_eq!(one.ledger.append(stream, NoStream, pair()).await.unwrap(), 2);
    // Another node knows it at once, too.
    rejected(other.ledger.append(stream, NoStream, pair()).await, wrong);
    for expected in [-1, 0, 1, 3] {
        rejected(other.ledger.append(stream, Exact(expected), pair()).await, wrong);
    }
    assert_eq!(other.ledger.append(stream, Exact(2), pair()).await.unwrap(), 4);
    assert_eq!(one.ledger.append(stream, Any, vec![opened(10_001)]).await.unwrap(), 5);
    assert_eq!(one.ledger.append(StreamName::Session(token(2)), Any, pair()).await.unwrap(), 2);
    assert_eq!(one.ledger.append(StreamName::Session(token(3)), Exact(0), pair()).await.unwrap(), 2);
    // Appending nothing asks whether the version is right.
    assert_eq!(one.ledger.append(stream, Exact(5), vec![]).await.unwrap(), 5);
    rejected(one.ledger.append(stream, Exact(4), vec![]).await, wrong);
    assert_eq!(rig.count().await, 9);
    let events = rig.log().read_stream(stream, 1, Direction::Forwards, 100).await.unwrap();
    assert!(events.iter().all(|event| event.stream == stream));
    assert_eq!(events.iter().map(|event| event.version).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn the_log_is_read_both_ways_and_in_pages() {
    let rig = Rig::new().await;
    let node = rig.node().await;
    let streams = [1, 2].map(|n| StreamName::Session(token(n)));
    for nth in 0..6 {
        let event = if nth / 2 == 1 { ended(10_001) } else { opened(10_001) };
        node.ledger.append(streams[nth % 2], ExpectedVersion::Any, vec![event]).await.unwrap();
    }
    let log = rig.log();
    let [one, two] = streams;
    for (stream, from, direction, count, expected) in [
        (one, 1, Direction::Forwards, 10, vec![1, 3, 5]),
        (one, 2, Direction::Forwards, 1, vec![3]),
        (two, 0, Direction::Forwards, 2, vec![2, 4]),
        (two, 4, Direction::Forwards, 2, vec![]),
        (one, 3, Direction::Backwards, 10, vec![5, 3, 1]),
        (one, 2, Direction::Backwards, 1, vec![3]),
        (two, i64::MAX, Direction::Backwards, 2, vec![6, 4]),
        (two, 0, Direction::Backwards, 2, vec![]),
        (StreamName::Erasure, 1, Direction::Forwards, 2, vec![]),
    ] {
        let events = log.read_stream(stream, from, direction, count).await.unwrap();
        assert_eq!(positions(&events), expected, "{stream} {from} {direction:?} {count}");
    }
    let mut paged = Vec::new();
    let mut after = Position::START;
    loop {
        let page = log.read_all(after, 4).await.unwrap();
        let Some(last) = page.last() else { break };
        after = last.position;
        assert!(page.len() <= 4);
        paged.extend(page);
    }
    assert_eq!(positions(&paged), [1, 2, 3, 4, 5, 6]);
    assert_eq!(paged, rig.events().await);
    assert_eq!(log.newest().await.unwrap(), Position(6));
    assert_eq!(node.ledger.position(), Position(6));
    let (after, until) = (Position(1), Position(5));
    assert_eq!(positions(&log.read_streams(&[two, one], after, until, 10).await.unwrap()), [2, 3, 4, 5]);
    assert_eq!(positions(&log.read_streams(&[two, one], after, until, 2).await.unwrap()), [2, 3]);
    assert_eq!(positions(&log.read_streams(&[two], Position(2), until, 2).await.unwrap()), [4]);
    assert_eq!(positions(&log.newest_of_streams(&[one, two], after, until).await.unwrap()), [5]);
}

#[tokio::test]
async fn the_database_itself_keeps_the_log_as_it_is() {
    let rig = Rig::new().await;
    let node = rig.node().await;
    let (zoe, _, thread) = node.talk().await;
    node.write(1, zoe, thread).await.unwrap();
    let partition: String = sqlx::query_scalar("select tableoid::regclass::text from sealed_message limit 1")
        .fetch_one(&rig.pool)
        .await
        .unwrap();
    for statement in [
        "update events set payload = '' where position = 1",
        "delete from events",
        "truncate events",
        "update streams set name = 'x'",
        "delete from streams",
        "truncate streams",
        "update sealed set bytes = ''",
        "delete from sealed",
        "truncate sealed",
        "update sealed_message set bytes = ''",
        "delete from sealed_message",
        "truncate sealed_message",
        &format!("update {partition} set bytes = ''"),
        &format!("delete from {partition}"),
        &format!("truncate {partition}"),
        "delete from log_head",
        "truncate log_head",
        "delete from vault.key",
    ] {
        let refused = sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned())).execute(&rig.pool).await.unwrap_err();
        let refused = refused.as_database_error().unwrap_or_else(|| panic!("{statement}: {refused}"));
        assert_eq!(refused.code().unwrap(), "23000", "{statement}: {refused}");
    }
}

/// Commands that are sent at once go into a batch; those that are refused take nothing with them.
#[tokio::test]
async fn a_refused_command_leaves_no_event_and_poisons_nothing() {
    let rig = Rig::new().await;
    let node = rig.node().await;
    let (zoe, yan, thread) = node.talk().await;
    let before = rig.count().await;
    let reversed = ThreadId::Dialog { initiator: yan, receiver: zoe };
    let verdicts = join_all((0..90).map(|nth| {
        let command = match nth % 3 {
            0 => write(1, zoe, thread),
            1 => write(1, zoe, reversed),
            _ => write(3, zoe, thread),
        };
        node.ledger.execute(command)
    }))
    .await;
    for (nth, verdict) in (0..).zip(verdicts) {
        match nth % 3 {
            0 => assert_eq!(verdict.unwrap(), (thread, nth / 3 + 2)),
            1 => rejected(verdict, Rejection::InvalidThread),
            _ => rejected(verdict, Rejection::NotAuthenticated),
        }
    }
    assert_eq!(rig.count().await, before + 30);
    // Later commands of a batch see the earlier ones.
    let (stream, pair) = (StreamName::Session(token(9)), || vec![opened(10_001), ended(10_001)]);
    let twice = join_all((0..2).map(|_| node.ledger.append(stream, ExpectedVersion::NoStream, pair()))).await;
    let [first, second] = twice.try_into().unwrap();
    assert_eq!(first.unwrap(), 2);
    rejected(second, Rejection::WrongExpectedVersion);
    same_as_fresh(&rig, &node).await;
}

/// What this node decides on is what a node decides on that has just started.
async fn same_as_fresh(rig: &Rig, node: &Node) {
    let streams = rig.streams().await;
    let fresh = rig.node_with(Arc::new(SystemClock), LedgerSettings::default()).await;
    for ((stream, used), fresh) in streams.iter().zip(node.look(&streams).await).zip(fresh.look(&streams).await) {
        assert_eq!(used, fresh, "{stream}");
    }
}

/// What is sealed of an event, and whether the keys of it live.
async fn opened_texts(rig: &Rig, node: &Node) -> Vec<Option<String>> {
    type Row = (i64, i64, i64, i64, Vec<u8>, Vec<u8>);
    let rows: Vec<Row> = sqlx::query_as(
        "select position, account_key, stay_key, day_key, nonce, bytes from sealed_message order by position",
    )
    .fetch_all(&rig.pool)
    .await
    .unwrap();
    let live: Vec<i64> =
        sqlx::query_scalar("select id from vault.key where wrapped is not null").fetch_all(&rig.pool).await.unwrap();
    let opener = node.vault.opener(&live).await.unwrap();
    let events = rig.events().await;
    let open = |(position, account, stay, day, nonce, bytes): Row| {
        let event = &events[usize::try_from(position).unwrap() - 1];
        let sealed = Sealed { keys: vec![account, stay, day], nonce: nonce.try_into().unwrap(), bytes };
        assert_eq!(event.sealed, Some(sealed.commitment()));
        let context = SealedContext { kind: event.event.kind(), schema: event.schema, salt: &event.salt };
        let plain = opener.open(&sealed, context).unwrap()?;
        Some(String::from_utf8(plain.into_inner()).unwrap())
    };
    rows.into_iter().map(open).collect()
}

#[tokio::test]
async fn erasing_a_subject_forgets_what_it_sealed_and_nothing_else() {
    let rig = Rig::new().await;
    let (node, other) = (rig.node().await, rig.node().await);
    let (zoe, yan, thread) = node.talk().await;
    node.write(1, zoe, thread).await.unwrap();
    other.write(2, yan, thread).await.unwrap();
    let text = |acc: AccId| Some(format!(r#"{{"text":"secret of {acc}"}}"#));
    assert_eq!(opened_texts(&rig, &node).await, [text(zoe), text(yan)]);
    let hashes: Vec<_> = rig.events().await.iter().map(Recorded::hash).collect();

    let stay = Subject::Stay { thread, author: zoe, stay: 1 };
    let nobody = Subject::Account(AccId::new(77).unwrap());
    let erase = |subjects: &[Subject]| Erase { subjects: subjects.to_vec(), cause: Cause::Operator };
    node.ledger.execute(erase(&[stay, nobody, stay])).await.unwrap();
    let events = rig.events().await;
    let Event::Erasure(ErasureEvent::KeysDeleted(deleted)) = &events.last().unwrap().event else {
        panic!("{events:?}")
    };
    assert_eq!(deleted.keys.iter().map(|key| key.subject).collect::<Vec<_>>(), [stay]);
    assert_eq!(events[..hashes.len()].iter().map(Recorded::hash).collect::<Vec<_>>(), hashes);
    for node in [&node, &other, &rig.node().await] {
        assert_eq!(opened_texts(&rig, node).await, [None, text(yan)]);
    }
    // Once more is no event; and nothing is ever sealed for it again, on whatever node.
    node.ledger.execute(erase(&[stay])).await.unwrap();
    for node in [&node, &other] {
        let refused = node.write(1, zoe, thread).await;
        assert!(matches!(refused, Err(LedgerError::Rejected(Rejection::InvalidThread))), "{refused:?}");
    }
    assert_eq!(rig.count().await, events.len() as i64);
    node.write(2, yan, thread).await.unwrap();
    // Sealed bytes may go once their key is gone, and only then.
    let swept = sqlx::query("delete from sealed_message where position = $1");
    assert!(swept.bind(events.len() as i64 + 1).execute(&rig.pool).await.is_err());
    let gone = sqlx::query("delete from sealed_message where position = 6").execute(&rig.pool).await.unwrap();
    assert_eq!(gone.rows_affected(), 1);
}

/// Of a message's keys the stay's is made again while the day's is erased: what failed must not
/// leave a key behind that is in no table.
#[tokio::test]
async fn a_command_that_fails_halfway_leaves_no_key() {
    let rig = Rig::new().await;
    let dial = Dial::at(SystemClock.now());
    let node = rig.node_with(dial.clone(), LedgerSettings::default()).await;
    let (zoe, yan, thread) = node.talk().await;
    node.write(1, zoe, thread).await.unwrap();
    let day = Subject::Day(dial.now().day());
    node.ledger.execute(Erase { subjects: vec![day], cause: Cause::Operator }).await.unwrap();
    let keys = || sqlx::query_scalar::<_, i64>("select count(*) from vault.key").fetch_one(&rig.pool);
    let before = keys().await.unwrap();
    // Today has ended.
    assert!(matches!(node.write(2, yan, thread).await, Err(LedgerError::Internal)));
    assert_eq!(keys().await.unwrap(), before);
    dial.turn(TimeDelta::days(1));
    node.write(2, yan, thread).await.unwrap();
    assert_eq!(keys().await.unwrap(), before + 2);
    let reader = rig.node().await;
    assert_eq!(opened_texts(&rig, &reader).await, [None, Some(format!(r#"{{"text":"secret of {yan}"}}"#))]);
}

#[tokio::test]
async fn times_rise_with_positions_whatever_the_clocks_say() {
    let rig = Rig::new().await;
    let now = SystemClock.now();
    let (fast, slow) = (Dial::at(now), Dial::at(now.plus(TimeDelta::hours(-3))));
    let (one, other) = (
        rig.node_with(fast.clone(), LedgerSettings::default()).await,
        rig.node_with(slow, LedgerSettings::default()).await,
    );
    for session in 0..6 {
        one.account(2 * session).await;
        fast.turn(TimeDelta::minutes(if session == 2 { -90 } else { 10 }));
        other.account(2 * session + 1).await;
    }
    let times: Vec<_> = rig.events().await.iter().map(|event| event.time).collect();
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(times[0], now);
    assert_eq!(times[times.len() - 1], now.plus(TimeDelta::minutes(20)));
}

#[tokio::test]
async fn a_node_whose_clock_is_ahead_appends_nothing() {
    let rig = Rig::new().await;
    let clock = Wrong::by(TimeDelta::seconds(20));
    let settings = LedgerSettings { patience: Duration::from_millis(300), ..LedgerSettings::default() };
    let node = rig.node_with(clock.clone(), settings).await;
    assert!(matches!(node.ledger.execute(create(1)).await, Err(LedgerError::Unavailable)));
    assert_eq!(rig.count().await, 0);
    assert_eq!(rig.node().await.account(2).await.number(), 10_001);
    clock.set(TimeDelta::seconds(2));
    assert_eq!(node.account(1).await.number(), 10_002);
}

/// What is stored of one account cannot be read: it gets an error, and everybody else can write, in the
/// same batch and in later ones.
#[tokio::test]
async fn a_damaged_row_is_trouble_for_its_own_commands_only() {
    let rig = Rig::new().await;
    let node = rig.node().await;
    let (zoe, yan, thread) = node.talk().await;
    let (xue, wim) = (node.account(3).await, node.account(4).await);
    let other = node.ledger.execute(start(3, wim)).await.unwrap();
    node.write(1, zoe, thread).await.unwrap();
    node.write(3, xue, other).await.unwrap();
    node.stop().await;
    let mut session = 4;
    for damage in [
        "update vault.key set wrapped = set_byte(wrapped, 20, get_byte(wrapped, 20) # 1)
         where subject = 'account/10001'",
        "update events set payload = '{' where kind = 'AccountCreated' and position in
             (select e.position from events e join streams s on s.id = e.stream where s.name = 'account-10002')",
    ] {
        rig.damage(damage).await;
        // One that remembers nothing of before.
        let node = rig.node().await;
        for _ in 0..2 {
            session += 1;
            let (broken, whole, new) = tokio::join!(
                node.write(1, zoe, thread),
                node.write(3, xue, other),
                node.ledger.execute(create(session))
            );
            assert!(matches!(broken, Err(LedgerError::Internal)), "{damage}: {broken:?}");
            whole.unwrap();
            new.unwrap();
        }
        node.stop().await;
    }
    let node = rig.node().await;
    assert!(matches!(node.write(2, yan, thread).await, Err(LedgerError::Internal)));
}

/// A node that reads an event of a newer version cannot follow the log: it must not go on.
#[tokio::test]
async fn a_node_stops_at_an_event_that_it_does_not_know() {
    let rig = Rig::new().await;
    let node = rig.node().await;
    let account = node.account(1).await;
    let mut tx = rig.pool.begin().await.unwrap();
    sqlx::raw_sql(
        "insert into events select position + 1, stream, version + 1, 'AccountDreamt', 1, time, actor, salt, payload,
             sealed from events order by position desc limit 1;
         update log_head set position = position + 1",
    )
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let refused = node.ledger.execute(start(1, account)).await;
    assert!(matches!(refused, Err(LedgerError::Unavailable)), "{refused:?}");
    node.ended().await.unwrap();
}

/// A decision that panics: no way to write is left, so the node must not look well.
#[tokio::test]
async fn a_node_whose_loop_died_stops() {
    struct Broken;
    impl Command for Broken {
        type Reply = ();
        fn streams(&self) -> Vec<StreamName> {
            vec![]
        }
        fn decide(&self, _: &View<'_>) -> Result<Decision<()>, Stop> {
            panic!("as a test wants it")
        }
    }
    let rig = Rig::new().await;
    let node = rig.node().await;
    assert!(matches!(node.ledger.execute(Broken).await, Err(LedgerError::Unavailable)));
    assert!(matches!(node.ended().await, Err(LogError::Died)));
}

/// Partitions of messages are made a week ahead; a day beyond them makes its own.
#[tokio::test]
async fn a_day_without_a_partition_gets_one() {
    let rig = Rig::new().await;
    let dial = Dial::at(SystemClock.now());
    let node = rig.node_with(dial.clone(), LedgerSettings::default()).await;
    let (zoe, _, thread) = node.talk().await;
    for no in 2..6 {
        assert_eq!(node.write(1, zoe, thread).await.unwrap(), no);
        dial.turn(TimeDelta::days(9));
    }
    assert_eq!(opened_texts(&rig, &node).await.into_iter().flatten().count(), 4);
}

/// Connections die under load: whatever was acknowledged is there once, and nothing is there twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_outlives_the_connection_that_wrote_it() {
    let rig = Rig::new().await;
    let node = Arc::new(rig.node().await);
    let (zoe, yan, thread) = node.talk().await;
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let node = node.clone();
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for _ in 0..60 {
                    acknowledged.push(node.write(1, zoe, thread).await.unwrap());
                }
                acknowledged
            })
        })
        .collect();
    let mut killed = 0;
    while killed < 25 && !writers.iter().all(tokio::task::JoinHandle::is_finished) {
        let kill = sqlx::query(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where datname = current_database() and query like '%update log_head%' and query not like '%terminate%'",
        );
        killed += kill.fetch_all(&rig.pool).await.unwrap().len();
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    assert!(killed > 3, "only {killed} connections were killed");
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(writer.await.unwrap());
    }
    assert_eq!(acknowledged.len(), 480);
    assert_eq!(acknowledged.iter().copied().collect::<BTreeSet<_>>(), (2..=481).collect());
    let dialog = StreamName::dialog(zoe, yan);
    let events = rig.log().read_stream(dialog, 1, Direction::Forwards, 1000).await.unwrap();
    assert_eq!(events.len(), 481);
    same_as_fresh(&rig, &node).await;
}

/// Two nodes write to one conversation at once: numbers are dense and in the order of the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_number_one_conversation() {
    let rig = Rig::new().await;
    let nodes = [Arc::new(rig.node().await), Arc::new(rig.node().await)];
    let (zoe, yan, thread) = nodes[0].talk().await;
    // Both begin at once: there is one conversation all the same.
    let third = nodes[1].account(3).await;
    let both = tokio::join!(nodes[0].ledger.execute(start(1, third)), nodes[1].ledger.execute(start(3, zoe)));
    assert_eq!(both.0.unwrap(), both.1.unwrap());

    let writers = (0..32).map(|nth| {
        let node = nodes[nth % 2].clone();
        let (session, sender) = if nth % 4 < 2 { (1, zoe) } else { (2, yan) };
        tokio::spawn(async move {
            let mut numbers = Vec::new();
            for _ in 0..10 {
                numbers.push(node.write(session, sender, thread).await.unwrap());
            }
            numbers
        })
    });
    let mut all = BTreeSet::new();
    for numbers in join_all(writers).await {
        let numbers = numbers.unwrap();
        assert!(numbers.is_sorted());
        all.extend(numbers);
    }
    assert_eq!(all, (2..=321).collect());
    let events = rig.log().read_stream(StreamName::dialog(zoe, yan), 2, Direction::Forwards, 1000).await.unwrap();
    let numbers: Vec<_> = events
        .iter()
        .map(|event| match &event.event {
            Event::Message(MessageEvent::MessageWritten(e)) => e.id,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(numbers, (2..=321).collect::<Vec<_>>());
    for node in &nodes {
        same_as_fresh(&rig, node).await;
    }
}
