//! What is wrong in a group's history.

use poem_openapi::Object;
use serde::Serialize;

use crate::audit;

/// Something that is wrong in a group's history.
#[derive(Debug, Clone, Default, PartialEq, Object, Serialize)]
#[oai(rename = "Finding", rename_all = "camelCase", read_only_all, skip_serializing_if_is_none)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// `exposure-window`, `missing-key`, `stray-key`, `undistributed-version` or `replaced-key`.
    pub rule: String,
    /// Whom it is about.
    pub account: String,
    /// Which version of the key.
    pub version: u32,
    /// Of an exposure window: `holds-key` or `knows-key`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub knowledge: Option<String>,
    /// Where it began.
    #[oai(validator(minimum(value = "0")))]
    pub from: i64,
    /// When it began (RFC 3339).
    pub since: String,
    /// Where it ended; absent: it lasts, or is of a moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[oai(validator(minimum(value = "0")))]
    pub until: Option<i64>,
    /// Of an exposure window: the messages that were written in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[oai(validator(minimum(value = "0")))]
    pub messages: Option<i64>,
    /// The positions of the events that prove it.
    pub proof: Vec<i64>,
}

impl From<&audit::Finding> for Finding {
    fn from(finding: &audit::Finding) -> Self {
        Self {
            rule: finding.rule.name().to_owned(),
            account: finding.account.to_string(),
            version: finding.version,
            knowledge: finding.knowledge.map(|knowledge| knowledge.name().to_owned()),
            from: finding.from.0,
            since: finding.since.to_string(),
            until: finding.until.map(|position| position.0),
            messages: finding.messages,
            proof: finding.proof.iter().map(|position| position.0).collect(),
        }
    }
}
