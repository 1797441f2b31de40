//! `rollout history` and `undo`: revisions are the replica sets of a deployment, and the controller revisions of daemon and
//! stateful sets.

use super::STRATEGIC;
use crate::error::{Error, Result, fail, message};
use crate::flags::{int, text};
use crate::pods::label_selector;
use crate::print::Output;
use crate::print::tabs::Tabs;
use crate::select::{self, Found, Selectors, Target};
use crate::session::Session;
use crate::verbs::common::Report;
use crate::verbs::describe::pod_template;
use clap::ArgMatches;
use client::http::url::Url;
use http::Method;
use serde_json::{Value, json};

const REVISION: &str = "deployment.kubernetes.io/revision";
const CAUSE: &str = "kubernetes.io/change-cause";

/// One revision.
struct Revision {
    number: i64,
    cause: String,
    /// A replica set or controller revision.
    object: Value,
}

impl Revision {
    /// The pod template of the revision.
    fn template(&self) -> Value {
        if self.object["kind"] == "ControllerRevision" {
            self.object["data"]["spec"]["template"].clone()
        } else {
            let mut template = self.object["spec"]["template"].clone();
            if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
                labels.remove("pod-template-hash");
            }
            template
        }
    }
}

/// The revisions of an object, oldest first.
async fn revisions(session: &Session, object: &Found) -> Result<Vec<Revision>> {
    let is_deployment = object.resource.kind == "Deployment";
    let kind = match object.resource.kind.as_str() {
        "Deployment" => "replicasets.apps",
        "DaemonSet" | "StatefulSet" => "controllerrevisions.apps",
        kind => return fail(format!("no history viewer has been implemented for {kind:?}")),
    };
    let resource = session.discovery().await?.find(kind)?;
    let target = Target { resource, namespace: object.namespace.clone(), name: None };
    let selectors = Selectors { labels: label_selector(&object.value["spec"]["selector"]), fields: None };
    let (found, errors) = select::read(session.rest().await?, &[target], &selectors).await?;
    Error::all(errors)?;
    let uid = &object.value["metadata"]["uid"];
    let mut out: Vec<Revision> = found
        .into_iter()
        .filter(|owned| {
            let mut owners = owned.value["metadata"]["ownerReferences"].as_array().into_iter().flatten();
            owners.any(|owner| owner["controller"] == true && owner["uid"] == *uid)
        })
        .map(|owned| {
            let annotations = &owned.value["metadata"]["annotations"];
            let number = if is_deployment {
                annotations[REVISION].as_str().and_then(|number| number.parse().ok()).unwrap_or(0)
            } else {
                owned.value["revision"].as_i64().unwrap_or(0)
            };
            let cause = annotations[CAUSE].as_str().unwrap_or("<none>").to_owned();
            Revision { number, cause, object: owned.value }
        })
        .collect();
    out.sort_by_key(|revision| revision.number);
    Ok(out)
}

pub(super) async fn show(session: &Session, matches: &ArgMatches, object: &Found) -> Result<()> {
    let wanted = int(matches, "revision");
    let all = revisions(session, object).await?;
    let display = object.display();
    if let Some(format) = text(matches, "output") {
        let output = Output::parse(Some(format), false)?;
        for revision in all.iter().filter(|revision| wanted == 0 || revision.number == wanted) {
            session.out(output.object(&revision.object)?)?;
        }
        return Ok(());
    }
    if wanted > 0 {
        let Some(revision) = all.iter().find(|revision| revision.number == wanted) else {
            return fail("unable to find the specified revision");
        };
        session.line(format!("{display} with revision #{wanted}"))?;
        let mut tabs = Tabs::describe();
        tabs.write(&pod_template(&revision.template()));
        return session.out(tabs.flush());
    }
    if all.is_empty() {
        return session.line("No rollout history found.");
    }
    let mut tabs = Tabs::describe();
    tabs.row(["REVISION", "CHANGE-CAUSE"]);
    for revision in &all {
        tabs.row([revision.number.to_string(), revision.cause.clone()]);
    }
    session.out(format!("{display} \n{}\n", tabs.flush()))
}

pub(super) async fn undo(session: &Session, matches: &ArgMatches, object: &Found) -> Result<()> {
    let wanted = int(matches, "to-revision");
    let report = Report::of(matches)?;
    if object.value["spec"]["paused"] == true {
        return fail(format!(
            "cannot rollback a paused deployment; resume it first with 'kubectl rollout resume {}/{}' and try again",
            object.resource.singular, object.name
        ));
    }
    let all = revisions(session, object).await?;
    let chosen = if wanted == 0 {
        all.len().checked_sub(2).and_then(|at| all.get(at))
    } else {
        all.iter().find(|revision| revision.number == wanted)
    };
    let Some(chosen) = chosen else {
        return fail(if wanted == 0 {
            format!("no rollout history found for {} {:?}", object.resource.singular, object.name)
        } else {
            format!("unable to find specified revision {wanted} in history")
        });
    };
    let template = chosen.template();
    let mut now = object.value["spec"]["template"].clone();
    if let Some(labels) = now["metadata"]["labels"].as_object_mut() {
        labels.remove("pod-template-hash");
    }
    if now == template {
        let text = format!("skipped rollback (current template already matches revision {})", chosen.number);
        return report.tell(session, &object.display(), &text, &object.value);
    }
    let value = if report.dry_run.is_client() {
        object.value.clone()
    } else {
        let (body, content_type) = rollback(object, chosen, template);
        let url = Url::new(object.path()).with("fieldManager", text(matches, "field-manager"));
        let url = report.dry_run.url(url).into_string();
        let sent = session.rest().await?.send(Method::PATCH, &url, content_type, &body).await;
        sent.map_err(|error| {
            message(format!("failed restoring revision {}: {}", chosen.number, error.text()))
        })?
    };
    report.tell(session, &object.display(), "rolled back", &value)
}

/// The patch that brings a revision back. Templates are replaced whole: what the newer one added must go.
fn rollback(object: &Found, revision: &Revision, template: Value) -> (Value, &'static str) {
    if object.resource.kind != "Deployment" {
        return (revision.object["data"].clone(), STRATEGIC);
    }
    let mut annotations = json!({});
    if let Some(cause) = revision.object["metadata"]["annotations"][CAUSE].as_str() {
        annotations[CAUSE] = cause.into();
    }
    let mut body = vec![json!({"op": "replace", "path": "/spec/template", "value": template})];
    if let Some(cause) = annotations[CAUSE].as_str() {
        let path = "/metadata/annotations/kubernetes.io~1change-cause";
        body.push(json!({"op": "add", "path": path, "value": cause}));
    }
    (body.into(), "application/json-patch+json")
}
