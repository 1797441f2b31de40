//! [`Crowd`]: many watchers of one collection, and the events that reach them.

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
    /// Their connections.
    _links: Vec<Link>,
    watchers: JoinSet<Result<Vec<Instant>>>,
    updates: usize,
}

/// Counts the modifications in a stream of events, which may be cut anywhere.
#[derive(Default)]
struct Counter {
    /// Bytes of the current line that were seen.
    column: usize,
    is_modification: bool,
}

impl Counter {
    /// How many modifications end in `data`. Other events are not ours (controllers put ConfigMaps into every
    /// namespace), but an error is.
    fn feed(&mut self, mut data: &[u8]) -> Result<usize> {
        /// Where the type of an event starts: `{"type":"MODIFIED"`.
        const TYPE: usize = 9;
        let mut found = 0;
        while !data.is_empty() {
            if let Some(first) = TYPE.checked_sub(self.column).and_then(|skip| data.get(skip)) {
                ensure!(*first != b'E', "a watch failed: {}", String::from_utf8_lossy(data));
                self.is_modification = *first == b'M';
            }
            let Some(end) = memchr::memchr(b'\n', data) else {
                self.column += data.len();
                break;
            };
            found += usize::from(self.is_modification);
            self.column = 0;
            data = &data[end + 1..];
        }
        Ok(found)
    }
}

/// The times at which `expected` modifications arrived.
async fn count(mut body: Incoming, expected: usize) -> Result<Vec<Instant>> {
    let mut arrivals = Vec::with_capacity(expected);
    let mut counter = Counter::default();
    while arrivals.len() < expected {
        let frame = body.frame().await.context("a watch ended early")??;
        let Ok(data) = frame.into_data() else { continue };
        let found = counter.feed(&data)?;
        arrivals.extend(std::iter::repeat_n(Instant::now(), found));
    }
    ensure!(arrivals.len() == expected, "a watcher got too many events");
    Ok(arrivals)
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
        let mut links = playground.endpoint.links(size, STREAMS).await?;
        let mut watchers = JoinSet::new();
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
                let arrivals = arrivals??;
                last = arrivals.iter().copied().fold(last, Instant::max);
                let each = arrivals.iter().zip(&sent);
                latencies.0.extend(each.map(|(got, sent)| got.saturating_duration_since(*sent)));
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(SILENCE, collect).await.context("watchers have lost events")??;
        Ok((last.saturating_duration_since(start), latencies))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modifications_are_counted_wherever_the_stream_is_cut() -> Result<()> {
        let text = b"{\"type\":\"MODIFIED\",\"o\":1}\n{\"type\":\"ADDED\"}\n{\"type\":\"MODIFIED\"}\n";
        for cut in 0..text.len() {
            let mut counter = Counter::default();
            assert_eq!(counter.feed(&text[..cut])? + counter.feed(&text[cut..])?, 2, "cut at {cut}");
        }
        assert!(Counter::default().feed(b"{\"type\":\"ERROR\"}\n").is_err());
        Ok(())
    }
}
