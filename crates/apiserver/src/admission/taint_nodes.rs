//! TaintNodesByCondition: a new node is tainted as not ready until its controller has seen it healthy.

use crate::contract::{Admission, AdmissionRequest, Operation};
use api::k8s_openapi::api::core::v1::{Node, Taint};
use async_trait::async_trait;
use machinery::Status;

const NOT_READY: &str = "node.kubernetes.io/not-ready";

pub(super) struct TaintNodesByCondition;

#[async_trait]
impl Admission for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    async fn admit(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        if !request.is("", "nodes") {
            return Ok(());
        }
        let Some(node) = request.object.as_deref_mut().and_then(|object| object.downcast_mut::<Node>())
        else {
            return Ok(());
        };
        let taints = node.spec.get_or_insert_default().taints.get_or_insert_default();
        if !taints.iter().any(|taint| taint.key == NOT_READY && taint.effect == "NoSchedule") {
            taints.push(Taint {
                key: NOT_READY.to_owned(),
                effect: "NoSchedule".to_owned(),
                ..Taint::default()
            });
        }
        Ok(())
    }
}
