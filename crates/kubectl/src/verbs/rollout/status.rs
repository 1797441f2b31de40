//! `rollout status`: how far a rollout has come, in upstream's words.

use crate::error::{Error, Result, fail, message};
use crate::flags::{int, is_set, text};
use crate::pods::condition;
use crate::select::Found;
use crate::session::{Session, duration};
use crate::verbs::wait;
use clap::ArgMatches;
use serde_json::Value;

pub(super) async fn run(session: &Session, matches: &ArgMatches, object: &Found) -> Result<()> {
    let kind = object.resource.kind.clone();
    let revision = int(matches, "revision");
    let follow = is_set(matches, "watch");
    let mut last = String::new();
    let rollout = wait::watch(session, object, true, |value, _| {
        let (text, done) = progress(&kind, value, revision)?;
        if text != last {
            session.line(&text)?;
            last.clone_from(&text);
        }
        Ok(done || !follow)
    });
    let limit = duration(text(matches, "timeout").unwrap_or("0s"))?;
    let outcome = if limit.is_zero() {
        rollout.await
    } else {
        tokio::time::timeout(limit, rollout)
            .await
            .unwrap_or_else(|_| Err(Error::Plain("error: timed out waiting for the condition".to_owned())))
    };
    match outcome {
        Err(error) if error.is_not_found() => Err(message("object has been deleted")),
        outcome => outcome.map(|_| ()),
    }
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

/// What is said of an object's rollout, and whether it is done.
fn progress(kind: &str, object: &Value, revision: i64) -> Result<(String, bool)> {
    match kind {
        "Deployment" => deployment(object, revision),
        "DaemonSet" => daemon_set(object),
        "StatefulSet" => stateful_set(object),
        _ => fail(format!("no status viewer has been implemented for {kind}")),
    }
}

fn observed(object: &Value) -> bool {
    number(&object["metadata"]["generation"]) <= number(&object["status"]["observedGeneration"])
}

fn deployment(object: &Value, revision: i64) -> Result<(String, bool)> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if revision > 0 {
        let own = object["metadata"]["annotations"]["deployment.kubernetes.io/revision"].as_str();
        let own: i64 = own.and_then(|own| own.parse().ok()).unwrap_or(0);
        if own != revision {
            return fail(format!(
                "desired revision ({revision}) is different from the running revision ({own})"
            ));
        }
    }
    if !observed(object) {
        return Ok(("Waiting for deployment spec update to be observed...".to_owned(), false));
    }
    let late = condition(object, "Progressing").is_some_and(|it| it["reason"] == "ProgressDeadlineExceeded");
    if late {
        return fail(format!("deployment {name:?} exceeded its progress deadline"));
    }
    let status = &object["status"];
    let (wanted, updated) = (number(&object["spec"]["replicas"]), number(&status["updatedReplicas"]));
    let (all, available) = (number(&status["replicas"]), number(&status["availableReplicas"]));
    let waiting = format!("Waiting for deployment {name:?} rollout to finish:");
    Ok(if updated < wanted {
        (format!("{waiting} {updated} out of {wanted} new replicas have been updated..."), false)
    } else if all > updated {
        (format!("{waiting} {} old replicas are pending termination...", all - updated), false)
    } else if available < updated {
        (format!("{waiting} {available} of {updated} updated replicas are available..."), false)
    } else {
        (format!("deployment {name:?} successfully rolled out"), true)
    })
}

fn daemon_set(object: &Value) -> Result<(String, bool)> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if object["spec"]["updateStrategy"]["type"] == "OnDelete" {
        return fail("rollout status is only available for RollingUpdate strategy type");
    }
    if !observed(object) {
        return Ok(("Waiting for daemon set spec update to be observed...".to_owned(), false));
    }
    let status = &object["status"];
    let wanted = number(&status["desiredNumberScheduled"]);
    let (updated, available) =
        (number(&status["updatedNumberScheduled"]), number(&status["numberAvailable"]));
    let waiting = format!("Waiting for daemon set {name:?} rollout to finish:");
    Ok(if updated < wanted {
        (format!("{waiting} {updated} out of {wanted} new pods have been updated..."), false)
    } else if available < wanted {
        (format!("{waiting} {available} of {wanted} updated pods are available..."), false)
    } else {
        (format!("daemon set {name:?} successfully rolled out"), true)
    })
}

fn stateful_set(object: &Value) -> Result<(String, bool)> {
    let strategy = &object["spec"]["updateStrategy"];
    if strategy["type"] == "OnDelete" {
        return fail("rollout status is only available for RollingUpdate strategy type");
    }
    if number(&object["status"]["observedGeneration"]) == 0 || !observed(object) {
        return Ok(("Waiting for statefulset spec update to be observed...".to_owned(), false));
    }
    let (spec, status) = (&object["spec"], &object["status"]);
    let wanted = number(&spec["replicas"]);
    let ready = number(&status["readyReplicas"]);
    if ready < wanted {
        return Ok((format!("Waiting for {} pods to be ready...", wanted - ready), false));
    }
    let partition = number(&strategy["rollingUpdate"]["partition"]);
    if strategy["type"] == "RollingUpdate" && partition > 0 {
        let updated = number(&status["updatedReplicas"]);
        let due = wanted - partition;
        if updated < due {
            let text = format!(
                "Waiting for partitioned roll out to finish: {updated} out of {due} new pods have been updated..."
            );
            return Ok((text, false));
        }
        return Ok((format!("partitioned roll out complete: {updated} new pods have been updated..."), true));
    }
    if status["updateRevision"] != status["currentRevision"] {
        let updated = number(&status["updatedReplicas"]);
        let revision = status["updateRevision"].as_str().unwrap_or_default();
        let text = format!(
            "waiting for statefulset rolling update to complete {updated} pods at revision {revision}..."
        );
        return Ok((text, false));
    }
    let (current, revision) = (number(&status["currentReplicas"]), status["currentRevision"].as_str());
    let text = format!(
        "statefulset rolling update complete {current} pods at revision {}...",
        revision.unwrap_or_default()
    );
    Ok((text, true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_stages_of_a_deployment() {
        let rows = [
            (json!({}), "Waiting for deployment spec update to be observed...", false),
            (
                json!({"observedGeneration": 2, "updatedReplicas": 1}),
                "Waiting for deployment \"web\" rollout to finish: 1 out of 3 new replicas have been updated...",
                false,
            ),
            (
                json!({"observedGeneration": 2, "updatedReplicas": 3, "replicas": 4}),
                "Waiting for deployment \"web\" rollout to finish: 1 old replicas are pending termination...",
                false,
            ),
            (
                json!({"observedGeneration": 2, "updatedReplicas": 3, "replicas": 3, "availableReplicas": 2}),
                "Waiting for deployment \"web\" rollout to finish: 2 of 3 updated replicas are available...",
                false,
            ),
            (
                json!({"observedGeneration": 2, "updatedReplicas": 3, "replicas": 3, "availableReplicas": 3}),
                "deployment \"web\" successfully rolled out",
                true,
            ),
        ];
        for (status, text, done) in rows {
            let object = json!({"metadata": {"name": "web", "generation": 2}, "spec": {"replicas": 3}, "status": status});
            assert_eq!(progress("Deployment", &object, 0).unwrap(), (text.to_owned(), done));
        }
        let late = json!({"metadata": {"name": "web"}, "status": {"conditions": [
            {"type": "Progressing", "reason": "ProgressDeadlineExceeded"}]}});
        assert_eq!(
            progress("Deployment", &late, 0).unwrap_err().text(),
            "error: deployment \"web\" exceeded its progress deadline"
        );
    }
}
