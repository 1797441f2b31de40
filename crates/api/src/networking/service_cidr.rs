//! `networking.k8s.io/v1` ServiceCIDR: a range that services get their addresses from.

use crate::common::{items, json as printed, net};
use crate::resource::{age_cell, name_cell};
use crate::{Column, ResourceDef, Rules, meta};
use k8s_openapi::api::networking::v1::{ServiceCIDR, ServiceCIDRStatus};
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};

crate::kind!(ServiceCIDR);

impl Rules for ServiceCIDR {
    fn prepare_create(&mut self) {
        self.status = Some(ServiceCIDRStatus::default());
        self.metadata.generation = Some(1);
    }

    fn prepare_update(&mut self, old: &Self) {
        self.status.clone_from(&old.status);
    }

    fn prepare_status_update(&mut self, old: &Self) {
        self.spec.clone_from(&old.spec);
        meta::prepare_status_update(&mut self.metadata, &old.metadata);
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        let path = FieldPath::new("spec").child("cidrs");
        let cidrs = self.spec.as_ref().map(|spec| items(&spec.cidrs)).unwrap_or_default();
        match cidrs {
            [] => errors.required(path.clone(), "at least one CIDR required"),
            [_] | [_, _] => {}
            _ => errors.invalid(path.clone(), printed::list(cidrs), "may only hold up to 2 values"),
        }
        let mut families = Vec::new();
        for (at, cidr) in cidrs.iter().enumerate() {
            net::cidr(cidr, path.index(at), errors);
            families.extend(net::parse_cidr(cidr).map(|(ip, _)| ip.is_ipv4()));
        }
        if let [a, b] = families.as_slice()
            && a == b
        {
            errors.invalid(path, printed::list(cidrs), "may specify no more than one IP for each IP family");
        }
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        let cidrs =
            |range: &Self| range.spec.as_ref().map(|spec| items(&spec.cidrs).to_vec()).unwrap_or_default();
        let (new, was) = (cidrs(self), cidrs(old));
        // A range may be extended to the second family, never changed.
        if !new.starts_with(&was) {
            errors.invalid(FieldPath::new("spec").child("cidrs"), printed::list(&new), "field is immutable");
        }
        self.validate_create(errors);
    }

    fn columns() -> Vec<Column> {
        vec![Column::name(), Column::new("CIDRs", "string", "The range, per IP family."), Column::age()]
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        let cidrs = self.spec.as_ref().map(|spec| items(&spec.cidrs)).unwrap_or_default();
        vec![name_cell(self), json!(cidrs.join(",")), age_cell(self, now)]
    }
}

/// The resource `servicecidrs`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<ServiceCIDR>().status()
}
