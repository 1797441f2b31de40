//! DefaultIngressClass: an ingress that names no class gets the default one.

use super::default_storage_class::{marked, newest_first};
use super::list;
use crate::contract::{Admission, AdmissionRequest, Context, Operation};
use api::k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use async_trait::async_trait;
use machinery::Status;

/// Older form of `spec.ingressClassName`.
const OLD_CLASS: &str = "kubernetes.io/ingress.class";
const DEFAULT: [&str; 1] = ["ingressclass.kubernetes.io/is-default-class"];

pub(super) struct DefaultIngressClass(pub(super) Context);

#[async_trait]
impl Admission for DefaultIngressClass {
    fn name(&self) -> &'static str {
        "DefaultIngressClass"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    async fn admit(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        if !request.is("networking.k8s.io", "ingresses") {
            return Ok(());
        }
        let Some(ingress) = request.object.as_deref_mut().and_then(|o| o.downcast_mut::<Ingress>()) else {
            return Ok(());
        };
        let named = ingress.spec.as_ref().is_some_and(|spec| spec.ingress_class_name.is_some())
            || ingress.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(OLD_CLASS));
        if named {
            return Ok(());
        }
        let mut defaults = list::<IngressClass>(&self.0, "").await?;
        defaults.retain(|class| marked(&class.metadata, &DEFAULT));
        defaults.sort_by(|a, b| newest_first(&a.metadata, &b.metadata));
        if let Some(class) = defaults.first() {
            ingress.spec.get_or_insert_default().ingress_class_name.clone_from(&class.metadata.name);
        }
        Ok(())
    }
}
