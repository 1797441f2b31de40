//! `/healthz`, `/livez`, `/readyz`: whether the server lives and can serve; and `/metrics/slis`, what their checks last
//! said.

use crate::http::text_response;
use crate::registry::Registry;
use crate::request::Query;
use component::serve::Response;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Upstream's names of what is started after its server listens. Here all of it is done before the first request is
/// answered (`ApiServer::start`), so these pass as soon as anyone can ask.
const STARTED: &[&str] = &[
    "poststarthook/start-apiserver-admission-initializer",
    "poststarthook/generic-apiserver-start-informers",
    "poststarthook/start-apiextensions-informers",
    "poststarthook/start-apiextensions-controllers",
    "poststarthook/crd-informer-synced",
    "poststarthook/start-service-ip-repair-controllers",
    "poststarthook/rbac/bootstrap-roles",
    "poststarthook/scheduling/bootstrap-system-priority-classes",
    "poststarthook/start-system-namespaces-controller",
    "poststarthook/bootstrap-controller",
    "poststarthook/start-cluster-authentication-info-controller",
];

/// The endpoints.
pub(super) const KINDS: [&str; 3] = ["healthz", "livez", "readyz"];

/// The checks of an endpoint, by upstream's names and in its order.
pub(super) fn checks(kind: &str) -> Vec<&'static str> {
    let (before, after): (&[_], &[_]) = match kind {
        "readyz" => (&["ping", "log", "etcd", "etcd-readiness", "informer-sync"], &["shutdown"]),
        _ => (&["ping", "log", "etcd"], &[]),
    };
    [before, STARTED, after].concat()
}

/// How often a check passed and failed, and which it did last.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    passed: u64,
    failed: u64,
    last: bool,
}

/// What the checks said, by endpoint and check.
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<BTreeMap<(String, &'static str), Tally>>);

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

impl Health {
    /// Answers a health endpoint, or one of its checks.
    pub(super) async fn answer(
        &self,
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
        let mut excluded: Vec<&str> = query.all("exclude").collect();
        let mut lines = String::new();
        let mut failed = false;
        for check in &all {
            if excluded.contains(check) {
                excluded.retain(|name| name != check);
                let _ = writeln!(lines, "[+]{check} excluded: ok");
                continue;
            }
            let result = run(check, registry, stopping).await;
            self.count(kind, check, result.is_ok());
            match result {
                Ok(()) => {
                    let _ = writeln!(lines, "[+]{check} ok");
                }
                Err(why) => {
                    tracing::debug!(check, why, "a health check failed");
                    let _ = writeln!(lines, "[-]{check} failed: reason withheld");
                    failed = true;
                }
            }
        }
        if !excluded.is_empty() {
            excluded.sort_unstable();
            excluded.dedup();
            let names: Vec<String> = excluded.iter().map(|name| format!("{name:?}")).collect();
            let names = names.join(",");
            let _ = writeln!(lines, "warn: some health checks cannot be excluded: no matches for {names}");
        }
        if failed {
            return text_response(500, format!("{lines}{kind} check failed\n"));
        }
        if query.get("verbose").is_some() {
            return text_response(200, format!("{lines}{kind} check passed\n"));
        }
        text_response(200, "ok")
    }

    fn count(&self, kind: &str, check: &'static str, passed: bool) {
        let mut tallies = self.0.lock();
        let tally = tallies.entry((kind.to_owned(), check)).or_default();
        tally.last = passed;
        *if passed { &mut tally.passed } else { &mut tally.failed } += 1;
    }

    /// The text of `/metrics/slis` (KEP-3466).
    pub(super) fn render(&self) -> String {
        let tallies = self.0.lock().clone();
        let mut out = String::new();
        let name = "kubernetes_healthcheck";
        let _ = writeln!(out, "# HELP {name} Whether a health check passed when it was last run.");
        let _ = writeln!(out, "# TYPE {name} gauge");
        for ((kind, check), tally) in &tallies {
            let _ = writeln!(out, "{name}{{name={check:?},type={kind:?}}} {}", u8::from(tally.last));
        }
        let name = "kubernetes_healthchecks_total";
        let _ = writeln!(out, "# HELP {name} How often health checks passed and failed.");
        let _ = writeln!(out, "# TYPE {name} counter");
        for ((kind, check), tally) in &tallies {
            for (status, count) in [("error", tally.failed), ("success", tally.passed)] {
                if count > 0 {
                    let _ =
                        writeln!(out, "{name}{{name={check:?},status=\"{status}\",type={kind:?}}} {count}");
                }
            }
        }
        out
    }
}
