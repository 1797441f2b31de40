//! `networking.k8s.io/v1` IPAddress: an address that a service holds; its name is the address.

use crate::common::names::{self, Messages};
use crate::common::text;
use crate::resource::{age_cell, name_cell};
use crate::{Column, ResourceDef, Rules};
use k8s_openapi::api::networking::v1::IPAddress;
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};
use std::net::IpAddr;

crate::kind!(IPAddress);

impl Rules for IPAddress {
    fn check_name(name: &str, _: bool) -> Messages {
        match name.parse::<IpAddr>() {
            Ok(ip) if ip.to_string() == name => Messages::new(),
            Ok(_) => vec!["must be a valid IP address in canonical form".to_owned()],
            Err(_) => vec![crate::common::net::NOT_AN_IP.to_owned()],
        }
    }

    fn prepare_create(&mut self) {
        self.metadata.generation = Some(1);
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        let parent = &self.spec.parent_ref;
        let path = FieldPath::new("spec").child("parentRef");
        for (field, value) in [("resource", &parent.resource), ("name", &parent.name)] {
            if value.is_empty() {
                errors.required(path.child(field), "");
            } else {
                names::report(path.child(field), value, names::path_segment(value, false), errors);
            }
        }
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        let at = FieldPath::new("spec").child("parentRef");
        errors.immutable(at, &self.spec.parent_ref, &old.spec.parent_ref, json!({}));
    }

    fn columns() -> Vec<Column> {
        vec![Column::name(), Column::new("ParentRef", "string", "Who holds the address."), Column::age()]
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        let parent = &self.spec.parent_ref;
        let resource = match text(&parent.group) {
            "" => parent.resource.clone(),
            group => format!("{}.{group}", parent.resource),
        };
        let parent = format!("{resource}/{}/{}", text(&parent.namespace), parent.name);
        vec![name_cell(self), json!(parent), age_cell(self, now)]
    }
}

/// The resource `ipaddresses`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<IPAddress>().short(&["ip"])
}
