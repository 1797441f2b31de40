//! `/healthz`, `/livez`, `/readyz`: whether the server lives and can serve.

use crate::http::text_response;
use crate::registry::Registry;
use crate::request::Query;
use component::serve::Response;
use std::fmt::Write;

/// The checks of an endpoint, by upstream's names.
fn checks(kind: &str) -> &'static [&'static str] {
    match kind {
        "readyz" => &["ping", "log", "etcd", "etcd-readiness", "informer-sync", "shutdown"],
        _ => &["ping", "log", "etcd"],
    }
}

async fn run(check: &str, registry: &Registry, stopping: bool) -> Result<(), String> {
    match check {
        "etcd" | "etcd-readiness" => {
            let limits = registry.context().map_err(|status| status.message)?.config.store_check_timeouts;
            let limit = if check == "etcd" { limits.0 } else { limits.1 };
            match tokio::time::timeout(limit, registry.feed().store().revision()).await {
                Ok(answer) => answer.map(|_| ()).map_err(|error| error.to_string()),
                Err(_) => Err(format!("the store does not answer within {limit:?}")),
            }
        }
        "informer-sync" => registry.context().map(|_| ()).map_err(|status| status.message),
        "shutdown" if stopping => Err("process is shutting down".to_owned()),
        _ => Ok(()),
    }
}

/// Answers a health endpoint, or one of its checks.
pub(super) async fn answer(
    kind: &str,
    rest: &[&str],
    query: &Query,
    registry: &Registry,
    stopping: bool,
) -> Response {
    let all = checks(kind);
    if !rest.is_empty() {
        let name = rest.join("/");
        if !all.contains(&name.as_str()) {
            return text_response(404, "404 page not found\n");
        }
        return match run(&name, registry, stopping).await {
            Ok(()) => text_response(200, "ok"),
            Err(why) => text_response(500, format!("internal server error: {why}\n")),
        };
    }
    let excluded: Vec<&str> = query.all("exclude").collect();
    let mut lines = String::new();
    let mut failed = Vec::new();
    for check in all {
        if excluded.contains(check) {
            let _ = writeln!(lines, "[+]{check} excluded: ok");
            continue;
        }
        match run(check, registry, stopping).await {
            Ok(()) => {
                let _ = writeln!(lines, "[+]{check} ok");
            }
            Err(why) => {
                tracing::debug!(check, why, "a health check failed");
                let _ = writeln!(lines, "[-]{check} failed: reason withheld");
                failed.push(*check);
            }
        }
    }
    for unknown in excluded.iter().filter(|name| !all.contains(name)) {
        let _ = writeln!(lines, "warn: some health checks cannot be excluded: no matches for {unknown:?}");
    }
    if !failed.is_empty() {
        return text_response(500, format!("{lines}{kind} check failed\n"));
    }
    if query.get("verbose").is_some() {
        return text_response(200, format!("{lines}{kind} check passed\n"));
    }
    text_response(200, "ok")
}
