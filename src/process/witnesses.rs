//! Asks witnesses to cosign our heads (C2SP tlog-witness), and keeps what they say.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::future::join_all;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::Mutex;

use super::{Process, ProcessError};
use crate::audit::notes;
use crate::audit::settings::AskedWitness;
use crate::audit::tree::Question;
use crate::audit::witness::AddCheckpoint;
use crate::audit::{Transparency, TransparencyError};
use crate::ledger::{Lead, SignedHead};

/// How long a witness may take for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// An answer is a few lines; more is not read.
const MOST: usize = 64 << 10;
/// How often it is looked whether there is a new head.
const LOOK: Duration = Duration::from_millis(500);
/// How long a witness that did not cosign is left alone.
const PAUSE: Duration = Duration::from_secs(10);

/// The process that asks.
#[derive(Debug)]
pub struct Witnesses {
    transparency: Arc<Transparency>,
    witnesses: Vec<AskedWitness>,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    memory: Mutex<Memory>,
}

/// What is known between two turns. It may be forgotten.
#[derive(Debug, Default)]
struct Memory {
    /// The size that each witness cosigned last.
    sizes: HashMap<String, u64>,
    /// For which head it was last asked in vain, and when.
    vain: Option<(u64, Instant)>,
}

/// Why a witness did not cosign.
#[derive(Debug, thiserror::Error)]
enum NoCosignature {
    #[error("it cannot be reached: {0}")]
    Unreachable(Box<dyn std::error::Error + Send + Sync>),
    #[error("it did not answer in time")]
    Late,
    #[error("it answered {0}")]
    Refused(StatusCode),
    #[error("it answered something else than its signature")]
    Nonsense,
    #[error("it has cosigned {0} entries, more than there are: this log was put back from an older copy, or rewritten")]
    Ahead(u64),
    #[error(transparent)]
    Own(#[from] TransparencyError),
}

impl Witnesses {
    /// Asks these witnesses.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(transparency: Arc<Transparency>, witnesses: Vec<AskedWitness>) -> Result<Self, rustls::Error> {
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())?
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { transparency, witnesses, client, memory: Mutex::default() })
    }

    /// The line of a witness under a head, and what it has cosigned then.
    async fn ask(&self, witness: &AskedWitness, head: &SignedHead, known: u64) -> Result<String, NoCosignature> {
        let mut old = known.min(head.size);
        // Once for what we know, once more for what the witness told us.
        for _ in 0..2 {
            let (status, body) = self.send(witness, head, old).await?;
            match status {
                StatusCode::OK => {
                    let (text, _) = notes::split(&head.note).map_err(|_| NoCosignature::Nonsense)?;
                    let signed = |line: &&str| {
                        let own = notes::signatures(line).unwrap_or_default();
                        own.iter().any(|signature| witness.key.signed(text, signature))
                    };
                    let line = body.lines().find(signed).ok_or(NoCosignature::Nonsense)?;
                    return Ok(format!("{line}\n"));
                }
                StatusCode::CONFLICT => {
                    let size: u64 = body.trim_end().parse().map_err(|_| NoCosignature::Nonsense)?;
                    if size > head.size {
                        return Err(NoCosignature::Ahead(size));
                    }
                    if size == old {
                        return Err(NoCosignature::Refused(status));
                    }
                    old = size;
                }
                status => return Err(NoCosignature::Refused(status)),
            }
        }
        Err(NoCosignature::Refused(StatusCode::CONFLICT))
    }

    async fn send(
        &self,
        witness: &AskedWitness,
        head: &SignedHead,
        old: u64,
    ) -> Result<(StatusCode, String), NoCosignature> {
        let proof = self.transparency.answer(Question::Consistency { old, size: head.size }).await?;
        let request = AddCheckpoint { old, proof, note: &head.note }.text();
        let request = Request::post(format!("{}/add-checkpoint", witness.url))
            .header("content-type", "text/plain; charset=utf-8")
            .header("user-agent", concat!("be8/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(Bytes::from(request)))
            .map_err(|error| NoCosignature::Unreachable(error.into()))?;
        let asked = async {
            let answer =
                self.client.request(request).await.map_err(|error| NoCosignature::Unreachable(error.into()))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MOST).collect().await.map_err(NoCosignature::Unreachable)?;
            let text = String::from_utf8(body.to_bytes().to_vec()).map_err(|_| NoCosignature::Nonsense)?;
            Ok((status, text))
        };
        tokio::time::timeout(PATIENCE, asked).await.unwrap_or(Err(NoCosignature::Late))
    }
}

#[async_trait]
impl Process for Witnesses {
    fn name(&self) -> &'static str {
        "witnesses"
    }

    async fn turn(&self, lead: &mut Lead) -> Result<Duration, ProcessError> {
        let Some(head) = self.transparency.tables().newest_head().await? else { return Ok(LOOK) };
        let mut memory = self.memory.lock().await;
        if memory.vain.is_some_and(|(size, when)| size == head.size && when.elapsed() < PAUSE) {
            return Ok(LOOK);
        }
        let signatures = notes::signatures(&head.cosignatures).unwrap_or_default();
        let text = notes::split(&head.note).map(|(text, _)| text).unwrap_or_default();
        let missing = |witness: &&AskedWitness| !signatures.iter().any(|one| witness.key.signed(text, one));
        let missing: Vec<&AskedWitness> = self.witnesses.iter().filter(missing).collect();
        let sizes = &memory.sizes;
        let known = |witness: &AskedWitness| sizes.get(witness.key.name()).copied().unwrap_or(0);
        let asked = missing.iter().map(|witness| self.ask(witness, &head, known(witness)));
        let answers = join_all(asked).await;
        let mut lines = head.cosignatures.clone();
        let mut vain = false;
        for (witness, answer) in missing.iter().zip(answers) {
            let outcome = if answer.is_ok() { "cosigned" } else { "refused" };
            metrics::counter!("be8_audit_witness_answers_total", "outcome" => outcome).increment(1);
            match answer {
                Ok(line) => {
                    memory.sizes.insert(witness.key.name().to_owned(), head.size);
                    lines.push_str(&line);
                }
                Err(error) => {
                    vain = true;
                    tracing::warn!(witness = witness.key.name(), size = head.size, %error, "a witness did not cosign");
                }
            }
        }
        memory.vain = vain.then(|| (head.size, Instant::now()));
        if lines != head.cosignatures {
            lead.store_cosignatures(head.size, &lines).await?;
        }
        Ok(LOOK)
    }
}
