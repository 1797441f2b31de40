use crate::testing::{check, check_row, check_update, created};
use k8s_openapi::api::batch::v1::*;
use serde_json::{Value, json};

fn job(policy: &str) -> Value {
    json!({"spec": {"template": {"spec": {"restartPolicy": policy, "containers": [{"name": "c", "image": "i"}]}}}})
}

#[test]
fn jobs_select_their_own_pods() {
    let job: Job = created(job("Never"));
    let spec = job.spec.unwrap();
    assert_eq!((spec.completions, spec.parallelism, spec.backoff_limit), (Some(1), Some(1), Some(6)));
    let labels = spec.template.metadata.unwrap().labels.unwrap();
    for key in ["batch.kubernetes.io/controller-uid", "controller-uid"] {
        assert_eq!(labels[key], "uid-1");
    }
    for key in ["batch.kubernetes.io/job-name", "job-name"] {
        assert_eq!(labels[key], "x");
    }
    let selected = spec.selector.unwrap().match_labels.unwrap();
    assert_eq!(
        selected.into_iter().collect::<Vec<_>>(),
        [("batch.kubernetes.io/controller-uid".to_owned(), "uid-1".to_owned())]
    );
}

#[test]
fn jobs_are_checked() {
    check::<Job>(
        job("Always"),
        &["spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\""],
    );
    let mut indexed = job("Never");
    indexed["spec"]["completionMode"] = json!("Indexed");
    indexed["spec"]["parallelism"] = json!(1);
    check::<Job>(indexed, &["spec.completions: Required value: when completion mode is Indexed"]);
    let mut more = job("Never");
    more["spec"]["completions"] = json!(3);
    let messages = crate::testing::update_errors::<Job>(job("Never"), more);
    assert!(
        messages.iter().any(|m| m == "spec.completions: Invalid value: 3: field is immutable"),
        "{messages:?}"
    );
}

#[test]
fn job_rows() {
    let mut done = job("Never");
    done["spec"]["completions"] = json!(2);
    done["status"] = json!({"succeeded": 2, "startTime": "2026-01-01T00:00:00Z",
        "completionTime": "2026-01-01T00:00:07Z", "conditions": [{"type": "Complete", "status": "True"}]});
    check_row::<Job>(done, &[("Status", "Complete"), ("Completions", "2/2"), ("Duration", "7s")]);
    let mut running = job("Never");
    running["spec"]["parallelism"] = json!(3);
    check_row::<Job>(running, &[("Status", "Running"), ("Completions", "0/1 of 3"), ("Duration", "")]);
}

fn cron(fields: Value) -> Value {
    let mut cron = json!({"spec": {"schedule": "*/5 * * * *", "jobTemplate": job("OnFailure")}});
    for (key, value) in fields.as_object().into_iter().flatten() {
        cron["spec"][key] = value.clone();
    }
    cron
}

#[test]
fn cron_jobs() {
    check::<CronJob>(cron(json!({})), &[]);
    let rows = [
        (json!({"schedule": ""}), "spec.schedule: Required value"),
        (
            json!({"schedule": "* * * *"}),
            "spec.schedule: Invalid value: \"* * * *\": expected exactly 5 fields, found 4: [* * * *]",
        ),
        (
            json!({"schedule": "TZ=UTC * * * * *"}),
            "spec.schedule: Invalid value: \"TZ=UTC * * * * *\": cannot use TZ or CRON_TZ in schedule, use timeZone field \
             instead",
        ),
        (
            json!({"concurrencyPolicy": "X"}),
            "spec.concurrencyPolicy: Unsupported value: \"X\": supported values: \"Allow\", \"Forbid\", \"Replace\"",
        ),
        (
            json!({"timeZone": "Mars/Base"}),
            "spec.timeZone: Invalid value: \"Mars/Base\": unknown time zone Mars/Base",
        ),
    ];
    for (fields, message) in rows {
        check::<CronJob>(cron(fields), &[message]);
    }
    check_update::<CronJob>(cron(json!({})), cron(json!({"suspend": true})), &[]);
    check_row::<CronJob>(
        cron(json!({"suspend": false})),
        &[("Timezone", "<none>"), ("Suspend", "False"), ("Active", "0"), ("Last Schedule", "<none>")],
    );
}
