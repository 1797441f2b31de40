//! `v1` LimitRange: bounds and defaults that do not contradict each other.

use crate::common::amounts;
use crate::common::pod::resources;
use crate::common::print::{created_at, name_and_creation};
use crate::resource::name_cell;
use crate::{Column, ResourceDef, Rules};
use k8s_openapi::api::core::v1::{LimitRange, LimitRangeItem};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

crate::kind!(LimitRange);

impl Rules for LimitRange {
    fn set_defaults(&mut self) {
        for item in self.spec.iter_mut().flat_map(|spec| &mut spec.limits) {
            amounts::normalize_all([
                &mut item.default,
                &mut item.default_request,
                &mut item.max,
                &mut item.max_limit_request_ratio,
                &mut item.min,
            ]);
            if item.type_ == "Container" {
                fill_container(item);
            }
        }
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        let mut seen = BTreeSet::new();
        for (at, item) in self.spec.iter().flat_map(|spec| &spec.limits).enumerate() {
            let at = FieldPath::new("spec").child("limits").index(at);
            if !seen.insert(&item.type_) {
                errors.duplicate(at.child("type"), &item.type_);
            }
            validate_item(item, &at, errors);
        }
    }

    fn columns() -> Vec<Column> {
        name_and_creation()
    }

    fn cells(&self, _: Timestamp) -> Vec<Value> {
        vec![name_cell(self), created_at(self)]
    }
}

/// A missing default limit is the most allowed; a missing default request the default limit, or else the
/// least allowed.
fn fill_container(item: &mut LimitRangeItem) {
    let mut limits = item.default.take().unwrap_or_default();
    for (name, max) in item.max.iter().flatten() {
        limits.entry(name.clone()).or_insert_with(|| max.clone());
    }
    let mut requests = item.default_request.take().unwrap_or_default();
    for (name, limit) in &limits {
        requests.entry(name.clone()).or_insert_with(|| limit.clone());
    }
    for (name, min) in item.min.iter().flatten() {
        requests.entry(name.clone()).or_insert_with(|| min.clone());
    }
    item.default = (!limits.is_empty()).then_some(limits);
    item.default_request = (!requests.is_empty()).then_some(requests);
}

fn validate_item(item: &LimitRangeItem, path: &FieldPath, errors: &mut FieldErrors) {
    let maps = [
        ("max", &item.max),
        ("min", &item.min),
        ("default", &item.default),
        ("defaultRequest", &item.default_request),
        ("maxLimitRequestRatio", &item.max_limit_request_ratio),
    ];
    for (field, map) in maps {
        for name in map.iter().flatten().map(|(name, _)| name) {
            resources::resource_name(name, &path.child(field).key(name), errors);
        }
    }
    if item.type_ == "Pod" {
        for (field, map) in [("default", &item.default), ("defaultRequest", &item.default_request)] {
            if map.as_ref().is_some_and(|map| !map.is_empty()) {
                errors.forbidden(path.child(field), "may not be specified when `type` is 'Pod'");
            }
        }
    }
    let less = |low: &Option<BTreeMap<String, Quantity>>,
                high: &Option<BTreeMap<String, Quantity>>,
                field: &str,
                words: [&str; 2],
                errors: &mut FieldErrors| {
        for (name, low) in low.iter().flatten() {
            let Some(high) = high.as_ref().and_then(|high| high.get(name)) else { continue };
            if amounts::compare(low, high).is_some_and(|order| order.is_gt()) {
                let (low, high) = (amounts::canonical(low), amounts::canonical(high));
                let [a, b] = words;
                errors.invalid(
                    path.child(field).key(name),
                    &low,
                    format!("{a} value {low} is greater than {b} value {high}"),
                );
            }
        }
    };
    less(&item.min, &item.max, "min", ["min", "max"], errors);
    less(&item.min, &item.default_request, "defaultRequest", ["min", "default request"], errors);
    less(&item.default_request, &item.max, "defaultRequest", ["default request", "max"], errors);
    less(
        &item.default_request,
        &item.default,
        "defaultRequest",
        ["default request", "default limit"],
        errors,
    );
    less(&item.min, &item.default, "default", ["min", "default"], errors);
    less(&item.default, &item.max, "default", ["default", "max"], errors);
}

/// The resource `limitranges`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<LimitRange>().short(&["limits"])
}
