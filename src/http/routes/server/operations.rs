//! The routes of the tag "Operations": whether the server lives, is ready, and what it measures.

use std::time::Duration;

use poem_openapi::payload::PlainText;
use poem_openapi::{Object, OpenApi};
use serde::Serialize;

use crate::app::Handle;
use crate::http::document::operation::Refusal::When;
use crate::http::document::operation::{LimitClass, Operation};
use crate::http::document::tag::Tag;
use crate::http::request::common::Common;
use crate::http::wire::answer::Answer;
use crate::http::wire::codes::Code;
use crate::http::wire::error::WireError;

/// For those who run the server.
pub struct Operations(pub Handle);

/// The state of the server.
#[derive(Debug, Default, Object, Serialize)]
#[oai(rename = "Health", read_only_all)]
pub struct Health {
    /// Always `ok`.
    pub status: &'static str,
    /// What is wrong with the clock of the server; absent when nothing is. Requests are served all the same.
    #[oai(skip_serializing_if_is_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock: Option<Vec<String>>,
    /// What is wrong with the store of images; absent when nothing is. Everything else is served all the same.
    #[oai(skip_serializing_if_is_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<Vec<String>>,
}

/// How long the database may take to say that it is there.
const PATIENCE: Duration = Duration::from_secs(2);

/// The operations of this file.
pub(in crate::http) const OPERATIONS: &[Operation] = &[
    Operation::own("getHealth", &[]).limit(LimitClass::None).answers_head(),
    Operation::own(
        "getReadiness",
        &[When(
            Code::Unavailable,
            "unless the database answers and takes writes, its schema is current, and the clock is not ahead \
                 of the database's",
        )],
    )
    .limit(LimitClass::None)
    .answers_head(),
    Operation::own("getMetrics", &[]).limit(LimitClass::None).answers_head(),
];

#[OpenApi]
impl Operations {
    /// Does the server live?
    ///
    /// Answers as long as the process serves requests at all.
    #[oai(path = "/healthz", method = "get", operation_id = "getHealth", tag = "Tag::Operations")]
    async fn healthz(&self) -> Answer<Health> {
        Answer::new(&Health { status: "ok", ..Health::default() })
    }

    /// Is the server ready?
    ///
    /// Whether requests can be served now.
    #[oai(path = "/readyz", method = "get", operation_id = "getReadiness", tag = "Tag::Operations")]
    async fn readyz(&self) -> Result<Answer<Health>, WireError> {
        let app = self.0.get()?;
        let writable = tokio::time::timeout(PATIENCE, app.ledger.is_writable()).await;
        let clock = app.ledger.trusted_time().state();
        match writable {
            Ok(Ok(true)) if !app.stop.is_cancelled() && !clock.refuses() => {
                let wrong = clock.sentences();
                let images = app.media.trouble().map(|trouble| vec![trouble.to_owned()]);
                Ok(Answer::new(&Health { status: "ok", clock: (!wrong.is_empty()).then_some(wrong), images }))
            }
            _ => Err(Code::Unavailable.into()),
        }
    }

    /// Measurements
    ///
    /// In the text format of Prometheus.
    #[oai(path = "/metrics", method = "get", operation_id = "getMetrics", tag = "Tag::Operations")]
    async fn metrics(&self, common: &Common) -> PlainText<String> {
        if let Ok(app) = self.0.get() {
            metrics::gauge!("be8_log_position").set(app.ledger.position().0 as f64);
        }
        PlainText(common.metrics.render())
    }
}
