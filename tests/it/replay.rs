//! After any commands: the state in use, the state folded from the log, the read models and a
//! fresh replay of the log into another generation all say the same.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use be8::domain::histories::CommitHistories;
use be8::domain::read_marks::MarkRead;
use be8::domain::{Occurred, State};
use be8_events::{AccId, AccountEvent, Event, Hash32, MessageNo, Position, StreamName, ThreadId};
use be8_projections::MODELS;
use be8_projections::{Changes, Generation, Model, Statement};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::patience::within;
use crate::rig::{Rig, token};
use crate::storm::Storm;

/// The states of all streams, folded from the log alone.
async fn folded(rig: &Rig) -> HashMap<StreamName, (State, i64)> {
    let mut states = HashMap::new();
    for event in rig.events().await {
        let (state, version) = states.entry(event.stream).or_insert_with(|| (State::new(&event.stream), 0));
        state.evolve(Occurred { position: event.position, event: &event.event });
        *version += 1;
        assert_eq!(*version, event.version, "{}", event.stream);
    }
    states
}

/// Folds the log into a new generation, a page at a time, and compares its tables with the live ones.
pub async fn replay(rig: &Rig, page: u32) {
    let mut connection = rig.pool.acquire().await.unwrap();
    let fresh = Generation(2);
    run(&mut connection, format!("drop schema if exists {fresh} cascade")).await;
    fresh.create(&mut connection).await.unwrap();
    let log = rig.log();
    let mut at = Position::START;
    loop {
        let events = log.read_all(at, page).await.unwrap();
        let Some(last) = events.last() else { break };
        at = last.position;
        let mut changes = Changes::default();
        events.iter().for_each(|event| changes.apply(event));
        changes.write(&mut connection, fresh).await.unwrap();
    }
    let tables: Vec<String> = sqlx::query_scalar(
        "select table_name::text from information_schema.tables where table_schema = 'read_1' order by 1",
    )
    .fetch_all(&mut *connection)
    .await
    .unwrap();
    assert!(tables.len() >= 6, "{tables:?}");
    for table in tables {
        let differ = format!(
            "select (select count(*) from (table read_1.{table} except all table {fresh}.{table}) d),
                    (select count(*) from (table {fresh}.{table} except all table read_1.{table}) d)"
        );
        let differ: (i64, i64) = sqlx::query_as(AssertSqlSafe(differ)).fetch_one(&mut *connection).await.unwrap();
        assert_eq!(differ, (0, 0), "{table}: rows of the live table only, of the replayed one only (pages of {page})");
    }
}

async fn run(connection: &mut PgConnection, sql: String) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.unwrap();
}

