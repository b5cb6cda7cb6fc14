//! The other routes of the tag "Audit": proofs that a group's events are in the signed log.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use be8_events::Position;
use poem::http::header;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::{PlainText, Response};
use poem_openapi::{Object, OpenApi};
use serde::Serialize;

use super::history::{Admitted, admit, admit_to_absent, example_group};
use crate::app::Handle;
use crate::audit::bundle;
use crate::audit::checkpoint_wait::ProofError;
use crate::http::document::operation::Operation;
use crate::http::document::operation::Refusal::{Always, When};
use crate::http::document::tag::Tag;
use crate::http::request::operator::Auditor;
use crate::http::wire::answer::{Answer, True};
use crate::http::wire::codes::Code;
use crate::http::wire::error::WireError;

/// Proofs of the history of groups.
pub struct Proofs(pub Handle);

/// An event of a group, and the proof that it is in the log.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "GroupProof", rename_all = "camelCase", read_only_all)]
#[serde(rename_all = "camelCase")]
pub struct GroupProof {
    /// Always true.
    pub valid: True,
    /// The group.
    #[oai(rename = "groupID")]
    #[serde(rename = "groupID")]
    pub group_id: String,
    /// Where the event stands in the log. It is the entry with the index `position - 1`.
    #[oai(validator(minimum(value = "1")))]
    pub position: i64,
    /// The canonical bytes of the event (`docs/log-format.md`) in base64. Their SHA-256 is the entry.
    pub canonical: String,
    /// The inclusion of the entry, and a checkpoint: a `c2sp.org/tlog-proof@v1`.
    pub proof: String,
}

/// The operations of this file.
pub(in crate::http) const OPERATIONS: &[Operation] = &[
    Operation::own(
        "getGroupProof",
        &[
            Always(Code::NotAuth),
            When(Code::InvalidInput, "(what can be no position)"),
            Always(Code::NotFound),
            Always(Code::NotCoveredYet),
        ],
    ),
    Operation::own("getGroupBundle", &[Always(Code::NotAuth), Always(Code::NotFound), Always(Code::NotCoveredYet)]),
];

#[OpenApi]
impl Proofs {
    /// Prove an event of a group
    ///
    /// The canonical bytes of the event at `position` (without it, of the group's first event), and
    /// the proof that they are in the transparency log, by C2SP `tlog-proof`. Checkpoints and hashes
    /// of the whole log are public under `/audit/log/`, unless the operator closed them
    /// (`docs/audit.md`). Who may ask is as for the history; what the history does not show cannot
    /// be proved either. For an event that no checkpoint covers yet one is signed, unless the last one was
    /// signed on request a moment ago: then the answer is `NOTCOVEREDYET`, with the time to come back.
    #[oai(path = "/audit/groups/:groupID/proof", method = "get", operation_id = "getGroupProof", tag = "Tag::Audit")]
    async fn proof(
        &self,
        auditor: Auditor,
        /// The group.
        #[oai(name = "groupID", example = "example_group")]
        group: Path<String>,
        /// Where the event stands in the log.
        #[oai(validator(minimum(value = "1")))]
        position: Query<Option<i64>>,
    ) -> Result<Answer<GroupProof>, WireError> {
        let app = self.0.get()?;
        let Admitted { group, sight, .. } = admit(app, &auditor, &group.0, "proof").await?;
        let position = position.0.map(Position);
        let proved = bundle::proof(app.ledger.log(), &app.transparency, group, &sight, position).await?;
        Ok(Answer::new(&GroupProof {
            valid: True,
            group_id: group.to_string(),
            position: proved.event.position.0,
            canonical: STANDARD.encode(proved.event.canonical()),
            proof: proved.proof,
        }))
    }

    /// Take a group's history home
    ///
    /// One file with the canonical bytes of the group's events that the asker may see, all their
    /// proofs and a checkpoint, signed: `be8 verify-bundle` and `openapi/verify/verify.py` check it
    /// without the server. `docs/audit.md` fixes its format. Who may ask is as for the history. If the
    /// newest checkpoint does not cover all of it, one is signed, as for a proof; where that has to wait,
    /// the bundle ends with what is covered. It proves that the group has no other events up to there; to the operator also,
    /// in a bundle without events, that there is no such group.
    #[oai(path = "/audit/groups/:groupID/bundle", method = "get", operation_id = "getGroupBundle", tag = "Tag::Audit")]
    async fn bundle(
        &self,
        auditor: Auditor,
        /// The group.
        #[oai(name = "groupID", example = "example_group")]
        group: Path<String>,
    ) -> Result<Response<PlainText<String>>, WireError> {
        let app = self.0.get()?;
        let Admitted { group, sight, reader } = admit_to_absent(app, &auditor, &group.0, "bundle").await?;
        let text = bundle::bundle(app.ledger.log(), &app.transparency, group, reader, &sight).await?;
        let name = format!("attachment; filename=\"{group}.be8-bundle\"");
        Ok(Response::new(PlainText(text))
            .header(header::CACHE_CONTROL, "no-store")
            .header(header::CONTENT_DISPOSITION, name))
    }
}

impl From<ProofError> for WireError {
    fn from(error: ProofError) -> Self {
        match error {
            ProofError::NotCovered(again) => Self::retry(Code::NotCoveredYet, again),
            ProofError::NoEvent => Code::NotFound.into(),
            ProofError::Audit(error) => error.into(),
            ProofError::Transparency(error) => error.into(),
        }
    }
}
