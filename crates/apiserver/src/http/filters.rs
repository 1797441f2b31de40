//! [`Front`]: what every request passes, in order: panics, timing, identity, permission, the handler, headers.

use super::deadline;
use super::metrics::Metrics;
use super::resource::Resources;
use super::respond::{ErrorForm, status_response, text_response};
use crate::audit::Auditor;
use crate::contract::{Attributes, Context, UserInfo};
use crate::flowcontrol::{self, Listing, Refused, Ticket};
use crate::registry::{Caller, Registry};
use crate::request::RequestInfo;
use crate::{authn, authz, discovery};
use component::Tasks;
use component::serve::{ConnInfo, Handler, Request, Response};
use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderName, HeaderValue};
use http_body_util::BodyExt;
use machinery::{Reason, Status};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How the media types of server-side apply begin.
const APPLY: &[u8] = b"application/apply-patch+";
pub(super) const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
const WARNING: HeaderName = HeaderName::from_static("warning");

/// The way in for every request.
pub(crate) struct Front {
    inner: Arc<Inner>,
}

struct Inner {
    context: Context,
    resources: Resources,
    site: discovery::Site,
    metrics: Arc<Metrics>,
    audit_ids: AuditIds,
    timeout: Duration,
    auditor: Option<Arc<Auditor>>,
}

impl Front {
    /// Puts the way in together.
    pub(crate) fn new(
        context: Context,
        registry: Arc<Registry>,
        auditor: Option<Arc<Auditor>>,
        tasks: &Tasks,
    ) -> Self {
        let metrics = Arc::new(Metrics::default());
        let resources = Resources {
            registry: registry.clone(),
            metrics: metrics.clone(),
            max_body: context.config.max_body,
            cbor: context.config.cbor,
            stop: tasks.stopping().clone(),
        };
        let site = discovery::Site::new(registry, metrics.clone(), &context.config, tasks.stopping().clone());
        let timeout = context.config.request_timeout;
        let audit_ids = AuditIds::new();
        Self { inner: Arc::new(Inner { context, resources, site, metrics, audit_ids, timeout, auditor }) }
    }
}

impl Handler for Front {
    fn handle(&self, request: Request) -> BoxFuture<'static, Response> {
        let inner = self.inner.clone();
        Box::pin(async move { inner.answer(request).await })
    }

    fn is_brief(&self, request: &Request) -> bool {
        is_one_object(request)
    }
}

/// Whether the request reads one object, which the watch cache has at hand.
fn is_one_object(request: &Request) -> bool {
    if request.method() != http::Method::GET || request.uri().query().is_some() {
        return false;
    }
    let mut segments = request.uri().path().split('/').skip(1);
    let places = match segments.next() {
        Some("api") => segments.next().into_iter().count(),
        Some("apis") => segments.by_ref().take(2).count(),
        _ => 0,
    };
    let first = segments.next();
    match (places, segments.count()) {
        (0, _) => false,
        (_, 1) => !matches!(first, Some("watch" | "proxy")),
        (_, 3) => first == Some("namespaces"),
        _ => false,
    }
}

/// Names of requests: they have to differ, not to be hard to guess.
struct AuditIds {
    first: u64,
    count: AtomicU64,
}

impl AuditIds {
    fn new() -> Self {
        Self { first: rand::random(), count: AtomicU64::new(0) }
    }

    /// A UUID: where the server began and a number, scattered (the finalizer of SplitMix64).
    fn next(&self) -> String {
        let scatter = |mut bits: u64| {
            bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            bits ^ (bits >> 31)
        };
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let (high, low) = (scatter(self.first ^ number), scatter(number.wrapping_add(self.first)));
        crate::registry::uid_of((u128::from(high) << 64 | u128::from(low)).to_be_bytes())
    }
}

/// Requests that may take as long as they like.
fn is_long(info: &RequestInfo) -> bool {
    info.verb == "watch"
        || matches!(info.subresource.as_str(), "attach" | "exec" | "log" | "portforward" | "proxy")
}

