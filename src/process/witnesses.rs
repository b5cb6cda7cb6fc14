//! Asks witnesses to cosign our heads (C2SP tlog-witness), and keeps what they say.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use reqwest::header::{CONTENT_TYPE, HeaderValue, USER_AGENT};
use reqwest::{Method, Request, StatusCode};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::{Process, ProcessError};
use crate::audit::notes;
use crate::audit::settings::AskedWitness;
use crate::audit::tree::Question;
use crate::audit::witness::AddCheckpoint;
use crate::audit::{Transparency, TransparencyError};
use crate::client::{Client, Failure};
use crate::ledger::{Lead, SignedHead};

/// How long a witness may take for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// An answer is a few lines; more is not read.
const MOST: usize = 64 << 10;
/// How often it is looked whether there is a new head.
const LOOK: Duration = Duration::from_millis(500);
/// How long a witness that did not cosign is left alone.
const PAUSE: Duration = Duration::from_secs(10);

/// The process that asks. Each witness is asked on its own: one that is slow, silent or refuses keeps no other waiting.
#[derive(Debug)]
pub struct Witnesses {
    asker: Arc<Asker>,
    witnesses: Vec<Arc<AskedWitness>>,
    memory: Mutex<Memory>,
}

/// What it takes to ask.
#[derive(Debug)]
struct Asker {
    transparency: Arc<Transparency>,
    client: Client,
}

/// What is known between two ticks. It may be forgotten.
#[derive(Debug, Default)]
struct Memory {
    /// What is known of each witness, by the name of its key.
    known: HashMap<String, Known>,
    /// The questions that are under way.
    asking: JoinSet<Answer>,
}

/// What is known of a witness.
#[derive(Debug, Default)]
struct Known {
    /// The size that it cosigned last.
    size: u64,
    /// It is being asked.
    asked: bool,
    /// For which head it was last asked in vain, and when.
    vain: Option<(u64, Instant)>,
}

/// What became of a question.
#[derive(Debug)]
struct Answer {
    witness: Arc<AskedWitness>,
    /// The size of the head that was to be cosigned.
    size: u64,
    line: Result<String, NoCosignature>,
}

/// Why a witness did not cosign.
#[derive(Debug, thiserror::Error)]
enum NoCosignature {
    #[error(transparent)]
    Unanswered(#[from] Failure),
    #[error("its address is none")]
    NoAddress,
    #[error("it does not know this log (404)")]
    UnknownLog,
    #[error("it does not trust the key that signed the checkpoint, or the signature is wrong (403)")]
    NotTrusted,
    #[error(
        "it says that this log does not extend what it cosigned before (422): the log was rewritten, or the witness is wrong"
    )]
    Inconsistent,
    #[error("it answered {0}")]
    Refused(StatusCode),
    #[error("it answered something else than its signature")]
    Nonsense,
    #[error("it has cosigned {0} entries, more than there are: this log was put back from an older copy, or rewritten")]
    Ahead(u64),
    #[error("it has cosigned another tree of {0} entries: this log shows two histories")]
    OtherTree(u64),
    #[error(transparent)]
    Own(#[from] TransparencyError),
}

impl NoCosignature {
    /// Whether it means that the log, or what the witness knows of it, is wrong: asking again does not help.
    const fn is_alarming(&self) -> bool {
        matches!(self, Self::NotTrusted | Self::Inconsistent | Self::Ahead(_) | Self::OtherTree(_))
    }
}

impl Asker {
    /// The line of a witness under a head.
    async fn ask(&self, witness: &AskedWitness, head: &SignedHead, known: u64) -> Result<String, NoCosignature> {
        let mut old = known.min(head.size);
        // Once for what we know, once more for what the witness answered.
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
                        // The old size was right, so it is the root of the same size that is not.
                        return Err(match size == head.size {
                            true => NoCosignature::OtherTree(size),
                            false => NoCosignature::Refused(status),
                        });
                    }
                    old = size;
                }
                StatusCode::NOT_FOUND => return Err(NoCosignature::UnknownLog),
                StatusCode::FORBIDDEN => return Err(NoCosignature::NotTrusted),
                StatusCode::UNPROCESSABLE_ENTITY => return Err(NoCosignature::Inconsistent),
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
        let url = format!("{}/add-checkpoint", witness.url).parse().map_err(|_| NoCosignature::NoAddress)?;
        let mut asked = Request::new(Method::POST, url);
        asked.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        asked.headers_mut().insert(USER_AGENT, HeaderValue::from_static(concat!("be8/", env!("CARGO_PKG_VERSION"))));
        *asked.body_mut() = Some(request.into());
        let answered = async {
            let answer = self.client.send(asked).await?;
            let status = answer.status();
            let body = self.client.body(answer, MOST).await?;
            Ok((status, String::from_utf8(body).map_err(|_| NoCosignature::Nonsense)?))
        };
        tokio::time::timeout(PATIENCE, answered).await.unwrap_or(Err(Failure::Late.into()))
    }
}

