//! Putting the routes together and serving them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use poem::endpoint::{BoxEndpoint, DynEndpoint};
use poem::http::Method;
use poem::{Endpoint, IntoEndpoint as _, Request, Response};
use poem_openapi::registry::MetaParamIn;
use poem_openapi::{ContactObject, LicenseObject, OpenApi, OpenApiService, ServerObject};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::app::Handle;
use crate::http::document::{declaration, document, uses_session};
use crate::http::layers::Layers;
use crate::http::layers::large_bodies::{LargeBodies, LargeBodySettings};
use crate::http::layers::limits::Limiter;
use crate::http::request::body::BodyLimits;
use crate::http::request::byte_budget::ByteBudget;
use crate::http::request::common::Common;
use crate::http::request::cookie::SECURE_NAME;
use crate::http::request::paths::{Paths, Rule};
use crate::http::request::session::SCHEME;
use crate::http::routes;
use crate::http::serve::connections::{self, ConnectionSettings};
use crate::http::serve::outgoing::Outgoing;
use crate::http::serve::tls::Tls;
use crate::http::site::Site;
use crate::http::site::home::{self, Pages};
use crate::http::wire::event_stream::RefusedStreams;

/// How often the limits forget who has not asked for long.
const TIDY: Duration = Duration::from_secs(60);

/// The OpenAPI service of all routes.
fn service(app: &Handle) -> OpenApiService<impl OpenApi, ()> {
    OpenApiService::new(routes::routes(app), "be8", env!("CARGO_PKG_VERSION"))
        .description(DESCRIPTION)
        .contact(ContactObject::new().name("The be8 project").url("https://be8.live"))
        .license(LicenseObject::new("MIT OR Apache-2.0").url("https://spdx.org/licenses/"))
        .server(ServerObject::new("/").description("The server that this document comes from"))
}

/// Where the document is.
const DOCUMENT: &str = "/openapi.json";

const DESCRIPTION: &str = "\
An end-to-end-encrypted messenger without phone numbers. Clients encrypt all content before they send it: the server \
never sees what is said.

**Session.** `POST /newacc` makes an account and sets the session cookie, `be8`, or \
`__Host-be8` where the server is reached over https; most other operations need it.

**Other sites.** What sets or uses a session, but for what only reads by GET, is refused as `FORBIDDEN` before anything \
else when a browser sends it for a page of another origin, by `Sec-Fetch-Site`, or, where that is missing, by `Origin`. \
Programs that are no browsers send neither, and are not concerned.

**Answers.** What is accepted is answered with status 200 and `valid: true`. What is refused is answered with a stable \
code: as `{\"error\": code}` with a status from 400, or, where an operation says so, as \
`{\"valid\": false, \"reason\": code}` with status 200. Each operation lists its checks in their order; the first that \
fails decides. The operations under `/audit` and `/operator`, and `/healthz`, `/readyz` and `/metrics`, refuse by problem \
details (RFC 9457), with the code in the same member `error`; only a witness answers in plain text, as C2SP has it.

**Requests.** Paths match without regard to case. A body is JSON; an urlencoded form of at most five parameters is \
understood too. Members that an operation does not know are ignored. A member of a wrong type is like a missing one.

