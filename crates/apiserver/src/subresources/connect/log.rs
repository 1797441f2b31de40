//! `pods/log`: what a container wrote, from its kubelet.

use super::kubelet::{self, Wording};
use crate::contract::{ConnectCall, Context, SubresourceHandler};
use crate::request::Query;
use async_trait::async_trait;
use component::serve::{Response, full};
use http::{HeaderValue, Method, header};
use http_body_util::BodyExt;
use machinery::{FieldErrors, FieldPath, GroupKind, Status};

pub(super) struct Log;

/// Parameters that the kubelet understands by the same name.
const PASSED: [&str; 8] =
    ["follow", "limitBytes", "previous", "sinceSeconds", "sinceTime", "stream", "tailLines", "timestamps"];

#[async_trait]
impl SubresourceHandler for Log {
    fn parent(&self) -> (&'static str, &'static str) {
        ("", "pods")
    }

    fn name(&self) -> &'static str {
        "log"
    }

    fn connects(&self) -> bool {
        true
    }

    async fn connect(&self, context: &Context, call: ConnectCall) -> Result<Response, Status> {
        if call.request.method() != Method::GET {
            return Err(Status::method_not_allowed(
                &machinery::GroupResource::new("", "pods"),
                &call.info.verb,
            ));
        }
        validate(&call.info.name, &call.info.query)?;
        let pod = kubelet::pod(context, &call).await?;
        let container = kubelet::container(&pod, call.info.query.get("container"))?;
        let Some(node) = kubelet::node_of(&pod) else {
            // Nothing ran yet, so nothing was written.
            return Ok(plain(Response::new(full(""))));
        };
        let path = path(&call, container);
        let response = kubelet::send(context, node, call.request, &path, Wording::Request).await?;
        if response.status().is_success() { Ok(plain(response)) } else { Err(refused(response).await) }
    }
}

/// The kubelet's path and query for these logs.
fn path(call: &ConnectCall, container: &str) -> String {
    let path = format!("/containerLogs/{}/{}/{container}", call.info.namespace, call.info.name);
    let passed = call.info.query.pairs().filter(|(name, value)| PASSED.contains(name) && !value.is_empty());
    kubelet::with_query(&path, passed)
}

fn plain(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

/// Bytes of a kubelet's explanation that are passed on.
const MAX_EXPLANATION: usize = 10_000;

/// The kubelet's refusal as a Status.
async fn refused(response: Response) -> Status {
    let code = response.status().as_u16();
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        bytes.extend_from_slice(frame.data_ref().map(|data| data.as_ref()).unwrap_or_default());
        if bytes.len() >= MAX_EXPLANATION {
            break;
        }
    }
    let reason = match code {
        400 => machinery::Reason::BadRequest,
        404 => machinery::Reason::NotFound,
        _ => machinery::Reason::InternalError,
    };
    Status::new(if code < 500 { code } else { 500 }, reason, String::from_utf8_lossy(&bytes).trim())
}

fn validate(name: &str, query: &Query) -> Result<(), Status> {
    let mut errors = FieldErrors::new();
    let number = |key: &str| query.get(key).filter(|v| !v.is_empty()).map(|v| v.parse::<i64>());
    for (key, least) in [("tailLines", 0), ("limitBytes", 1), ("sinceSeconds", 1)] {
        match number(key) {
            Some(Ok(value)) if value < least => {
                let rule =
                    if least == 0 { "must be greater than or equal to 0" } else { "must be greater than 0" };
                errors.invalid(FieldPath::new(key), value, rule);
            }
            Some(Err(_)) => {
                let text = query.get(key).unwrap_or_default();
                return Err(Status::bad_request(format!(
                    "unable to decode query parameter {key:?}: strconv.ParseInt: parsing {text:?}: invalid syntax"
                )));
            }
            _ => {}
        }
    }
    let given = |key: &str| query.get(key).is_some_and(|value| !value.is_empty());
    if given("sinceSeconds") && given("sinceTime") {
        errors.forbidden(FieldPath::root(), "at most one of `sinceTime` or `sinceSeconds` may be specified");
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(&GroupKind::new("", "PodLogOptions"), name, &errors))
}