/// What the read models say of the streams is what the states say.
async fn models_agree(rig: &Rig, states: &HashMap<StreamName, (State, i64)>) {
    let mut connection = rig.pool.acquire().await.unwrap();
    let mut accounts = Vec::new();
    let mut sessions = Vec::new();
    let mut threads = Vec::new();
    let mut marks = Vec::new();
    let mut groups = Vec::new();
    let mut members = Vec::new();
    let mut devices = Vec::new();
    let mut images = Vec::new();
    let mut tokens = Vec::new();
    let mut hours = Vec::new();
    let mut links = Vec::new();
    let mut group_threads = BTreeMap::<i64, MessageNo>::new();
    for (stream, (state, version)) in states {
        let json = serde_json::to_value(state).unwrap();
        match (stream, state) {
            (StreamName::Account(account), State::Account(state)) => {
                accounts.push((
                    account.number(),
                    state.nickname().0,
                    // A removed one has no time; the table keeps one that is always over.
                    json["Account"]["until"].as_str().unwrap_or("1970-01-01T00:00:00.000000Z").to_owned(),
                ));
                assert_eq!(state.removed(), json["Account"]["until"].is_null());
            }
            (StreamName::Session(hash), State::Session(state)) => {
                // The sessions of a removed account need no end of their own.
                let lives = |account: &AccId| match &states[&StreamName::Account(*account)].0 {
                    State::Account(account) => !account.removed(),
                    state => panic!("{state:?}"),
                };
                let account = state.account().filter(lives);
                sessions.extend(account.map(|account| (hash.0.to_vec(), account.number())));
            }
            (StreamName::Dialog(..), State::Dialog(state)) => {
                // Each event of a dialog is a message, but for its end.
                assert_eq!(i64::from(state.last()) + i64::from(state.ended()), *version);
                threads.push((state.thread().unwrap().key(), i64::from(state.last())));
            }
            (StreamName::Reads(thread), State::Reads(_)) => {
                let Value::Object(readers) = &json["Reads"] else { panic!("{json}") };
                for (reader, ranges) in readers {
                    let ranges: Vec<_> = ranges.as_array().unwrap().iter().map(run_of).collect();
                    let reader: i64 = reader.parse().unwrap();
                    marks.push((thread.key(), reader, format!("{{{}}}", ranges.join(","))));
                }
            }
            (StreamName::Group(group), State::Group(state)) => {
                let version = state.version().map(|version| version.cast_signed());
                groups.push((group.number(), state.admin().unwrap().number(), !state.lives(), version));
                members.extend(state.members().map(|member| (group.number(), member.number())));
                let last = group_threads.entry(ThreadId::Group(*group).key()).or_default();
                *last = state.last_message().max(*last);
            }
            (StreamName::Chat(group), State::Chat(state)) => {
                let last = group_threads.entry(ThreadId::Group(*group).key()).or_default();
                *last = state.last().max(*last);
            }
            (StreamName::Token(hash), State::Token(state)) => {
                // What is used up has a holder, who cannot give it back.
                let holder = state.grant().and(state.taken_by()).map(|account| account.number());
                tokens.push((hash.0.to_vec(), state.grant().is_some(), holder));
            }
            (StreamName::Clock, State::Hours(_)) => hours.push(json["Hours"]["last"].as_str().unwrap().to_owned()),
            (StreamName::Histories, State::Histories(_)) => {}
            (StreamName::Invites, State::Invites) => links.push(*version),
            (StreamName::Erasure, State::Erasure) => {}
            (StreamName::Devices(account), State::Devices(state)) => {
                // They go with their account.
                let State::Account(owner) = &states[&StreamName::Account(*account)].0 else { panic!("{account}") };
                let subscribed = state.subscribed().iter().filter(|_| !owner.removed());
                devices.extend(subscribed.map(|device| {
                    let session = device.session.map(|session| session.0.to_vec());
                    (account.number(), device.endpoint.0.to_vec(), session)
                }));
            }
            (StreamName::Media(sender, name), State::Media(state)) => {
                let stored = state.stored().unwrap();
                images.push((sender.number(), name.0.to_vec(), stored.thread.key(), stored.id.cast_signed()));
            }
            (stream, state) => panic!("{stream}: {state:?}"),
        }
    }
    let until = "to_char(until at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";
    accounts.sort();
    let stored: Vec<(i64, i64, String)> =
        rows(&mut connection, format!("select id, nickname, {until} from read_1.account order by id")).await;
    assert_eq!(stored, accounts);
    sessions.sort();
    let stored: Vec<(Vec<u8>, i64)> =
        rows(&mut connection, "select hash, account from read_1.session order by hash".to_owned()).await;
    assert_eq!(stored, sessions);
    threads.sort();
    let newest = "select t.id, max(m.id)::bigint from read_1.thread t join read_1.message m on m.thread = t.id";
    let dialogs = format!("{newest} where t.id > 0 group by 1 having count(*) = max(m.id) order by 1");
    let stored: Vec<(i64, i64)> = rows(&mut connection, dialogs).await;
    assert_eq!(stored, threads);
    groups.sort();
    let stored: Vec<(i64, i64, bool, Option<i32>)> = rows(
        &mut connection,
        // What versions a destroyed group had decides nothing any more.
        "select id, admin, destroyed, case when not destroyed then version end from read_1.groups order by id"
            .to_owned(),
    )
    .await;
    assert_eq!(stored, groups);
    devices.sort();
    let stored: Vec<(i64, Vec<u8>, Option<Vec<u8>>)> =
        rows(&mut connection, "select account, endpoint, session from read_1.device order by 1, 2".to_owned()).await;
    assert_eq!(stored, devices);
    // Beside the log: only what is subscribed has an endpoint; and no device outlives its session.
    let outlived: Vec<(i64, i64)> = rows(
        &mut connection,
        "select (select count(*) from push_endpoints p where not exists
                    (select from read_1.device d where (d.account, d.endpoint) = (p.account, p.device))),
                (select count(*) from read_1.device d where not exists
                    (select from read_1.session s where (s.account, s.hash) = (d.account, d.session)))"
            .to_owned(),
    )
    .await;
    assert_eq!(outlived, [(0, 0)]);
    images.sort();
    let stored: Vec<(i64, Vec<u8>, i64, i32)> =
        rows(&mut connection, "select sender, name, thread, id from read_1.media order by 1, 2".to_owned()).await;
    assert_eq!(stored, images);
    members.sort();
    let open = "select group_id, account from read_1.group_stay where closed is null order by 1, 2";
    let stored: Vec<(i64, i64)> = rows(&mut connection, open.to_owned()).await;
    assert_eq!(stored, members);
    let expected: Vec<(i64, i64)> =
        group_threads.into_iter().filter(|(_, last)| *last > 0).map(|(id, last)| (id, last.into())).collect();
    let last = format!("{newest} where t.id < 0 and t.id % 2 = 0 group by 1 order by 1");
    let stored: Vec<(i64, i64)> = rows(&mut connection, last).await;
    assert_eq!(stored, expected);
    tokens.sort();
    let stored: Vec<(Vec<u8>, bool, Option<i64>)> = rows(
        &mut connection,
        "select hmac, not used_up and not revoked, case when not used_up and not revoked then holder end
         from read_1.token order by hmac"
            .to_owned(),
    )
    .await;
    assert_eq!(stored, tokens);
    let stored: Vec<(Option<String>, i64)> = rows(
        &mut connection,
        format!("select {}, count(*) from read_1.insight_hour", until.replace("until", "max(hour)")),
    )
    .await;
    let struck: i64 = sqlx::query_scalar("select count(*) from events where kind = 'HourStruck'")
        .fetch_one(&mut *connection)
        .await
        .unwrap();
    assert_eq!(stored, [(hours.pop(), struck)]);
    counters_agree(&mut connection, links.pop().unwrap_or(0)).await;
    marks.sort();
    let stored: Vec<(i64, i64, String)> = rows(
        &mut connection,
        "select thread, reader, ranges::text from read_1.read_mark order by thread, reader".to_owned(),
    )
    .await;
    assert_eq!(stored, marks);
}