**Limits.** Requests are limited, generously: per address where no session is shown, per account elsewhere. Each answer \
says by `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers) which limit it counted under and what \
is left of it. Beyond it the answer is 429 `RATELIMITED` with `Retry-After`.

**Trying it here.** On a fresh server, execute *Make an account* twice: the accounts are `10001` and `10002`, and this \
page then acts as the second. All other examples work as they stand once that which they name is there: start the \
conversation, create the group, join it, add the first account.";

/// A server that listens.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Tls>,
}

/// How a server answers.
#[derive(Debug)]
pub struct Serving {
    /// What a body may cost.
    pub bodies: BodyLimits,
    /// How large bodies take turns.
    pub large_bodies: LargeBodySettings,
    /// The files.
    pub site: Site,
    /// The address that clients use.
    pub public_url: String,
    /// The limits on requests.
    pub limiter: Arc<Limiter>,
    /// What connections are bounded by.
    pub connections: ConnectionSettings,
    /// How streams of changes are refused.
    pub refused: RefusedStreams,
}

/// Listens on an address, for https if there is a certificate.
///
/// # Errors
/// The address cannot be had.
pub async fn listen(address: SocketAddr, tls: Option<Tls>) -> std::io::Result<Server> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    Ok(Server { listener, address, tls })
}

impl Server {
    /// Where it listens, with the port that was given for port 0.
    pub fn address(&self) -> String {
        format!("{}://{}", if self.tls.is_some() { "https" } else { "http" }, self.address)
    }

    /// Serves until `stop`; then open requests get a while to end.
    ///
    /// # Errors
    /// The listener fails.
    pub async fn run(
        self,
        app: Handle,
        metrics: PrometheusHandle,
        serving: Serving,
        stop: CancellationToken,
    ) -> std::io::Result<()> {
        let (limiter, connections) = (serving.limiter.clone(), serving.connections.clone());
        let routes = routes(app, metrics, serving);
        let tidying = stop.clone().run_until_cancelled_owned(async move {
            loop {
                tokio::time::sleep(TIDY).await;
                limiter.tidy();
            }
        });
        tokio::spawn(tidying);
        connections::serve(self.listener, self.tls, routes, connections, stop).await
    }
}

/// The document of the routes, without a server.
pub fn openapi() -> Value {
    document(&service(&Handle::default()), routes::declared)
}

fn routes(app: Handle, metrics: PrometheusHandle, serving: Serving) -> impl Endpoint<Output = Response> {
    let service = service(&app);
    let mut document = document(&service, routes::declared);
    if serving.public_url.starts_with("https://") {
        document["components"]["securitySchemes"][SCHEME]["name"] = SECURE_NAME.into();
    }
    let text = serde_json::to_string(&document).unwrap_or_default();
    let Serving { bodies, large_bodies, site, public_url, limiter, refused, connections } = serving;
    let inside = Inside {
        site,
        document: text.into(),
        pages: Pages::new(&service.swagger_ui_html()),
        large_bodies: LargeBodies::new(app.clone(), large_bodies),
        operations: Operations { plain: plain(routes::routes(&app)), routed: service.into_endpoint() },
    };
    let memory = ByteBudget::new(bodies.memory, Some("be8_body_bytes"));
    let common = Arc::new(Common { bodies, memory, refused, metrics });
    Layers::new(inside, Paths::new(rules(&document)), connections.proxies, &public_url, limiter, app, common)
}

/// What is served: files, the document, pages and operations.
struct Inside {
    site: Site,
    document: Arc<str>,
    pages: Pages,
    large_bodies: LargeBodies,
    operations: Operations,
}

/// The endpoints of all operations, by path and method.
type Endpoints = HashMap<String, HashMap<Method, BoxEndpoint<'static>>>;

/// All operations.
struct Operations {
    /// Those without parameters in path and query, which need nothing of what poem's router does for the others: matching
    /// patterns, and keeping the parts of paths and queries.
    plain: Endpoints,
    /// All of them.
    routed: BoxEndpoint<'static>,
}

/// The endpoints of the paths where no operation has a parameter in its path or query.
fn plain<T: OpenApi>(api: T) -> Endpoints {
    let mut endpoints = Endpoints::new();
    api.add_routes(&mut endpoints);
    let paths = T::meta().into_iter().flat_map(|api| api.paths);
    for path in paths {
        let mut parameters = path.operations.iter().flat_map(|operation| &operation.params);
        if parameters.any(|parameter| matches!(parameter.in_type, MetaParamIn::Query | MetaParamIn::Path)) {
            endpoints.remove(&path.path);
        }
    }
    // Patterns are spelled otherwise there.
    endpoints.retain(|path, _| !path.contains([':', '*', '<']));
    endpoints
}

impl Operations {
    fn of(&self, request: &Request) -> &dyn DynEndpoint<Output = Response> {
        let plain = self.plain.get(request.uri().path()).and_then(|methods| methods.get(request.method()));
        &**plain.unwrap_or(&self.routed)
    }
}

impl Endpoint for Inside {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        // The files are in memory anyway.
        if let Some(file) = self.site.answer(&request)? {
            return Ok(file);
        }
        let outgoing = request.data::<Outgoing>().cloned().unwrap_or_default();
        let page = match request.uri().path() {
            DOCUMENT => Some(document_answer(&self.document)),
            _ => self.pages.answer(&request),
        };
        let mut answer = match page {
            Some(page) => page,
            None => {
                let _permit = self.large_bodies.permit(&request).await?;
                self.operations.of(&request).call(request).await?
            }
        };
        outgoing.claim_for(&mut answer)?;
        Ok(answer)
    }
}

/// The paths of all routes and pages but the home page, in lower case: no file stands there.
pub fn taken() -> &'static [String] {
    static TAKEN: OnceLock<Vec<String>> = OnceLock::new();
    TAKEN.get_or_init(|| {
        let rules = rules(&openapi()).into_iter().map(|rule| rule.path.to_ascii_lowercase());
        rules.filter(|path| path != "/").collect()
    })
}

/// The rules of all paths: those of the document, with what their operations declare, and those of the pages.
fn rules(document: &Value) -> Vec<Rule> {
    let paths = document.get("paths").and_then(Value::as_object).into_iter().flatten();
    let mut rules: Vec<Rule> = paths
        .map(|(path, all)| {
            let mut rule = Rule::page(path);
            (rule.head, rule.methods) = (false, Vec::new());
            for (name, operation) in all.as_object().into_iter().flatten() {
                let (Ok(method), Some(declared)) =
                    (name.to_ascii_uppercase().parse::<Method>(), declaration(operation, routes::declared))
                else {
                    continue;
                };
                let session = uses_session(operation);
                if declared.is_guarded(name, session) {
                    rule.guarded.push(method.clone());
                }
                rule.methods.push(method);
                rule.session |= session;
                rule.head |= declared.head;
                rule.large_bodies |= declared.large_bodies;
                rule.changes_by_get |= declared.changes_by_get;
                (rule.errors, rule.limit) = (declared.errors, declared.limit);
            }
            rule
        })
        .collect();
    let pages = home::PATHS.into_iter().chain([DOCUMENT]);
    rules.extend(pages.map(Rule::page));
    rules
}

fn document_answer(text: &str) -> Response {
    Response::builder().content_type("application/json; charset=utf-8").body(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_with_parameters_in_path_or_query_go_through_the_router_that_reads_them() {
        let handle = Handle::default();
        let plain = plain(routes::routes(&handle));
        let document = openapi();
        let mut routed = 0;
        for (path, operations) in document["paths"].as_object().unwrap() {
            let parameters = operations.as_object().unwrap().values().flat_map(|one| one["parameters"].as_array());
            let read = |parameter: &Value| parameter["in"] == "path" || parameter["in"] == "query";
            if parameters.flatten().any(read) {
                assert!(!plain.contains_key(path), "{path}");
                routed += 1;
            }
        }
        assert!(routed > 5, "{routed}");
        // Its parameters are no part of the document.
        assert!(!plain.contains_key("/events"));
        for path in ["/me", "/getthreads", "/getmessages", "/writemessage"] {
            assert!(plain.contains_key(path), "{path}: {:?}", plain.keys());
        }
    }
}
