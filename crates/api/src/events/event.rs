//! `events.k8s.io/v1` Event: the same objects as `v1` Event under newer field names. Rules live with the
//! stored form, [`crate::core::event`].

use crate::{ResourceDef, Rules};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::events::v1::{Event, EventSeries};

crate::kind!(Event);

impl Rules for Event {}

/// The resource `events` of `events.k8s.io`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<Event>().short(&["ev"]).stored_as::<Event, core::Event>(to_core, from_core)
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
