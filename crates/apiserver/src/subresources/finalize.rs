//! `namespaces/finalize`: the namespace controller takes its finalizer out of the spec once a namespace is empty.

use crate::contract::{SubresourceHandler, UpdateRules};
use api::Object;
use api::k8s_openapi::api::core::v1::Namespace;
use machinery::FieldErrors;

pub(super) struct Finalize;

impl SubresourceHandler for Finalize {
    fn parent(&self) -> (&'static str, &'static str) {
        ("", "namespaces")
    }

    fn name(&self) -> &'static str {
        "finalize"
    }

    fn update_rules(&self) -> Option<&dyn UpdateRules> {
        Some(self)
    }
}

impl UpdateRules for Finalize {
    fn prepare(&self, new: &mut dyn Object, old: &dyn Object) {
        if let (Some(new), Some(old)) = (new.downcast_mut::<Namespace>(), old.downcast_ref::<Namespace>()) {
            new.status.clone_from(&old.status);
        }
    }

    fn validate(&self, _: &dyn Object, _: &dyn Object) -> FieldErrors {
        FieldErrors::new()
    }
}
