//! `autoscale`: makes a horizontal pod autoscaler for something that can be scaled.

use super::create::submit_as;
use super::{Group, Verb};
use crate::error::{Error, Result, fail};
use crate::flags::{self, flag, int, number, text, value};
use crate::select;
use crate::session::Session;
use clap::ArgMatches;
use serde_json::{Value, json};

pub(crate) const VERB: Verb = Verb {
    name: "autoscale",
    group: Group::Deploy,
    about: "Scale a deployment, replica set or stateful set by its load",
    examples: "kubectl autoscale deployment web --min=2 --max=10
        kubectl autoscale rs/web --max=5 --cpu-percent=80",
    arguments: |command| {
        command
            .args(flags::files())
            .args(flags::output())
            .arg(flags::dry_run())
            .arg(flags::validate())
            .arg(flags::field_manager("kubectl-autoscale"))
            .arg(number("min", "-1", "Least pods; negative for the server's default"))
            .arg(number("max", "-1", "Most pods"))
            .arg(number("cpu-percent", "-1", "Average CPU use to aim at, in percent of what is requested"))
            .arg(value("name", "NAME", "Name of the autoscaler; that of the scaled object unless given"))
            .arg(flag("save-config", "Keep the manifest in the object, for a later apply"))
            .arg(flag("show-managed-fields", "With -o: show who owns which fields"))
            .arg(flags::args("TYPE NAME | TYPE/NAME"))
    },
    run: |session, matches| Box::pin(run(session, matches)),
};

async fn run(session: &Session, matches: &ArgMatches) -> Result<()> {
    let (min, max) = (int(matches, "min"), int(matches, "max"));
    if !flags::given(matches, "max") {
        return fail("required flag(s) \"max\" not set");
    }
    if max < 1 {
        return fail(format!("--max=MAXPODS is required and must be at least 1, max: {max}"));
    }
    if max < min {
        return fail(format!(
            "--max=MAXPODS must be larger or equal to --min=MINPODS, max: {max}, min: {min}"
        ));
    }
    let mut errors = Vec::new();
    for object in select::live_of(session, matches).await? {
        if !object.resource.subresources.iter().any(|name| name == "scale") {
            errors.push(crate::error::message(format!(
                "cannot autoscale a {}: the kind has no scale",
                object.resource.kind
            )));
            continue;
        }
        let mut spec = json!({
            "maxReplicas": max,
            "scaleTargetRef": {"apiVersion": object.resource.api_version(), "kind": object.resource.kind, "name": object.name},
        });
        if min > 0 {
            spec["minReplicas"] = min.into();
        }
        let cpu = int(matches, "cpu-percent");
        if cpu >= 0 {
            let target = json!({"type": "Utilization", "averageUtilization": cpu});
            spec["metrics"] = json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]);
        }
        let mut scaler = json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": text(matches, "name").unwrap_or(&object.name)},
            "spec": spec, "status": {"currentMetrics": null, "desiredReplicas": 0},
        });
        if let Some(namespace) = &object.namespace
            && *namespace != session.namespace().await?
        {
            scaler["metadata"]["namespace"] = namespace.as_str().into();
        }
        errors.extend(submit(session, matches, scaler).await.err());
    }
    Error::all(errors)
}

async fn submit(session: &Session, matches: &ArgMatches, scaler: Value) -> Result<()> {
    submit_as(session, matches, scaler, "autoscaled").await
}
