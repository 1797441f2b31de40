//! `certificatesigningrequests/approval`: only the conditions Approved and Denied can be added.

use crate::contract::{SubresourceHandler, UpdateRules};
use api::Object;
use api::common::items;
use api::k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition,
};
use machinery::{FieldErrors, FieldPath};

pub(super) struct Approval;

impl SubresourceHandler for Approval {
    fn parent(&self) -> (&'static str, &'static str) {
        ("certificates.k8s.io", "certificatesigningrequests")
    }

    fn name(&self) -> &'static str {
        "approval"
    }

    fn update_rules(&self) -> Option<&dyn UpdateRules> {
        Some(self)
    }
}

fn decides(condition: &CertificateSigningRequestCondition) -> bool {
    matches!(condition.type_.as_str(), "Approved" | "Denied")
}

fn conditions(csr: &CertificateSigningRequest) -> &[CertificateSigningRequestCondition] {
    csr.status.as_ref().map(|status| items(&status.conditions)).unwrap_or_default()
}

impl UpdateRules for Approval {
    fn prepare(&self, new: &mut dyn Object, old: &dyn Object) {
        let new = new.downcast_mut::<CertificateSigningRequest>();
        let (Some(new), Some(old)) = (new, old.downcast_ref::<CertificateSigningRequest>()) else { return };
        let mut merged: Vec<_> = conditions(old).iter().filter(|c| !decides(c)).cloned().collect();
        merged.extend(conditions(new).iter().filter(|c| decides(c)).cloned());
        new.metadata.labels.clone_from(&old.metadata.labels);
        new.metadata.annotations.clone_from(&old.metadata.annotations);
        new.spec = old.spec.clone();
        new.status.clone_from(&old.status);
        new.status.get_or_insert_default().conditions = (!merged.is_empty()).then_some(merged);
    }

    fn validate(&self, new: &dyn Object, old: &dyn Object) -> FieldErrors {
        let mut errors = FieldErrors::new();
        let new = new.downcast_ref::<CertificateSigningRequest>();
        let (Some(new), Some(old)) = (new, old.downcast_ref::<CertificateSigningRequest>()) else {
            return errors;
        };
        let field = FieldPath::new("status").child("conditions");
        for kind in ["Approved", "Denied"] {
            let has = |csr: &CertificateSigningRequest| conditions(csr).iter().any(|c| c.type_ == kind);
            if has(old) && !has(new) {
                errors
                    .forbidden(field.clone(), format!("updates may not remove a condition of type {kind:?}"));
            }
        }
        let decided: Vec<_> = conditions(new).iter().filter(|c| decides(c)).collect();
        if decided.iter().any(|c| c.type_ == "Approved") && decided.iter().any(|c| c.type_ == "Denied") {
            errors.invalid(field.clone(), "Denied", "Approved and Denied conditions are mutually exclusive");
        }
        for (at, condition) in conditions(new).iter().enumerate() {
            if decides(condition) && condition.status != "True" {
                let field = field.index(at).child("status");
                errors.not_supported(field, &condition.status, &["True"]);
            }
        }
        errors
    }
}
