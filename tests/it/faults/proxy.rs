//! A stand-in for the network between a server and PostgreSQL, which can be cut and held at chosen moments.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::cluster::Database;

/// What happens to the next append that passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// It never reaches PostgreSQL; the server's connection dies.
    Before,
    /// It reaches PostgreSQL; its answer does not reach the server, whose connection dies.
    After,
    /// It reaches PostgreSQL; the server's connection dies at once.
    Meanwhile,
}

/// What the connections share.
struct State {
    upstream: PathBuf,
    cut: Mutex<Option<Cut>>,
    cuts: AtomicUsize,
    open: Mutex<CancellationToken>,
    reachable: AtomicBool,
    writer_flows: watch::Sender<bool>,
    index_flows: watch::Sender<bool>,
    flows: watch::Sender<bool>,
}

/// What a connection has turned out to be.
#[derive(Default)]
struct Role {
    /// One of the ledger.
    ledger: AtomicBool,
    /// The one that asks how far the log has come.
    index: AtomicBool,
}

/// A proxy in front of one database.
pub struct Proxy {
    state: Arc<State>,
    port: u16,
    database: String,
    _accepting: AbortOnDropHandle<()>,
}

impl Proxy {
    /// A proxy that lets everything pass.
    pub async fn start(database: &Database) -> Self {
        let options: &PgConnectOptions = &database.options;
        let directory = options.get_socket().expect("the cluster's socket");
        let state = Arc::new(State {
            upstream: directory.join(format!(".s.PGSQL.{}", options.get_port())),
            cut: Mutex::new(None),
            cuts: AtomicUsize::new(0),
            open: Mutex::new(CancellationToken::new()),
            reachable: AtomicBool::new(true),
            writer_flows: watch::Sender::new(true),
            index_flows: watch::Sender::new(true),
            flows: watch::Sender::new(true),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let accepting = AbortOnDropHandle::new(tokio::spawn(accept(listener, state.clone())));
        Self { state, port, database: database.name.clone(), _accepting: accepting }
    }

    /// The database through this proxy.
    pub fn url(&self) -> String {
        format!("postgres://be8@127.0.0.1:{}/{}?sslmode=disable", self.port, self.database)
    }

    /// Cuts the next append, once.
    pub fn cut_next_append(&self, cut: Cut) {
        *self.state.cut.lock().expect("no panic") = Some(cut);
    }

    /// How many appends were cut.
    pub fn cuts(&self) -> usize {
        self.state.cuts.load(Ordering::SeqCst)
    }

    /// Ends all connections and takes none, or takes them again.
    pub fn reachable(&self, reachable: bool) {
        self.state.reachable.store(reachable, Ordering::SeqCst);
        if !reachable {
            self.state.open.lock().expect("no panic").cancel();
        }
    }

    /// Swallows everything, as a network that drops packets does, or lets it pass again. Connections stay open, and are taken.
    pub fn flows(&self, flows: bool) {
        self.state.flows.send_replace(flows);
    }

    /// Its port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Holds up what PostgreSQL sends the server's ledger, or lets it pass again. Reading is not affected.
    pub fn ledger_receives(&self, receives: bool) {
        self.state.writer_flows.send_replace(receives);
    }

    /// Holds up the answers to how far the log has come, or lets them pass again. Nothing else is affected.
    pub fn index_answers(&self, answers: bool) {
        self.state.index_flows.send_replace(answers);
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    loop {
        let (client, _) = listener.accept().await.expect("a connection");
        if !state.reachable.load(Ordering::SeqCst) {
            continue;
        }
        let state = state.clone();
        let end = {
            let mut open = state.open.lock().expect("no panic");
            if open.is_cancelled() {
                *open = CancellationToken::new();
            }
            open.child_token()
        };
        tokio::spawn(async move {
            tokio::select! { () = end.cancelled() => {}, () = pass(client, &state, &end) => {} }
        });
    }
}

/// Passes everything on, both ways, until one end closes or the connection is cut.
async fn pass(client: TcpStream, state: &State, end: &CancellationToken) {
    let Ok(server) = UnixStream::connect(&state.upstream).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let silent = AtomicBool::new(false);
    let role = Role::default();
    tokio::select! {
        () = requests(from_client, to_server, state, &silent, &role, end) => {}
        () = answers(from_server, to_client, state, &silent, &role, end) => {}
    }
}

/// From the server to PostgreSQL.
async fn requests(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    state: &State,
    silent: &AtomicBool,
    role: &Role,
    end: &CancellationToken,
) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else { return };
        if state.flows.subscribe().wait_for(|flows| *flows).await.is_err() {
            return;
        }
        let bytes = &buffer[..length];
        // Only the ledger's connections say this, in their first message.
        if contains(bytes, b"idle_in_transaction_session_timeout") {
            role.ledger.store(true, Ordering::SeqCst);
        }
        if contains(bytes, b"select h.position, h.generation") {
            role.index.store(true, Ordering::SeqCst);
        }
        if role.ledger.load(Ordering::SeqCst) && is_append(bytes) {
            let cut = state.cut.lock().expect("no panic").take();
            if let Some(cut) = cut {
                state.cuts.fetch_add(1, Ordering::SeqCst);
                match cut {
                    Cut::Before => return,
                    Cut::After => silent.store(true, Ordering::SeqCst),
                    Cut::Meanwhile => return to.write_all(bytes).await.expect("PostgreSQL listens"),
                }
            }
        }
        if to.write_all(bytes).await.is_err() {
            return;
        }
        if end.is_cancelled() {
            return;
        }
    }
}

/// From PostgreSQL to the server.
async fn answers(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    state: &State,
    silent: &AtomicBool,
    role: &Role,
    end: &CancellationToken,
) {
    let (mut flows, mut index) = (state.writer_flows.subscribe(), state.index_flows.subscribe());
    let mut buffer = vec![0; 1 << 16];
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else { return };
        // The answer to what is to be cut: PostgreSQL has committed, the server never learns of it.
        if silent.load(Ordering::SeqCst) {
            return;
        }
        if state.flows.subscribe().wait_for(|flows| *flows).await.is_err() {
            return;
        }
        if role.ledger.load(Ordering::SeqCst) && flows.wait_for(|flows| *flows).await.is_err() {
            return;
        }
        if role.index.load(Ordering::SeqCst) && index.wait_for(|flows| *flows).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..length]).await.is_err() || end.is_cancelled() {
            return;
        }
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Whether these bytes, whole messages of the protocol, bind a statement with many parameters: only the append does.
fn is_append(mut bytes: &[u8]) -> bool {
    while let [kind, a, b, c, d, rest @ ..] = bytes {
        if *kind == b'B' {
            return parameters(rest).is_some_and(|count| count > 20);
        }
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        match rest.get(length.saturating_sub(4)..) {
            Some(next) if length >= 4 => bytes = next,
            _ => return false,
        }
    }
    false
}

/// How many parameters a Bind message has (PostgreSQL, section 54.7): after the names of portal and statement, each
/// ended by a zero, and the format codes of the parameters, each of two bytes.
fn parameters(bind: &[u8]) -> Option<u16> {
    let number = |bytes: &[u8]| Some(u16::from_be_bytes(*bytes.first_chunk()?));
    let names = bind.splitn(3, |byte| *byte == 0).nth(2)?;
    let formats = usize::from(number(names)?);
    number(names.get(2 + 2 * formats..)?)
}
