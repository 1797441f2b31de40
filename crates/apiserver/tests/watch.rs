//! Watches over HTTP and in process: order, selectors, bookmarks, resumption, expiry.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

mod support;

use api::transport::{ListOptions, Target, Transport, WatchEvent, WatchStream, WriteOptions};
use apiserver::UserInfo;
use futures::StreamExt;
use machinery::{GroupVersionResource, Status};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use support::Server;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

fn maps() -> Target {
    Target::all(GroupVersionResource::new("", "v1", "configmaps")).in_namespace("default")
}

fn map(name: &str, label: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"l": label}}})
}

struct Api(Arc<dyn Transport>);

impl Api {
    fn of(server: &Server) -> Self {
        Self(server.api.transport(UserInfo::new("t", &["system:masters"])))
    }

    async fn create(&self, name: &str, label: &str) -> i64 {
        let body = map(name, label).to_string().into();
        self.0.create(&maps(), body, &WriteOptions::default()).await.unwrap().revision()
    }

    async fn label(&self, name: &str, label: &str) -> i64 {
        let body = map(name, label).to_string().into();
        self.0.update(&maps().named(name), body, &WriteOptions::default()).await.unwrap().revision()
    }

    async fn delete(&self, name: &str) {
        self.0.delete(&maps().named(name), &Default::default()).await.unwrap();
    }

    async fn watch(&self, options: ListOptions) -> WatchStream {
        self.0.watch(&maps(), &options).await.unwrap()
    }
}

async fn next(stream: &mut WatchStream) -> Option<Result<WatchEvent, Status>> {
    tokio::time::timeout(Duration::from_secs(10), stream.next()).await.expect("an event in time")
}

/// `kind name revision` of the next event.
async fn event(stream: &mut WatchStream) -> (&'static str, String, i64) {
    let (kind, object) = match next(stream).await {
        Some(Ok(WatchEvent::Added(object))) => ("ADDED", object),
        Some(Ok(WatchEvent::Modified(object))) => ("MODIFIED", object),
        Some(Ok(WatchEvent::Deleted(object))) => ("DELETED", object),
        other => panic!("{other:?}"),
    };
    (kind, object.meta().name.clone().unwrap_or_default(), object.revision())
}

