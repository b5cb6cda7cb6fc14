//! What the server has for all requests.

#[cfg(test)]
use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;

use super::body::BodyLimits;
use super::byte_budget::ByteBudget;
use crate::http::wire::event_stream::RefusedStreams;

/// What all requests have in common.
#[derive(Debug)]
pub struct Common {
    /// What a body may cost.
    pub(in crate::http) bodies: BodyLimits,
    /// The memory for all bodies.
    pub(in crate::http) memory: ByteBudget,
    /// How streams of changes are refused.
    pub(in crate::http) refused: RefusedStreams,
    /// The measurements.
    pub(in crate::http) metrics: PrometheusHandle,
}

#[cfg(test)]
impl Common {
    /// With these limits of bodies, and memory for all of them.
    pub(in crate::http) fn with(bodies: BodyLimits) -> Arc<Self> {
        let metrics = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder().handle();
        let refused = RefusedStreams::new(std::time::Duration::ZERO, 0, tokio_util::sync::CancellationToken::new());
        Arc::new(Self { bodies, memory: ByteBudget::new(usize::MAX, None), refused, metrics })
    }
}
