//! `certificate`: approves and denies requests for certificates.

use super::common::Report;
use super::{Group, Verb};
use crate::error::{Error, Result, fail};
use crate::flags::{self, flag, is_set, positional};
use crate::rest::JSON;
use crate::select::{self, Found};
use crate::session::Session;
use clap::{ArgMatches, Command};
use http::Method;
use serde_json::{Value, json};

pub(crate) const VERB: Verb = Verb {
    name: "certificate",
    group: Group::Cluster,
    about: "Approve or deny requests for certificates",
    examples: "kubectl certificate approve alice
        kubectl certificate deny bob",
    arguments: |command| {
        let one = |name: &'static str, about: &'static str| {
            Command::new(name)
                .about(about)
                .args(flags::files())
                .args(flags::output())
                .arg(flag("force", "Also where it was decided before"))
                .arg(flag("show-managed-fields", "With -o: show who owns which fields"))
                .arg(flags::args("NAME"))
        };
        command
            .subcommand_required(true)
            .arg_required_else_help(true)
            .subcommand(one("approve", "Approve a request for a certificate"))
            .subcommand(one("deny", "Deny a request for a certificate"))
    },
    run: |session, matches| Box::pin(run(session, matches)),
};

/// How often a conflicting update is tried again, as upstream.
const TRIES: usize = 10;

async fn run(session: &Session, matches: &ArgMatches) -> Result<()> {
    let Some((verb, matches)) = matches.subcommand() else { return Ok(()) };
    let mut args = positional(matches);
    if args.is_empty() && !select::from_files(matches) {
        return fail("one or more CSRs must be specified as <name> or -f <filename>");
    }
    if !select::from_files(matches) {
        args = args
            .iter()
            .map(|name| {
                format!(
                    "certificatesigningrequests.certificates.k8s.io/{}",
                    name.rsplit('/').next().unwrap_or(name)
                )
            })
            .collect();
    }
    let report = Report::of(matches)?;
    let approve = verb == "approve";
    let mut errors = Vec::new();
    for request in select::live(session, matches, &args).await? {
        errors.extend(decide(session, matches, &report, request, approve).await.err());
    }
    Error::all(errors)
}

async fn decide(
    session: &Session,
    matches: &ArgMatches,
    report: &Report,
    mut request: Found,
    approve: bool,
) -> Result<()> {
    let (kind, reason, message, done) = if approve {
        ("Approved", "KubectlApprove", "This CSR was approved by kubectl certificate approve.", "approved")
    } else {
        ("Denied", "KubectlDeny", "This CSR was denied by kubectl certificate deny.", "denied")
    };
    let rest = session.rest().await?;
    let mut tries = 0;
    loop {
        let mut conditions = request.value["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let has = |kind: &str| conditions.iter().any(|condition| condition["type"] == kind);
        if has(kind) && !is_set(matches, "force") {
            return report.tell(session, &request.display(), done, &request.value);
        }
        let now = session.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        conditions.retain(|condition| condition["type"] != kind);
        conditions.push(json!({"lastUpdateTime": now, "message": message, "reason": reason, "status": "True", "type": kind}));
        let mut changed = request.value.clone();
        changed["status"]["conditions"] = Value::Array(conditions);
        let path = format!("{}/approval", request.path());
        match rest.send(Method::PUT, &path, JSON, &changed).await {
            Ok(value) => return report.tell(session, &request.display(), done, &value),
            Err(error) if error.is_conflict() && tries < TRIES => {
                tries += 1;
                request.value = rest.get(&request.path()).await?;
            }
            Err(error) => return Err(error),
        }
    }
}
