//! Every stored resource of the table over HTTP: what holds for all of them, whatever their kind.
//!
//! A new resource takes part by its row in the table, and by a line in `support/manifests.rs` if its smallest object
//! needs more than a name. The larger objects are grown from the schema table (`fill`).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

mod fill;
mod kind;
mod making;
mod reading;
mod removing;
mod writing;

#[path = "../support/mod.rs"]
mod support;

use api::{ResourceTable, Verb};
use apiserver::Config;
use futures::StreamExt;
use kind::{Kind, Outcome};
use support::Server;

/// Rows that are worked on at once.
const AT_ONCE: usize = 8;

/// Objects of samples name classes, accounts and volumes that no controller has made.
async fn server() -> Server {
    let off = ["ServiceAccount", "Priority", "RuntimeClass", "PodSecurity"];
    let config = Config {
        authorization_modes: vec!["AlwaysAllow".to_owned()],
        disable_admission: off.into_iter().map(str::to_owned).collect(),
        ..Config::default()
    };
    Server::with(config).await
}

/// Runs `check` for every stored resource and says all that is wrong with any of them.
async fn for_all<F>(check: F)
where
    F: AsyncFn(&Kind<'_>) -> Outcome,
{
    let server = server().await;
    let rows: Vec<Kind<'_>> = ResourceTable::shared()
        .rows()
        .iter()
        .filter(|def| def.verbs.contains(&Verb::Watch))
        .map(|def| Kind::new(&server, def))
        .collect();
    assert!(rows.len() > 50, "{}", rows.len());
    let all: Vec<Outcome> = futures::stream::iter(&rows)
        .map(|kind| {
            let check = &check;
            async move { check(kind).await.map_err(|why| format!("{}: {why}", kind.def.gvr())) }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let failures: Vec<String> = all.into_iter().filter_map(Result::err).collect();
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), rows.len(), failures.join("\n"));
    drop(rows);
    server.stop().await;
}
