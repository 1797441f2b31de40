//! The table of verbs. A new verb is a file here and a row in [`VERBS`]; the command line and help are read from it.

mod apply;
mod auth;
mod autoscale;
mod certificate;
mod common;
mod complete;
mod completion;
mod config;
mod cp;
mod create;
mod debug;
mod delete;
mod describe;
mod diff;
mod dump;
mod edit;
mod events;
mod exec;
mod explain;
mod expose;
mod get;
mod info;
mod kustomize;
mod label;
mod logs;
mod node;
mod patch;
pub(crate) mod plugin;
mod port_forward;
mod proxy;
mod reconcile;
mod replace;
mod rollout;
mod run;
mod scale;
mod set;
mod taint;
mod top;
mod wait;

pub(crate) use complete::run as complete;

use crate::error::Result;
use crate::session::Session;
use clap::{ArgMatches, Command};
use futures::future::BoxFuture;

/// What runs a verb.
pub(crate) type Run = for<'a> fn(&'a Session, &'a ArgMatches) -> BoxFuture<'a, Result<()>>;

/// One verb.
pub(crate) struct Verb {
    pub(crate) name: &'static str,
    pub(crate) group: Group,
    pub(crate) about: &'static str,
    /// Lines for `--help`.
    pub(crate) examples: &'static str,
    /// Adds flags and subcommands.
    pub(crate) arguments: fn(Command) -> Command,
    pub(crate) run: Run,
}

/// Headings of the overview.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    Basic,
    Deploy,
    Cluster,
    Debug,
    Advanced,
    Settings,
    Other,
}

impl Group {
    pub(crate) const ALL: &[Self] =
        &[Self::Basic, Self::Deploy, Self::Cluster, Self::Debug, Self::Advanced, Self::Settings, Self::Other];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Basic => "Basic Commands",
            Self::Deploy => "Deploy Commands",
            Self::Cluster => "Cluster Management Commands",
            Self::Debug => "Troubleshooting and Debugging Commands",
            Self::Advanced => "Advanced Commands",
            Self::Settings => "Settings Commands",
            Self::Other => "Other Commands",
        }
    }
}

/// Every verb.
pub(crate) const VERBS: &[Verb] = &[
    create::VERB,
    expose::VERB,
    run::VERB,
    set::VERB,
    explain::VERB,
    get::VERB,
    edit::VERB,
    delete::VERB,
    rollout::VERB,
    scale::VERB,
    autoscale::VERB,
    certificate::VERB,
    info::CLUSTER_INFO,
    top::VERB,
    node::CORDON,
    node::UNCORDON,
    node::DRAIN,
    taint::VERB,
    auth::VERB,
    describe::VERB,
    logs::VERB,
    exec::ATTACH,
    exec::EXEC,
    port_forward::VERB,
    proxy::VERB,
    cp::VERB,
    debug::VERB,
    events::VERB,
    diff::VERB,
    apply::VERB,
    patch::VERB,
    replace::VERB,
    wait::VERB,
    kustomize::VERB,
    label::LABEL,
    label::ANNOTATE,
    completion::VERB,
    info::API_RESOURCES,
    info::API_VERSIONS,
    config::VERB,
    plugin::VERB,
    info::VERSION,
];
