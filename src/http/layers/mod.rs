//! What is around all routes, in the order in which a request goes through it.

pub(in crate::http) mod compress;
mod edge;
mod guard;
pub mod large_bodies;
pub mod limits;
mod measure;

use std::sync::Arc;

use poem::{Endpoint, Request, Response};

use self::compress::{accepts_gzip, compress};
use self::guard::Guard;
use self::limits::{Limiter, Limits};
use self::measure::{Measure, Measured};
use crate::app::Handle;
use crate::http::request::address::Proxies;
use crate::http::request::common::Common;
use crate::http::request::paths::Paths;
use crate::http::request::resolved::Resolver;

/// All layers around the routes, as one endpoint.
pub(in crate::http) struct Layers<E> {
    resolver: Resolver,
    guard: Guard,
    limits: Limits,
    measure: Measure,
    inside: E,
}

impl<E> Layers<E> {
    /// Around the routes inside, at these paths.
    pub(in crate::http) fn new(
        inside: E,
        paths: Paths,
        proxies: Proxies,
        public_url: &str,
        limiter: Arc<Limiter>,
        app: Handle,
        common: Arc<Common>,
    ) -> Self {
        Self {
            resolver: Resolver { paths, proxies, https: public_url.starts_with("https://"), common },
            guard: Guard::new(public_url),
            limits: Limits { limiter, app },
            measure: Measure::default(),
            inside,
        }
    }
}

impl<E: Endpoint> Endpoint for Layers<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> poem::Result<Response> {
        let measured = Measured::begin(request.method());
        let (resolved, forwarded_host) = self.resolver.resolve(&request);
        let accepted = accepts_gzip(request.headers());
        let answer = match self.guard.refusal(&resolved, &request, forwarded_host.as_deref()) {
            Some(refusal) => refusal,
            None => {
                let counted = self.limits.count(&resolved);
                let mut answer = match counted.refusal() {
                    Some(refusal) => refusal,
                    None => {
                        request.set_data(resolved.clone());
                        let answer = edge::answer(&self.inside, &resolved, request).await;
                        counted.note(answer.status()).await;
                        answer
                    }
                };
                counted.tell(&mut answer);
                answer
            }
        };
        let answer = edge::finish(answer, resolved.caller.https);
        let answer = compress(answer, accepted).await?;
        self.measure.count(&measured, resolved.rule, answer.status());
        Ok(answer)
    }
}
