//! `windlass store`: the embedded store, of a running cluster or at rest: one file per verb.
//!
//! A verb asks the cluster over the socket `DIR/store.sock` when it runs, and opens `DIR/store` itself when it does not.

mod alarm;
mod check;
mod compact;
mod defrag;
mod get;
mod ls;
mod migrate;
mod place;
mod progress;
mod serve;
mod snapshot;
mod status;

use anyhow::Result;
use clap::{Args, Subcommand};
use std::future::Future;

/// Verbs of `windlass store`.
#[derive(Args)]
#[command(after_help = "Examples:
  windlass store status                              of the cluster on this machine
  windlass store snapshot save backup.snapshot       while the cluster runs
  windlass store check                               verify the files
  windlass store ls /registry/pods/                  what is stored
  windlass store get /registry/namespaces/default
  windlass store migrate --from /var/lib/windlass --to http://127.0.0.1:2379

Each verb asks the running cluster of --data-dir, or opens the directory when no cluster runs.")]
pub(crate) struct StoreOptions {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Say how large the store is, how far it has come and what is wrong
    Status(status::StatusOptions),
    /// Save all keys into a file, make a store of such a file, look at one
    #[command(subcommand)]
    Snapshot(snapshot::SnapshotVerb),
    /// Forget history
    Compact(compact::CompactOptions),
    /// Give space on the disk back
    Defrag(defrag::DefragOptions),
    /// Verify everything that is on the disk
    Check(check::CheckOptions),
    /// Print keys with their values
    Get(get::GetOptions),
    /// List keys
    Ls(ls::LsOptions),
    /// List alarms, or take them back
    #[command(subcommand)]
    Alarm(alarm::AlarmVerb),
    /// Move a stopped cluster's data to etcd, or from etcd
    Migrate(migrate::MigrateOptions),
    /// Serve a store as an etcd: to etcdctl, etcd's client libraries, or a kube-apiserver
    Serve(serve::ServeOptions),
}

/// Runs a verb.
pub(crate) fn run(options: StoreOptions) -> Result<()> {
    match options.verb {
        Verb::Status(options) => wait_for(status::run(&options)),
        Verb::Snapshot(verb) => snapshot::run(&verb),
        Verb::Compact(options) => wait_for(compact::run(&options)),
        Verb::Defrag(options) => wait_for(defrag::run(&options)),
        Verb::Check(options) => wait_for(check::run(&options)),
        Verb::Get(options) => wait_for(get::run(&options)),
        Verb::Ls(options) => wait_for(ls::run(&options)),
        Verb::Alarm(verb) => wait_for(alarm::run(&verb)),
        Verb::Migrate(options) => wait_for(migrate::run(&options)),
        Verb::Serve(options) => serve::run(&options),
    }
}

fn wait_for(verb: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(verb)
}
