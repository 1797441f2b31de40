//! The etcd backend on real members, and the contract of both backends.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

mod contract;
mod support;

use std::sync::Arc;
use store::embedded::Embedded;
use store::etcd::Progress;
use support::{Cluster, Words, has_etcd};

/// A check of the contract on every backend.
macro_rules! on_every_backend {
    ($($check:ident)*) => {
        mod embedded { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                let dir = tempfile::tempdir().unwrap();
                let store = super::Embedded::open(dir.path(), Default::default()).unwrap();
                super::contract::$check(super::Words(super::Arc::new(store))).await;
            }
        )* }
        mod on_etcd { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                if !super::has_etcd(concat!("on_etcd::", stringify!($check))) {
                    return;
                }
                let cluster = super::Cluster::alone();
                let store = cluster.connect_with(|options| options.page = 7).await;
                super::contract::$check(super::Words(super::Arc::new(store))).await;
            }
        )* }
    };
}

on_every_backend! {
    an_empty_store_is_at_revision_one
    versions_and_revisions
    ranges
    compares
    a_transaction_is_one_revision_and_reads_its_own_writes
    senseless_transactions_change_nothing
    compaction
    leases
    a_watch_goes_from_the_past_into_the_present
    a_removal_event_carries_only_key_and_revision
    progress_comes_without_covered_changes_and_never_before_them
    large_commits_stay_whole
    concurrent_increments_all_count
    lists_are_of_one_revision
    revisions_are_never_older_than_what_was_acknowledged
    compaction_takes_turns
}

/// As members that can be asked for progress would be used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_by_asking() {
    if !has_etcd("progress_by_asking") {
        return;
    }
    let cluster = Cluster::alone();
    let store = cluster.connect_with(|options| options.progress = Progress::Asked).await;
    let store = Words(Arc::new(store));
    let mut watch = store.watch("p/", None, true).await;
    store.put("q/a", "1").await;
    assert_eq!(watch.line().await, "2: ");
    store.put("p/a", "1").await;
    assert_eq!(watch.line().await, "3: +p/a=1(-)");
    store.put("q/a", "2").await;
    store.put("q/a", "3").await;
    let mut last = 3;
    while last < 5 {
        let commit = watch.commit().await;
        assert!(commit.events.is_empty() && commit.revision > last);
        last = commit.revision;
    }
}

/// A store that is kept below another prefix looks the same from inside.
#[tokio::test]
async fn another_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let outside: Arc<dyn store::Store> = Arc::new(Embedded::open(dir.path(), Default::default()).unwrap());
    let store = Words(Arc::new(store::prefixed::Prefixed::new(outside.clone(), "/registry", "/other/place")));
    let mut watch = store.watch("/registry/", None, true).await;
    store.put("/registry/pods/a", "1").await;
    store.put("compact_rev_key", "1").await;
    assert_eq!(watch.line().await, "2: +/registry/pods/a=1(-)");
    assert_eq!(store.dump("/registry/", None).await.unwrap(), ["/registry/pods/a=1"]);
    let outside = Words(outside);
    assert_eq!(outside.dump("", None).await.unwrap(), ["/other/place/pods/a=1", "compact_rev_key=1"]);
}
