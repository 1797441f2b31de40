//! `healthCheckNodePort`: tells load balancers whether this node has endpoints of a Service, so that they send nothing
//! where it would be dropped (`externalTrafficPolicy: Local`).

use component::Tasks;
use component::serve::{self, full};
use futures::future::BoxFuture;
use http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, StatusCode};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// One Service's port.
struct Check {
    port: u16,
    ready: Arc<AtomicUsize>,
    /// Stops the server.
    tasks: Tasks,
}

/// The health checks of all Services of a node. They end with the tasks they were made with.
pub struct HealthChecks {
    tasks: Tasks,
    healthy: Arc<AtomicBool>,
    checks: Mutex<BTreeMap<String, Check>>,
}

impl HealthChecks {
    /// None yet.
    pub fn new(tasks: &Tasks) -> Self {
        Self { tasks: tasks.clone(), healthy: Arc::default(), checks: Mutex::default() }
    }

    /// Whether the rules are as they should be.
    pub fn set_healthy(&self, healthy: bool) {
        self.healthy.store(healthy, Ordering::Relaxed);
    }

    /// The port of `service` (`namespace/name`), if it has one, and how many ready endpoints this node has. Must be
    /// called inside a tokio runtime. A port that cannot be had is tried again with the next change.
    pub fn set(&self, service: &str, port: Option<u16>, ready: usize) {
        let mut checks = self.checks.lock();
        if checks.get(service).map(|check| check.port) != port
            && let Some(old) = checks.remove(service)
        {
            old.tasks.stop();
        }
        let Some(port) = port else { return };
        if let Some(check) = checks.get(service) {
            check.ready.store(ready, Ordering::Relaxed);
            return;
        }
        let check = Check { port, ready: Arc::new(AtomicUsize::new(ready)), tasks: self.tasks.child() };
        match self.serve(service, &check) {
            Ok(()) => {
                checks.insert(service.to_owned(), check);
            }
            Err(error) => tracing::warn!(
                service,
                "failed to serve health checks at port {port}: {error}; free the port or give the Service another"
            ),
        }
    }

    fn serve(&self, service: &str, check: &Check) -> io::Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, check.port))?;
        let (ready, healthy, service) = (check.ready.clone(), self.healthy.clone(), service.to_owned());
        let handler = move |_: serve::Request| -> BoxFuture<'static, serve::Response> {
            let (ready, healthy) = (ready.load(Ordering::Relaxed), healthy.load(Ordering::Relaxed));
            let response = answer(&service, ready, healthy);
            Box::pin(async move { response })
        };
        serve::serve(listener, None, serve::Limits::default(), &check.tasks, Arc::new(handler)).map(drop)
    }
}

/// Upstream's answer, byte for byte what load balancers' documentation shows.
fn answer(service: &str, ready: usize, healthy: bool) -> serve::Response {
    let (namespace, name) = service.split_once('/').unwrap_or_default();
    // Both are DNS names: nothing in them needs escaping.
    let text = format!(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": \"{namespace}\",\n\t\t\"name\": \"{name}\"\n\t}},\n\t\
         \"localEndpoints\": {ready},\n\t\"serviceProxyHealthy\": {healthy}\n}}"
    );
    let mut response = http::Response::new(full(text));
    if ready == 0 || !healthy {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert("x-load-balancing-endpoint-weight", HeaderValue::from(ready));
    response
}