impl Inner {
    async fn answer(self: Arc<Self>, request: Request) -> Response {
        let info = Arc::new(RequestInfo::parse(request.method(), request.uri()));
        let audit_id = request.headers().get(&AUDIT_ID).cloned();
        let started = self.context.clock.instant();
        let (long, table) = (is_long(&info), self.resources.registry.resources());
        let is_apply =
            request.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(APPLY));
        let _inflight = (!long).then(|| self.metrics.begin(&info));
        let running = long.then(|| self.metrics.begin_long(&info, &table));
        let work = AssertUnwindSafe(self.timed(&info, request)).catch_unwind();
        let mut response = work.await.unwrap_or_else(|_| {
            tracing::error!(
                path = info.path,
                "a request panicked; this is a bug of Windlass, please report it"
            );
            status_response(&Status::internal(format!("apiserver panic'd on {} {}", info.verb, info.path)))
        });
        let took = self.context.clock.instant().saturating_duration_since(started);
        self.metrics.observe(&info, &table, is_apply, response.status().as_u16(), took);
        if let Some(running) = running {
            // It runs as long as its answer does.
            let keep = move |frame| {
                let _running = &running;
                frame
            };
            response = response.map(|body| body.map_frame(keep).boxed_unsync());
        }
        let headers = response.headers_mut();
        let fresh = || HeaderValue::try_from(self.audit_ids.next()).ok();
        // A recorded request has the id of its record.
        if !headers.contains_key(&AUDIT_ID)
            && let Some(id) = audit_id.filter(|id| id.len() <= 64).or_else(fresh)
        {
            headers.insert(AUDIT_ID, id);
        }
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache, private"));
        response
    }

    async fn timed(&self, info: &RequestInfo, request: Request) -> Response {
        let head = request.method() == http::Method::HEAD;
        let response = if is_long(info) {
            self.served(info, request).await
        } else {
            let timeout = match deadline::of(&info.query, self.timeout) {
                Ok(timeout) => timeout,
                Err(status) => return status_response(&status),
            };
            match tokio::time::timeout(timeout, self.served(info, request)).await {
                Ok(response) => response,
                Err(_) => status_response(&Status::new(
                    504,
                    Reason::Timeout,
                    "Timeout: request did not complete within the allotted timeout",
                )),
            }
        };
        if head { response.map(|_| component::serve::full(bytes::Bytes::new())) } else { response }
    }

    async fn served(&self, info: &RequestInfo, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let errors = ErrorForm::of(&parts.headers, self.context.config.cbor);
        let Some(connection) = parts.extensions.get::<Arc<ConnInfo>>().cloned() else {
            return status_response(&Status::internal("the connection is not known"));
        };
        let found = authn::authenticate(&self.context, &parts, &connection).await;
        let Some(auditor) = &self.auditor else {
            return match found {
                Ok(user) => self.permitted(info, parts, body, user).await,
                Err(status) => errors.response(info, &status),
            };
        };
        let Some(trail) = super::record::begin(auditor, info, &parts, &connection, &found) else {
            return match found {
                Ok(user) => self.permitted(info, parts, body, user).await,
                Err(status) => errors.response(info, &status),
            };
        };
        let user = match found {
            Ok(user) => user,
            Err(status) => return super::record::refused(&trail, &parts, &status).await,
        };
        if let Err(status) = trail.received().await {
            return status_response(&status);
        }
        let response = trail.clone().around(self.permitted(info, parts, body, user)).await;
        super::record::answered(trail, is_long(info), response).await
    }

    /// Serves a request of `sender`, if it or whom it acts as may make it.
    async fn permitted(
        &self,
        info: &RequestInfo,
        parts: http::request::Parts,
        body: hyper::body::Incoming,
        sender: Arc<UserInfo>,
    ) -> Response {
        let errors = ErrorForm::of(&parts.headers, self.context.config.cbor);
        let user = match authn::acting_as(&self.context, &parts.headers, info, sender).await {
            Ok(user) => user,
            Err(status) => return errors.response(info, &status),
        };
        let attributes = info.attributes(&user);
        let ticket = match self.seat(info, &attributes).await {
            Ok(ticket) => ticket,
            Err(refused) => return too_many(&refused),
        };
        let checked = authz::check(&self.context, &attributes).await;
        if self.auditor.is_some() {
            authz::annotate(&self.context, &attributes, checked.as_ref().err());
        }
        if let Err(status) = checked {
            return ticket.marked(errors.response(info, &status));
        }
        if let Some(remote) = self.context.aggregator.find(&info.path) {
            let request = Request::from_parts(parts, body);
            let answer = remote.proxy(&self.context, &user, request).await;
            return ticket.marked(answer.unwrap_or_else(|status| status_response(&status)));
        }
        let agent = parts.headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let caller = Caller::new(user, agent);
        let request = Request::from_parts(parts, body);
        let result = if info.resource_request {
            self.resources.handle(&caller, info, request).await
        } else {
            self.site.handle(&caller, info, request).await
        };
        let mut response = result.unwrap_or_else(|status| errors.response(info, &status));
        for warning in caller.take_warnings() {
            if let Some(value) = warning_header(&warning) {
                response.headers_mut().append(WARNING, value);
            }
        }
        ticket.marked(response)
    }

    /// A place among the requests that run now; long ones other than watches need none.
    async fn seat(&self, info: &RequestInfo, attributes: &Attributes) -> Result<Ticket, Refused> {
        if is_long(info) && info.verb != "watch" {
            return Ok(Ticket::default());
        }
        self.context.flow.enter(attributes, Listing::of(&info.query)).await
    }
}

/// 429 as upstream sends it: plain text.
fn too_many(refused: &Refused) -> Response {
    let mut response = text_response(429, format!("{}\n", flowcontrol::REFUSED));
    response.headers_mut().insert(RETRY_AFTER, refused.retry_after());
    refused.label.mark(response.headers_mut());
    response
}

/// A warning as RFC 7234 writes it; without what a header cannot carry.
fn warning_header(text: &str) -> Option<HeaderValue> {
    let mut quoted = String::with_capacity(text.len() + 8);
    for c in text.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()).ok()
}
