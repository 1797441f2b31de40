//! What several verbs share: dry runs, and how a change is told.

use crate::error::{Result, fail};
use crate::flags::text;
use crate::print::{Output, without_managed_fields};
use crate::session::Session;
use clap::ArgMatches;
use client::http::url::Url;
use serde_json::Value;

/// `--dry-run`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum DryRun {
    #[default]
    None,
    Client,
    Server,
}

impl DryRun {
    pub(crate) fn of(matches: &ArgMatches) -> Result<Self> {
        match text(matches, "dry-run").unwrap_or("none") {
            "none" | "false" => Ok(Self::None),
            "client" | "unchanged" | "true" => Ok(Self::Client),
            "server" => Ok(Self::Server),
            other => {
                fail(format!("Invalid dry-run value ({other}). Must be \"none\", \"server\", or \"client\"."))
            }
        }
    }

    pub(crate) fn is_client(self) -> bool {
        self == Self::Client
    }

    /// What is told after the verb.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Client => " (dry run)",
            Self::Server => " (server dry run)",
        }
    }

    /// Adds the server's parameter.
    pub(crate) fn url(self, url: Url) -> Url {
        url.with("dryRun", (self == Self::Server).then_some("All"))
    }
}

/// How a change is told: a line, or the object as `-o` says.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    output: Output,
    pub(crate) dry_run: DryRun,
    managed: bool,
}

impl Report {
    pub(crate) fn of(matches: &ArgMatches) -> Result<Self> {
        let output = Output::of(matches, false)?;
        if let Output::Human { wide: true } = output {
            return fail("unable to match a printer suitable for the output format \"wide\"");
        }
        let managed = crate::flags::is_set(matches, "show-managed-fields");
        Ok(Self { output, dry_run: DryRun::of(matches)?, managed })
    }

    /// The same, without a word about the dry run.
    pub(crate) fn without_suffix(&self) -> Self {
        Self { dry_run: DryRun::None, ..self.clone() }
    }

    /// Whether objects are printed, rather than lines about them.
    pub(crate) fn prints_objects(&self) -> bool {
        !self.output.is_human() && !matches!(self.output, Output::Name)
    }

    /// Tells that `display` (`deployment.apps/web`) was `done`.
    pub(crate) fn tell(&self, session: &Session, display: &str, done: &str, value: &Value) -> Result<()> {
        match &self.output {
            Output::Human { .. } => session.line(format!("{display} {done}{}", self.dry_run.suffix())),
            Output::Name => session.line(display),
            output => {
                let mut value = value.clone();
                if !self.managed {
                    without_managed_fields(&mut value);
                }
                session.out(output.object(&value)?)
            }
        }
    }
}

/// `fieldValidation` for `--validate`.
pub(crate) fn validation(matches: &ArgMatches) -> Result<&'static str> {
    match text(matches, "validate").unwrap_or("strict") {
        "strict" | "true" => Ok("Strict"),
        "warn" => Ok("Warn"),
        "ignore" | "false" => Ok("Ignore"),
        other => fail(format!(
            "invalid - validate option {other:?}; must be one of: strict (or true), warn, ignore (or false)"
        )),
    }
}
