//! DefaultTolerationSeconds: pods stay five minutes on a node that is not ready or unreachable, unless they say
//! otherwise.

use super::pod_mut;
use crate::contract::{Admission, AdmissionRequest, Operation};
use api::k8s_openapi::api::core::v1::Toleration;
use async_trait::async_trait;
use machinery::Status;

const SECONDS: i64 = 300;
const TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

pub(super) struct DefaultTolerationSeconds;

#[async_trait]
impl Admission for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    async fn admit(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        let Some(spec) = pod_mut(request).and_then(|pod| pod.spec.as_mut()) else { return Ok(()) };
        for taint in TAINTS {
            let tolerations = spec.tolerations.get_or_insert_default();
            if !tolerations.iter().any(|toleration| covers(toleration, taint)) {
                tolerations.push(Toleration {
                    key: Some(taint.to_owned()),
                    operator: Some("Exists".to_owned()),
                    effect: Some("NoExecute".to_owned()),
                    toleration_seconds: Some(SECONDS),
                    ..Toleration::default()
                });
            }
        }
        Ok(())
    }
}

fn covers(toleration: &Toleration, taint: &str) -> bool {
    let key = toleration.key.as_deref().unwrap_or_default();
    let effect = toleration.effect.as_deref().unwrap_or_default();
    (key == taint || key.is_empty()) && (effect == "NoExecute" || effect.is_empty())
}
