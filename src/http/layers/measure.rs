//! Counting and timing requests by route, never by what they name: a stranger's text in a label
//! would be a series of its own forever.

use std::collections::HashMap;
use std::time::Instant;

use metrics::{Counter, Histogram};
use parking_lot::RwLock;
use poem::http::{Method, StatusCode};

use crate::http::request::paths::Rule;

/// What a request is counted under: few values each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Labels {
    method: &'static str,
    route: &'static str,
    status: u16,
}

/// The handles of one set of labels: looking them up costs more than counting.
struct Series {
    requests: Counter,
    seconds: Histogram,
}

impl Series {
    fn of(Labels { method, route, status }: Labels) -> Self {
        Self {
            requests: metrics::counter!(
                "be8_http_requests_total", "method" => method, "route" => route, "status" => status.to_string()
            ),
            seconds: metrics::histogram!("be8_http_request_seconds", "method" => method, "route" => route),
        }
    }

    fn count(&self, begun: Instant) {
        self.requests.increment(1);
        self.seconds.record(begun.elapsed().as_secs_f64());
    }
}

/// The series of all requests.
#[derive(Default)]
pub(super) struct Measure(RwLock<HashMap<Labels, Series>>);

/// A request that is under way.
pub(super) struct Measured {
    begun: Instant,
    method: &'static str,
}

impl Measured {
    /// From now on, with the method that was sent.
    pub(super) fn begin(method: &Method) -> Self {
        Self { begun: Instant::now(), method: name(method) }
    }
}

impl Measure {
    /// Counts a request that is answered.
    pub(super) fn count(&self, measured: &Measured, rule: Option<&'static Rule>, status: StatusCode) {
        let Measured { begun, method } = *measured;
        let route = rule.map_or("other", |rule| rule.path.as_str());
        let labels = Labels { method, route, status: status.as_u16() };
        let series = self.0.read();
        match series.get(&labels) {
            Some(series) => series.count(begun),
            None => {
                drop(series);
                let mut series = self.0.write();
                series.entry(labels).or_insert_with(|| Series::of(labels)).count(begun);
            }
        }
        tracing::debug!(method, route, status = labels.status, "request");
    }
}

/// The name of a method that is known (RFC 9110, section 9.3); a client may send any word.
fn name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        _ => "other",
    }
}
