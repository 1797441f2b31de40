//! Cron jobs.

use super::pod::write_template;
use super::writer::{Writer, list, number, text, time};
use crate::error::Result;
use crate::session::Session;
use serde_json::Value;

pub(super) async fn describe(_: &Session, object: &Value, out: &mut Writer) -> Result<()> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let job = &spec["jobTemplate"]["spec"];
    let unset = |value: &Value| if value.is_null() { "<unset>".to_owned() } else { text(value) };
    out.head(object);
    out.field(0, "Schedule", &text(&spec["schedule"]));
    out.field(0, "Concurrency Policy", &text(&spec["concurrencyPolicy"]));
    out.field(0, "Suspend", if spec["suspend"] == true { "True" } else { "False" });
    out.field(0, "Successful Job History Limit", &unset(&spec["successfulJobsHistoryLimit"]));
    out.field(0, "Failed Job History Limit", &unset(&spec["failedJobsHistoryLimit"]));
    let seconds =
        |value: &Value| if value.is_null() { "<unset>".to_owned() } else { format!("{}s", number(value)) };
    out.field(0, "Starting Deadline Seconds", &seconds(&spec["startingDeadlineSeconds"]));
    let selected = if job["selector"].is_object() {
        super::writer::selector(&job["selector"])
    } else {
        "<unset>".to_owned()
    };
    out.field(0, "Selector", &selected);
    out.field(0, "Parallelism", &unset(&job["parallelism"]));
    out.field(0, "Completions", &unset(&job["completions"]));
    if !job["activeDeadlineSeconds"].is_null() {
        out.field(0, "Active Deadline Seconds", &seconds(&job["activeDeadlineSeconds"]));
    }
    write_template(out, &job["template"]);
    out.field(0, "Last Schedule Time", &time(status["lastScheduleTime"].as_str()));
    let active: Vec<String> = list(&status["active"]).iter().map(|job| text(&job["name"])).collect();
    out.field(0, "Active Jobs", &if active.is_empty() { "<none>".to_owned() } else { active.join(", ") });
    Ok(())
}