impl Witnesses {
    /// Asks these witnesses.
    pub fn new(transparency: Arc<Transparency>, witnesses: Vec<AskedWitness>) -> Self {
        let asker = Arc::new(Asker { transparency, client: Client::any(PATIENCE) });
        Self { asker, witnesses: witnesses.into_iter().map(Arc::new).collect(), memory: Mutex::default() }
    }

    /// Asks those witnesses for their signatures under this head that have not given them and are not asked already.
    fn ask(&self, memory: &mut Memory, head: &SignedHead) {
        let signatures = notes::signatures(&head.cosignatures).unwrap_or_default();
        let text = notes::split(&head.note).map(|(text, _)| text).unwrap_or_default();
        for witness in &self.witnesses {
            let known = memory.known.entry(witness.key.name().to_owned()).or_default();
            let waits = known.vain.is_some_and(|(size, when)| size == head.size && when.elapsed() < PAUSE);
            if known.asked || waits || signatures.iter().any(|one| witness.key.signed(text, one)) {
                continue;
            }
            known.asked = true;
            let (asker, witness, head, size) = (self.asker.clone(), witness.clone(), head.clone(), known.size);
            memory.asking.spawn(async move {
                let line = asker.ask(&witness, &head, size).await;
                Answer { witness, size: head.size, line }
            });
        }
    }

    /// Notes what became of a question; the line to store under the head of that size.
    fn note(memory: &mut Memory, answer: Answer) -> Option<(u64, String)> {
        let Answer { witness, size, line } = answer;
        let known = memory.known.entry(witness.key.name().to_owned()).or_default();
        known.asked = false;
        let outcome = if line.is_ok() { "cosigned" } else { "refused" };
        metrics::counter!("be8_audit_witness_answers_total", "outcome" => outcome).increment(1);
        match line {
            Ok(line) => {
                (known.size, known.vain) = (size, None);
                Some((size, line))
            }
            Err(error) => {
                known.vain = Some((size, Instant::now()));
                let name = witness.key.name();
                if error.is_alarming() {
                    tracing::error!(witness = name, size, %error, "a witness did not cosign");
                } else {
                    tracing::warn!(witness = name, size, %error, "a witness did not cosign");
                }
                None
            }
        }
    }
}

#[async_trait]
impl Process for Witnesses {
    fn name(&self) -> &'static str {
        "witnesses"
    }

    async fn begin(&self, _: &mut Lead) -> Result<(), ProcessError> {
        // What was asked before the lead was lost is asked again.
        *self.memory.lock().await = Memory::default();
        Ok(())
    }

    async fn tick(&self, lead: &mut Lead) -> Result<Duration, ProcessError> {
        let mut memory = self.memory.lock().await;
        let Some(head) = self.asker.transparency.tables().newest_head().await? else { return Ok(LOOK) };
        self.ask(&mut memory, &head);
        // The first answer, if one comes by the next look; then all that are there.
        let mut answers = match tokio::time::timeout(LOOK, memory.asking.join_next()).await {
            Ok(Some(answer)) => vec![answer],
            // Nobody is asked.
            Ok(None) => return Ok(LOOK),
            Err(_) => return Ok(Duration::ZERO),
        };
        answers.extend(std::iter::from_fn(|| memory.asking.try_join_next()));
        for answer in answers {
            match answer {
                Ok(answer) => {
                    if let Some((size, line)) = Self::note(&mut memory, answer) {
                        lead.add_cosignature(size, &line).await?;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "the task that asks a witness broke off: all are asked again");
                    *memory = Memory::default();
                    return Ok(LOOK);
                }
            }
        }
        Ok(Duration::ZERO)
    }
}
