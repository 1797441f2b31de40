//! The namespace that a scenario works in, made for it and removed after it, and the objects that it makes there.

use crate::report::Latencies;
use crate::wire::{Endpoint, Link};
use anyhow::{Context, Result};
use bytes::Bytes;
use futures::future::try_join_all;
use http::Method;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Streams that every server allows on a connection (upstream: 250; RFC 9113 asks for at least 100).
pub(crate) const STREAMS: usize = 100;
/// A namespace takes this long to go at most: tens of thousands of objects go with it.
const FAREWELL: Duration = Duration::from_secs(120);

/// A namespace of our own.
pub(crate) struct Playground<'a> {
    pub(crate) endpoint: &'a Endpoint,
    namespace: String,
}

impl<'a> Playground<'a> {
    /// Makes a namespace with a name that is free.
    pub(crate) async fn make(endpoint: &'a Endpoint) -> Result<Self> {
        let body =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "windlass-bench-"}});
        let mut link = endpoint.connect().await?;
        let made = link.call(Method::POST, "/api/v1/namespaces", Bytes::from(body.to_string())).await;
        let made: Value = serde_json::from_slice(&made.context("failed to make a namespace")?)?;
        let name =
            made.pointer("/metadata/name").and_then(Value::as_str).context("a namespace without a name")?;
        Ok(Self { endpoint, namespace: name.to_owned() })
    }

    /// The path of a collection.
    pub(crate) fn all(&self, plural: &str) -> String {
        format!("/api/v1/namespaces/{}/{plural}", self.namespace)
    }

    /// The path of an object.
    pub(crate) fn one(&self, plural: &str, name: &str) -> String {
        format!("/api/v1/namespaces/{}/{plural}/{name}", self.namespace)
    }

    /// Makes the service account that pods need, where no controller does (an API server alone).
    pub(crate) async fn allow_pods(&self, link: &mut Link) -> Result<()> {
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        match link.call(Method::POST, &self.all("serviceaccounts"), Bytes::from(account.to_string())).await {
            Err(error) if !error.to_string().starts_with("409") => Err(error),
            _ => Ok(()),
        }
    }

    /// Calls `operation` with the numbers below `count`, each link one at a time.
    pub(crate) async fn timed<'l, F>(
        links: &'l mut [Link],
        count: usize,
        operation: F,
    ) -> Result<(Duration, Latencies)>
    where
        F: AsyncFn(&mut Link, usize) -> Result<()>,
    {
        let next = AtomicUsize::new(0);
        let start = Instant::now();
        let (next, operation) = (&next, &operation);
        let worker = |link: &'l mut Link| async move {
            let mut latencies = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return anyhow::Ok(latencies);
                }
                let start = Instant::now();
                operation(link, number).await?;
                latencies.push(start.elapsed());
            }
        };
        let latencies = try_join_all(links.iter_mut().map(worker)).await?;
        Ok((start.elapsed(), Latencies(latencies.concat())))
    }

    /// Removes everything: objects at once, then the namespace.
    pub(crate) async fn remove(self) -> Result<()> {
        let mut link = self.endpoint.connect().await?;
        let now = Bytes::from_static(br#"{"apiVersion":"v1","kind":"DeleteOptions","gracePeriodSeconds":0}"#);
        for plural in ["pods", "configmaps"] {
            link.call(Method::DELETE, &self.all(plural), now.clone()).await?;
        }
        let path = format!("/api/v1/namespaces/{}", self.namespace);
        let selector =
            format!("/api/v1/namespaces?watch=true&fieldSelector=metadata.name%3D{}", self.namespace);
        let watch = self.endpoint.connect().await?.open(Method::GET, &selector, Bytes::new()).await?;
        link.call(Method::DELETE, &path, Bytes::new()).await?;
        let gone = crate::wire::until(watch, b"{\"type\":\"DELETED\"");
        match tokio::time::timeout(FAREWELL, gone).await {
            Ok(gone) => gone,
            Err(_) => {
                // An API server alone has no controller that finishes the deletion.
                eprintln!("the namespace {} is still there: no namespace controller runs", self.namespace);
                Ok(())
            }
        }
    }
}

/// A ConfigMap of 1 KiB.
pub(crate) fn config_map(name: &str, fill: char) -> Bytes {
    let data = fill.to_string().repeat(1024);
    format!(
        "{{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{{\"name\":\"{name}\"}},\"data\":{{\"data\":\"{data}\"}}}}"
    )
    .into()
}

/// A pod for a scheduler that nobody runs: it is only data here.
pub(crate) fn pod(name: &str) -> Bytes {
    let spec = json!({"schedulerName": "nobody", "containers": [{"name": "c", "image": "none"}]});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec});
    pod.to_string().into()
}
