//! [`Crowd`]: many watchers of one collection, and the events that reach them.

use crate::flood::{Counter, Flood};
use crate::playground::{Playground, STREAMS, config_map};
use crate::report::Latencies;
use crate::wire::Link;
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::future::try_join_all;
use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// A watcher that hears nothing for so long has lost events.
const SILENCE: Duration = Duration::from_secs(60);
const NAME: &str = "watched";

/// Watchers that count the updates of one ConfigMap.
pub(crate) struct Crowd {
    /// Their connections, with HTTP/1.1.
    _links: Vec<Link>,
    /// The arrivals of each watcher of a connection.
    watchers: JoinSet<Result<Vec<Vec<Instant>>>>,
    updates: usize,
}

/// The times at which `expected` modifications arrived.
async fn count(mut body: Incoming, expected: usize) -> Result<Vec<Vec<Instant>>> {
    let mut arrivals = Vec::with_capacity(expected);
    let mut counter = Counter::default();
    while arrivals.len() < expected {
        let frame = body.frame().await.context("a watch ended early")??;
        let Ok(data) = frame.into_data() else { continue };
        let found = counter.feed(&data)?;
        arrivals.extend(std::iter::repeat_n(Instant::now(), found));
    }
    ensure!(arrivals.len() == expected, "a watcher got too many events");
    Ok(vec![arrivals])
}

impl Crowd {
    /// Opens `size` watches, each of which waits for `updates` changes of a ConfigMap that is made for it.
    pub(crate) async fn gather(
        playground: &Playground<'_>,
        link: &mut Link,
        size: usize,
        updates: usize,
    ) -> Result<Self> {
        let all = playground.all("configmaps");
        let made = link.call(Method::POST, &all, config_map(NAME, 'a')).await?;
        let made: Value = serde_json::from_slice(&made)?;
        let version = made.pointer("/metadata/resourceVersion").and_then(Value::as_str);
        let version = version.context("an object without a resource version")?;
        let path = format!("{all}?watch=true&resourceVersion={version}");
        let mut watchers = JoinSet::new();
        if !playground.endpoint.is_http1() {
            for begin in (0..size).step_by(STREAMS) {
                let flood = Flood::open(playground.endpoint, &path, STREAMS.min(size - begin)).await?;
                watchers.spawn(flood.count(updates));
            }
            return Ok(Self { _links: Vec::new(), watchers, updates });
        }
        let mut links = playground.endpoint.links(size, STREAMS).await?;
        for portion in links.chunks_mut(STREAMS) {
            let open = portion.iter_mut().map(|link| link.open(Method::GET, &path, Bytes::new()));
            for response in try_join_all(open).await? {
                watchers.spawn(count(response.into_body(), updates));
            }
        }
        Ok(Self { _links: links, watchers, updates })
    }

    /// Updates the ConfigMap, one update after the other; how long it took until the last watcher had the last
    /// event, and from each update's request to each arrival.
    pub(crate) async fn update_and_count(
        mut self,
        playground: &Playground<'_>,
        link: &mut Link,
    ) -> Result<(Duration, Latencies)> {
        let path = playground.one("configmaps", NAME);
        let start = Instant::now();
        let mut sent = Vec::with_capacity(self.updates);
        for number in 0..self.updates {
            sent.push(Instant::now());
            let fill = char::from(b'a' + u8::try_from((number + 1) % 26)?);
            link.call(Method::PUT, &path, config_map(NAME, fill)).await?;
        }
        let mut latencies = Latencies::default();
        let mut last = start;
        let collect = async {
            while let Some(arrivals) = self.watchers.join_next().await {
                for arrivals in arrivals?? {
                    last = arrivals.iter().copied().fold(last, Instant::max);
                    let each = arrivals.iter().zip(&sent);
                    latencies.0.extend(each.map(|(got, sent)| got.saturating_duration_since(*sent)));
                }
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(SILENCE, collect).await.context("watchers have lost events")??;
        Ok((last.saturating_duration_since(start), latencies))
    }
}
