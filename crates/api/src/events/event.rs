//! `events.k8s.io/v1` Event: the same objects as `v1` Event under newer field names. Rules live with the
//! stored form, [`crate::core::event`].

use crate::common::text;
use crate::{Column, ResourceDef, Rules};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::jiff::Timestamp;
use machinery::FieldErrors;
use serde_json::Value;

crate::kind!(Event);

impl Rules for Event {
    fn validate_create(&self, errors: &mut FieldErrors) {
        to_core(self).validate_create(errors);
    }

    fn columns() -> Vec<Column> {
        crate::core::event::columns()
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        crate::core::event::cells(&to_core(self), now)
    }
}

/// The resource `events` of `events.k8s.io`.
pub fn def() -> ResourceDef {
    fn about(event: &Event, get: fn(&core::ObjectReference) -> &Option<String>) -> String {
        event.regarding.as_ref().map(|object| text(get(object)).to_owned()).unwrap_or_default()
    }
    ResourceDef::of::<Event>()
        .short(&["ev"])
        .stored_as::<Event, core::Event>(to_core, from_core)
        .select::<Event>("regarding.kind", |e| about(e, |o| &o.kind))
        .select::<Event>("regarding.namespace", |e| about(e, |o| &o.namespace))
        .select::<Event>("regarding.name", |e| about(e, |o| &o.name))
        .select::<Event>("regarding.uid", |e| about(e, |o| &o.uid))
        .select::<Event>("regarding.apiVersion", |e| about(e, |o| &o.api_version))
        .select::<Event>("regarding.resourceVersion", |e| about(e, |o| &o.resource_version))
        .select::<Event>("regarding.fieldPath", |e| about(e, |o| &o.field_path))
        .select::<Event>("reason", |e| text(&e.reason).to_owned())
        .select::<Event>("reportingController", |e| text(&e.reporting_controller).to_owned())
        .select::<Event>("type", |e| text(&e.type_).to_owned())
}

fn to_core(event: &Event) -> core::Event {
    let event = event.clone();
    core::Event {
        action: event.action,
        count: event.deprecated_count,
        event_time: event.event_time,
        first_timestamp: event.deprecated_first_timestamp,
        involved_object: event.regarding.unwrap_or_default(),
        last_timestamp: event.deprecated_last_timestamp,
        message: event.note,
        metadata: event.metadata,
        reason: event.reason,
        related: event.related,
        reporting_component: event.reporting_controller,
        reporting_instance: event.reporting_instance,
        series: event.series.map(|series| core::EventSeries {
            count: Some(series.count),
            last_observed_time: Some(series.last_observed_time),
        }),
        source: event.deprecated_source,
        type_: event.type_,
    }
}

fn from_core(event: &core::Event) -> Event {
    let event = event.clone();
    Event {
        action: event.action,
        deprecated_count: event.count,
        deprecated_first_timestamp: event.first_timestamp,
        deprecated_last_timestamp: event.last_timestamp,
        deprecated_source: event.source,
        event_time: event.event_time,
        metadata: event.metadata,
        note: event.message,
        reason: event.reason,
        regarding: Some(event.involved_object),
        related: event.related,
        reporting_controller: event.reporting_component,
        reporting_instance: event.reporting_instance,
        series: event.series.and_then(|series| {
            Some(EventSeries {
                count: series.count.unwrap_or_default(),
                last_observed_time: series.last_observed_time?,
            })
        }),
        type_: event.type_,
    }
}
