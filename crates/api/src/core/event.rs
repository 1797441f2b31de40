//! `v1` Event: the stored form of both groups' events.

use crate::common::print::since;
use crate::common::{names, text};
use crate::resource::Column;
use crate::{ResourceDef, Rules};
use k8s_openapi::api::core::v1::{Event, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};

crate::kind!(Event);

impl Rules for Event {
    fn check_name(name: &str, prefix: bool) -> crate::common::names::Messages {
        crate::common::names::path_segment(name, prefix)
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        validate_legacy(self, errors);
        if self.event_time.is_some() {
            validate_new(self, errors);
        }
    }

    fn columns() -> Vec<Column> {
        columns()
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        cells(self, now)
    }
}

/// The columns of an event in either group.
pub(crate) fn columns() -> Vec<Column> {
    let mut name = Column::name();
    name.priority = 1;
    vec![
        Column::new("Last Seen", "string", "Time since it happened last."),
        Column::new("Type", "string", "Normal or Warning."),
        Column::new("Reason", "string", "Why it happened, in a word."),
        Column::new("Object", "string", "What it is about."),
        Column::new("Subobject", "string", "Which part of the object.").wide(),
        Column::new("Source", "string", "Who reported it.").wide(),
        Column::new("Message", "string", "What happened, in words."),
        Column::new("First Seen", "string", "Time since it happened first.").wide(),
        Column::new("Count", "string", "How often it happened.").wide(),
        name,
    ]
}

/// The row of an event in either group.
pub(crate) fn cells(event: &Event, now: Timestamp) -> Vec<Value> {
    let micro = |time: &Option<MicroTime>| time.as_ref().map(|time| Time(time.0));
    let first = event.first_timestamp.clone().or_else(|| micro(&event.event_time));
    let series = event.series.as_ref();
    let last = series
        .and_then(|series| micro(&series.last_observed_time))
        .or_else(|| event.last_timestamp.clone())
        .or_else(|| first.clone());
    let count = series.and_then(|series| series.count).or(event.count).filter(|n| *n > 0).unwrap_or(1);
    let about = &event.involved_object;
    let object = match text(&about.name) {
        "" => text(&about.kind).to_lowercase(),
        name => format!("{}/{name}", text(&about.kind).to_lowercase()),
    };
    vec![
        json!(since(last.as_ref(), now)),
        json!(text(&event.type_)),
        json!(text(&event.reason)),
        json!(object),
        json!(text(&about.field_path)),
        json!(source(event)),
        json!(text(&event.message).trim()),
        json!(since(first.as_ref(), now)),
        json!(count),
        json!(text(&event.metadata.name)),
    ]
}

fn source(event: &Event) -> String {
    let source = event.source.as_ref();
    let component = source.map(|source| text(&source.component)).unwrap_or_default();
    let component = if component.is_empty() { text(&event.reporting_component) } else { component };
    match source.map(|source| text(&source.host)).unwrap_or_default() {
        "" => match text(&event.reporting_instance) {
            "" => component.to_owned(),
            instance => format!("{component}, {instance}"),
        },
        host => format!("{component}, {host}"),
    }
}

/// Events about cluster-wide objects live in the default namespace (or kube-system, for leases and such).
fn validate_legacy(event: &Event, errors: &mut FieldErrors) {
    let namespace = text(&event.metadata.namespace);
    match text(&event.involved_object.namespace) {
        "" if namespace != "default" && namespace != "kube-system" => errors.invalid(
            FieldPath::new("involvedObject").child("namespace"),
            "",
            "does not match event.namespace",
        ),
        "" => {}
        about if about != namespace => errors.invalid(
            FieldPath::new("involvedObject").child("namespace"),
            about,
            "does not match event.namespace",
        ),
        _ => {}
    }
}

/// Events with an event time say who reports them, what was done and why.
fn validate_new(event: &Event, errors: &mut FieldErrors) {
    let reporter = text(&event.reporting_component);
    let at = FieldPath::new("reportingController");
    if reporter.is_empty() {
        errors.required(at, "");
    } else {
        names::report(at, reporter, names::qualified_name(reporter), errors);
    }
    for (field, value, max) in [
        ("reportingInstance", &event.reporting_instance, 128),
        ("action", &event.action, 128),
        ("reason", &event.reason, 128),
        ("message", &event.message, 1024),
    ] {
        let value = text(value);
        if value.is_empty() && field != "message" {
            errors.required(FieldPath::new(field), "");
        }
        if value.len() > max {
            errors.invalid(FieldPath::new(field), "", format!("can have at most {max} characters"));
        }
    }
}

/// The resource `events`.
pub fn def() -> ResourceDef {
    fn about(event: &Event, get: fn(&ObjectReference) -> &Option<String>) -> String {
        text(get(&event.involved_object)).to_owned()
    }
    ResourceDef::of::<Event>()
        .short(&["ev"])
        .select::<Event>("involvedObject.kind", |e| about(e, |o| &o.kind))
        .select::<Event>("involvedObject.namespace", |e| about(e, |o| &o.namespace))
        .select::<Event>("involvedObject.name", |e| about(e, |o| &o.name))
        .select::<Event>("involvedObject.uid", |e| about(e, |o| &o.uid))
        .select::<Event>("involvedObject.apiVersion", |e| about(e, |o| &o.api_version))
        .select::<Event>("involvedObject.resourceVersion", |e| about(e, |o| &o.resource_version))
        .select::<Event>("involvedObject.fieldPath", |e| about(e, |o| &o.field_path))
        .select::<Event>("reason", |e| text(&e.reason).to_owned())
        .select::<Event>("reportingComponent", |e| text(&e.reporting_component).to_owned())
        .select::<Event>("source", |e| {
            e.source.as_ref().map(|source| text(&source.component).to_owned()).unwrap_or_default()
        })
        .select::<Event>("type", |e| text(&e.type_).to_owned())
}