/// The counters are what the log says when it is counted by hand.
async fn counters_agree(connection: &mut PgConnection, links: i64) {
    let counted: Vec<(i64, i64, i64, i64, i64)> = rows(
        connection,
        "select n('AccountCreated'), n('GroupCreated'),
                n('ConversationStarted') + n('MemberJoined') + n('MemberAdded'),
                (select count(*) from read_1.message) - n('AccountCreated') - n('GroupCreated')
                    + n('MemberJoined') + n('MemberAdded'),
                n('LinkCounted')"
            .replace("n(", "(select count(*) from events where kind = "),
    )
    .await;
    let stored: Vec<(i64, i64, i64, i64, i64)> = rows(
        connection,
        "select accs, groups, threads, messages, sent_user + used_user + sent_group + used_group from read_1.insight"
            .to_owned(),
    )
    .await;
    assert_eq!(stored, counted);
    assert_eq!(counted[0].4, links);
    // And so they were at each hour.
    let differ: Vec<(String, i64, i64)> = rows(
        connection,
        "select h.hour::text, h.threads, c.threads from read_1.insight_hour h join (
             select e.payload, (select count(*) from events b where b.position < e.position
                 and b.kind in ('ConversationStarted', 'MemberJoined', 'MemberAdded')) as threads
             from events e where e.kind = 'HourStruck') c
         on (convert_from(c.payload, 'UTF8')::json->>'hour')::timestamptz = h.hour
         where h.threads <> c.threads"
            .to_owned(),
    )
    .await;
    assert_eq!(differ, []);
}

/// A run of a state's set as PostgreSQL writes it.
fn run_of(range: &Value) -> String {
    let end = |nth: usize| range[nth].as_i64().unwrap_or_else(|| panic!("{range}"));
    format!("[{},{})", end(0), end(1) + 1)
}

async fn rows<R>(connection: &mut PgConnection, sql: String) -> Vec<R>
where
    R: for<'r> sqlx::FromRow<'r, sqlx::postgres::PgRow> + Send + Unpin,
{
    sqlx::query_as(AssertSqlSafe(sql)).fetch_all(connection).await.unwrap()
}

