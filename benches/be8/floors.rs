//! The floors: what PostgreSQL itself takes for the least that an answer needs.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use be8_database::{Connector, Pool};
use be8_events::{Hash32, Timestamp};
use sqlx::AssertSqlSafe;
use tokio::task::JoinSet;

use crate::closed_loop::{Laps, Window};

/// How many connections floors 1 and 3 have.
pub const CONNECTIONS: usize = 16;
/// How many rows floor 2 writes at once.
pub const ROWS: u32 = 256;

/// The public part of a message, as the log keeps it.
const PAYLOAD: &[u8] = br#"{"thread":"10001:10002","id":1234,"sender":10001,"nickname":4321,"stay":1}"#;

/// A database with the tables of the log and nothing in them.
pub struct Writing {
    connect: Connector,
    next: Arc<AtomicI64>,
}

impl Writing {
    /// With this database, which is migrated.
    pub fn new(connect: Connector) -> Self {
        Self { connect, next: Arc::new(AtomicI64::new(1)) }
    }

    /// Floor 1: one event, one INSERT, one commit, on 16 connections.
    pub async fn single_inserts(&self, window: Window) -> Laps {
        let mut workers = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let connection = self.connect.connect().await.expect("a connection");
            let next = self.next.clone();
            workers.spawn(async move {
                let connection = tokio::sync::Mutex::new(connection);
                Laps::walk(window, || async {
                    let position = next.fetch_add(1, Ordering::Relaxed);
                    sqlx::query(
                        "insert into events (position, stream, version, kind, schema, time, actor, salt, payload, sealed)
                         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
                    )
                    .bind(position)
                    .bind(position % 10_000)
                    .bind(position)
                    .bind("MessageWritten")
                    .bind(1_i16)
                    .bind(now().to_utc())
                    .bind(10_001_i64)
                    .bind(&rand::random::<[u8; 32]>()[..])
                    .bind(PAYLOAD)
                    .bind(&rand::random::<[u8; 32]>()[..])
                    .execute(&mut *connection.lock().await)
                    .await
                    .expect("an insert");
                })
                .await
            });
        }
        Laps::of_all(workers).await
    }

    /// Floor 2: 256 events in one INSERT, on one connection.
    pub async fn batches(&self, window: Window) -> Laps {
        let connection = self.connect.connect().await.expect("a connection");
        let connection = tokio::sync::Mutex::new(connection);
        Laps::walk(window, || async {
            let first = self.next.fetch_add(i64::from(ROWS), Ordering::Relaxed);
            let positions: Vec<i64> = (first..first + i64::from(ROWS)).collect();
            let hashes: Vec<[u8; 32]> = positions.iter().map(|_| rand::random()).collect();
            let hashes: Vec<&[u8]> = hashes.iter().map(|hash| &hash[..]).collect();
            sqlx::query(
                "insert into events (position, stream, version, kind, schema, time, actor, salt, payload, sealed)
                 select u.position, u.stream, u.position, u.kind, u.schema, $1, u.actor, u.salt, u.payload, u.sealed
                 from unnest($2::bigint[], $3::bigint[], $4::text[], $5::smallint[], $6::bigint[], $7::bytea[],
                     $8::bytea[], $9::bytea[]) u(position, stream, kind, schema, actor, salt, payload, sealed)",
            )
            .bind(now().to_utc())
            .bind(&positions)
            .bind(positions.iter().map(|position| position % 10_000).collect::<Vec<_>>())
            .bind(vec!["MessageWritten"; ROWS as usize])
            .bind(vec![1_i16; ROWS as usize])
            .bind(vec![10_001_i64; ROWS as usize])
            .bind(&hashes)
            .bind(vec![PAYLOAD; ROWS as usize])
            .bind(&hashes)
            .execute(&mut *connection.lock().await)
            .await
            .expect("an insert");
        })
        .await
    }
}

/// Floor 3: the prepared statement of an answer, on 16 connections that are set as the server's
/// are. `questions` are the sessions and, for messages, the threads.
pub async fn statement(pool: &Pool, sql: Arc<str>, questions: Arc<[(Hash32, Option<i64>)]>, window: Window) -> Laps {
    let mut workers = JoinSet::new();
    for nth in 0..CONNECTIONS {
        let mut connection = pool.acquire().await.expect("a connection");
        let (sql, questions) = (sql.clone(), questions.clone());
        let mut at = nth * questions.len() / CONNECTIONS;
        workers.spawn(async move {
            let connection = tokio::sync::Mutex::new(&mut *connection);
            Laps::walk(window, || {
                let (session, thread) = questions[at % questions.len()];
                at += 1;
                let mut query = sqlx::query(AssertSqlSafe(sql.clone())).bind(session.0.to_vec()).bind(now().to_utc());
                if let Some(thread) = thread {
                    query = query.bind(thread);
                }
                let connection = &connection;
                async move {
                    let rows = query.fetch_all(&mut **connection.lock().await).await.expect("an answer");
                    assert!(!rows.is_empty(), "the statement always answers");
                }
            })
            .await
        });
    }
    Laps::of_all(workers).await
}

fn now() -> Timestamp {
    chrono::Utc::now().into()
}