#[tokio::test]
async fn selectors_see_objects_come_and_go() {
    let server = Server::start().await;
    let api = Api::of(&server);
    let options = ListOptions { label_selector: Some("l=yes".into()), ..ListOptions::default() };
    let mut stream = api.watch(options).await;
    let first = api.create("a", "no").await;
    let second = api.label("a", "yes").await;
    assert!(first < second);
    assert_eq!(event(&mut stream).await, ("ADDED", "a".into(), second));
    let third = api.label("a", "no").await;
    assert_eq!(event(&mut stream).await, ("DELETED", "a".into(), third));
    api.delete("a").await;
    let last = api.create("b", "yes").await;
    assert_eq!(
        event(&mut stream).await,
        ("ADDED", "b".into(), last),
        "the deletion of the unselected is not seen"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_watch_resumes_where_it_ended() {
    let server = Server::start().await;
    let api = Api::of(&server);
    // The cache begins with its first use, and others may write between that of the label and the creation.
    api.0.list(&maps(), &ListOptions::default()).await.unwrap();
    let start = api.create("a", "1").await;
    let changed = api.label("a", "2").await;
    let made = api.create("b", "1").await;
    let from = |revision: i64| ListOptions {
        resource_version: Some(revision.to_string()),
        ..ListOptions::default()
    };
    let mut stream = api.watch(from(start)).await;
    assert_eq!(event(&mut stream).await, ("MODIFIED", "a".into(), changed));
    assert_eq!(event(&mut stream).await, ("ADDED", "b".into(), made));
    let mut later = api.watch(from(changed)).await;
    assert_eq!(event(&mut later).await, ("ADDED", "b".into(), made));
    server.stop().await;
}

#[tokio::test]
async fn a_watch_reaches_back_to_before_the_server_started() {
    let server = Server::start().await;
    let api = Api::of(&server);
    let start = api.create("a", "1").await;
    let changed = api.label("a", "2").await;
    let made = api.create("b", "2").await;
    api.delete("a").await;
    drop(api);
    let server = server.restart().await;
    let api = Api::of(&server);
    let from = |revision: i64, labels: Option<&str>| ListOptions {
        resource_version: Some(revision.to_string()),
        label_selector: labels.map(str::to_owned),
        ..ListOptions::default()
    };
    let mut all = api.watch(from(start, None)).await;
    assert_eq!(event(&mut all).await, ("MODIFIED", "a".into(), changed));
    assert_eq!(event(&mut all).await, ("ADDED", "b".into(), made));
    let (kind, name, gone) = event(&mut all).await;
    assert_eq!((kind, name.as_str()), ("DELETED", "a"));
    let mut selected = api.watch(from(start, Some("l=2"))).await;
    assert_eq!(event(&mut selected).await, ("ADDED", "a".into(), changed));
    assert_eq!(event(&mut selected).await, ("ADDED", "b".into(), made));
    assert_eq!(event(&mut selected).await, ("DELETED", "a".into(), gone));
    let last = api.create("c", "2").await;
    assert_eq!(event(&mut all).await, ("ADDED", "c".into(), last), "history goes over into the present");
    assert_eq!(event(&mut selected).await, ("ADDED", "c".into(), last));
    server.store.compact(made).await.unwrap();
    let expired = api.0.watch(&maps(), &from(start, None)).await.err().unwrap();
    let prefix = format!("too old resource version: {start} (");
    assert!(expired.is_expired() && expired.message.starts_with(&prefix), "{expired}");
    server.stop().await;
}

#[tokio::test]
async fn initial_events_end_with_a_bookmark() {
    let server = Server::start().await;
    let api = Api::of(&server);
    api.create("a", "1").await;
    let newest = api.create("b", "1").await;
    let options = ListOptions {
        send_initial_events: Some(true),
        resource_version_match: Some("NotOlderThan".into()),
        allow_bookmarks: true,
        label_selector: Some("l=1".into()),
        ..ListOptions::default()
    };
    let mut stream = api.watch(options.clone()).await;
    assert_eq!(event(&mut stream).await.1, "a");
    assert_eq!(event(&mut stream).await.1, "b");
    match next(&mut stream).await {
        Some(Ok(WatchEvent::Bookmark { revision, initial_done: true })) => assert!(revision >= newest),
        other => panic!("{other:?}"),
    }
    let refused = ListOptions { resource_version_match: None, ..options };
    assert_eq!(api.0.watch(&maps(), &refused).await.err().unwrap().code, 422);
    server.stop().await;
}

#[tokio::test]
async fn many_watchers_share_one_object() {
    let server = Server::start().await;
    let api = Api::of(&server);
    let mut streams = Vec::new();
    for _ in 0..50 {
        streams.push(
            api.watch(ListOptions { label_selector: Some("l=x".into()), ..ListOptions::default() }).await,
        );
    }
    api.create("shared", "x").await;
    let mut seen = Vec::new();
    for stream in &mut streams {
        match next(stream).await {
            Some(Ok(WatchEvent::Added(object))) => seen.push(object),
            other => panic!("{other:?}"),
        }
    }
    assert!(seen.windows(2).all(|pair| Arc::ptr_eq(&pair[0], &pair[1])), "one copy for all");
    let got = api.0.get(&maps().named("shared")).await.unwrap();
    assert!(Arc::ptr_eq(&got, &seen[0]), "and for reads");
    server.stop().await;
}

#[tokio::test]
async fn http_watches_stream_events_and_time_out() {
    let server = Server::start().await;
    let api = Api::of(&server);
    api.create("a", "1").await;
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (read, mut write) = stream.into_split();
    let path = "/api/v1/namespaces/default/configmaps?watch=1&timeoutSeconds=2&labelSelector=l";
    write
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut lines = BufReader::new(read).lines();
    let mut events = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(20), async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Ok(event) = serde_json::from_str::<Value>(&line)
                && event.is_object()
            {
                events.push(event);
                if events.len() == 1 {
                    api.create("b", "1").await;
                }
            }
        }
    })
    .await;
    assert!(ended.is_ok(), "the watch ends after timeoutSeconds");
    let seen: Vec<_> = events
        .iter()
        .map(|e| (e["type"].as_str().unwrap(), e["object"]["metadata"]["name"].as_str().unwrap()))
        .collect();
    assert_eq!(seen, [("ADDED", "a"), ("ADDED", "b")]);
    assert!(events[1]["object"]["metadata"]["resourceVersion"].is_string());
    server.stop().await;
}

#[tokio::test]
async fn concurrent_writers_leave_one_order_without_gaps() {
    let server = Server::start().await;
    let api = Api::of(&server);
    let mut stream =
        api.watch(ListOptions { label_selector: Some("l".into()), ..ListOptions::default() }).await;
    let writers = (0..8).map(|writer| {
        let api = &api;
        async move {
            for n in 0..25 {
                api.create(&format!("w{writer}-{n}"), "x").await;
            }
        }
    });
    futures::future::join_all(writers).await;
    let mut last = 0;
    for _ in 0..200 {
        let (kind, _, revision) = event(&mut stream).await;
        assert_eq!(kind, "ADDED");
        assert!(revision > last, "{revision} after {last}");
        last = revision;
    }
    server.stop().await;
}