async fn everything_agrees(rig: &Rig, storm: &Storm, page: u32) {
    let expected = folded(rig).await;
    let streams = rig.streams().await;
    assert_eq!(streams.len(), expected.len());
    let fresh = rig.node().await;
    for node in storm.nodes.iter().chain([&fresh]) {
        for (stream, state) in streams.iter().zip(node.look(&streams).await) {
            assert_eq!(state, expected[stream], "{stream}");
        }
    }
    models_agree(rig, &expected).await;
    replay(rig, page).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_any_commands_everything_agrees() {
    let (mut happened, mut reasons) = (BTreeSet::new(), BTreeSet::new());
    let (mut new, mut answered, mut duplicates) = (0, 0, 0);
    for seed in 1..=3 {
        let rig = Rig::new().await;
        let mut storm = Storm::new(&rig, seed).await;
        for page in [1, 3, 64, 1000] {
            for _ in 0..40 {
                within("the end of a blow", storm.blow()).await;
            }
            everything_agrees(&rig, &storm, page).await;
        }
        within("the end of all that was begun", storm.settles(&rig)).await;
        // Here no process commits to the map of histories.
        let committed = CommitHistories { until: Position(1), root: Hash32([0; 32]) };
        assert!(storm.nodes[0].ledger.execute(committed).await.unwrap());
        everything_agrees(&rig, &storm, 100).await;
        let events = rig.events().await;
        assert!(events.iter().zip(1..).all(|(event, position)| event.position.0 == position));
        assert!(events.iter().map(|event| event.time).is_sorted());
        happened.extend(events.iter().map(|event| event.event.kind()));
        reasons.extend(events.iter().filter_map(|event| match &event.event {
            Event::Account(AccountEvent::AccountRemoved(removed)) => Some(format!("{:?}", removed.reason)),
            _ => None,
        }));
        let stored: i64 = sqlx::query_scalar("select count(*) from idempotency").fetch_one(&rig.pool).await.unwrap();
        (new, answered, duplicates) = (new + stored, answered + storm.answered, duplicates + storm.duplicates);
        assert!(storm.refused > 20, "seed {seed}: {} of {} refused", storm.refused, storm.sent);
    }
    // Answers under keys: one for each that was new, and the rest were given again.
    assert!(0 < new && new < answered && duplicates > 0, "{new} of {answered}, {duplicates} refused");
    for (kind, _) in Event::KINDS {
        assert!(happened.contains(kind), "{kind} never happened");
    }
    // Nobody enters a code in the storm.
    assert_eq!(reasons, ["Expiry", "Operator", "Panic"].map(str::to_owned).into());
}

/// The comparison sees what differs.
#[tokio::test]
#[should_panic(expected = "read_mark: rows of the live table only")]
async fn a_row_that_differs_is_seen() {
    let rig = Rig::new().await;
    let node = rig.node().await;
    let (zoe, _, thread) = node.talk().await;
    let shown = vec![(1, None)];
    node.ledger.execute(MarkRead { session: token(1), thread, shown }).await.unwrap();
    node.write(1, zoe, thread).await.unwrap();
    replay(&rig, 2).await;
    run(&mut rig.pool.acquire().await.unwrap(), "update read_1.read_mark set ranges = '{[1,3)}'".to_owned()).await;
    replay(&rig, 2).await;
}

/// The recorded sample of every event, folded.
fn samples() -> Changes {
    let mut changes = Changes::default();
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/events/fixtures");
    let mut kinds = BTreeSet::new();
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let sample: Value = serde_json::from_slice(&std::fs::read(entry.path()).unwrap()).unwrap();
        let (Some(kind), Some(payload)) = (sample["kind"].as_str(), sample["payload"].as_str()) else { continue };
        let schema = u16::try_from(sample["schema"].as_u64().unwrap()).unwrap();
        let event = Event::decode(kind, schema, payload.as_bytes()).unwrap();
        kinds.insert(event.kind());
        changes.apply(&be8_events::Recorded {
            position: Position(sample["position"].as_i64().unwrap()),
            stream: sample["stream"].as_str().unwrap().parse().unwrap(),
            version: 1,
            time: "2026-11-23T10:00:00Z".parse().unwrap(),
            actor: None,
            salt: be8_events::Hash32([0; 32]),
            schema,
            payload: payload.into(),
            sealed: None,
            event,
        });
    }
    assert_eq!(kinds.len(), Event::KINDS.len());
    changes
}

/// A partial rebuild writes into the tables of the read models that it rebuilds, and into no others.
#[test]
fn what_is_kept_is_of_its_read_model_alone() {
    let sql = |models: &[&'static Model]| {
        let mut changes = samples();
        changes.keep(models);
        let mut statement = Statement::new(Generation(9));
        changes.add_to(&mut statement);
        statement.finish().unwrap().0
    };
    assert_eq!(sql(&[]), "");
    let written = |sql: &str, table: &str| {
        ["insert into", "update", "delete from"].iter().any(|verb| {
            let words = format!("{verb} read_9.{table}");
            sql.match_indices(&words).any(|(at, found)| {
                let next = sql[at + found.len()..].chars().next();
                next.is_none_or(|next| !next.is_alphanumeric() && next != '_')
            })
        })
    };
    for model in MODELS {
        let sql = sql(&[model]);
        assert!(model.tables().any(|table| written(&sql, table)), "{}: {sql}", model.name);
        for other in MODELS.iter().filter(|other| other.name != model.name) {
            assert!(other.tables().all(|table| !written(&sql, table)), "{} in {}", other.name, model.name);
        }
    }
}
