//! Counting and timing requests by route, never by what they name: a stranger's text in a label
//! would be a series of its own forever.

use std::collections::HashMap;
use std::time::Instant;

use metrics::{Counter, Histogram};
use parking_lot::RwLock;
use poem::http::Method;
use poem::{Endpoint, IntoResponse, Middleware, Request, Response};

use super::edge::EdgeLayer;

/// The measuring as a poem middleware, around everything else. It knows the routes by the edge.
#[derive(Debug, Clone)]
pub struct MeasureLayer(pub EdgeLayer);

impl<E: Endpoint> Middleware<E> for MeasureLayer {
    type Output = Measured<E>;

    fn transform(&self, inside: E) -> Measured<E> {
        Measured { edge: self.0.clone(), series: RwLock::default(), inside }
    }
}

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

/// An endpoint that is measured.
pub struct Measured<E> {
    edge: EdgeLayer,
    series: RwLock<HashMap<Labels, Series>>,
    inside: E,
}

impl<E: Endpoint> Endpoint for Measured<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let begun = Instant::now();
        let method = name(request.method());
        let route = self.edge.rule(request.uri().path()).map_or("other", |rule| rule.path);
        let answer = self.inside.call(request).await?.into_response();
        let labels = Labels { method, route, status: answer.status().as_u16() };
        let series = self.series.read();
        match series.get(&labels) {
            Some(series) => series.count(begun),
            None => {
                drop(series);
                let mut series = self.series.write();
                series.entry(labels).or_insert_with(|| Series::of(labels)).count(begun);
            }
        }
        tracing::debug!(method, route, status = labels.status, "request");
        Ok(answer)
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
