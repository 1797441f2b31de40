//! StorageObjectInUseProtection: volumes and claims get a finalizer that keeps them while they are in use.

use crate::contract::{Admission, AdmissionRequest, Operation};
use async_trait::async_trait;
use machinery::Status;

/// Resource and its finalizer.
const FINALIZERS: [(&str, &str, &str); 3] = [
    ("", "persistentvolumes", "kubernetes.io/pv-protection"),
    ("", "persistentvolumeclaims", "kubernetes.io/pvc-protection"),
    ("storage.k8s.io", "volumeattributesclasses", "kubernetes.io/vac-protection"),
];

pub(super) struct StorageObjectInUseProtection;

#[async_trait]
impl Admission for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    async fn admit(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        let row = FINALIZERS.iter().find(|(group, resource, _)| request.is(group, resource));
        if let (Some((_, _, finalizer)), Some(object)) = (row, request.object.as_deref_mut()) {
            let finalizers = object.meta_mut().finalizers.get_or_insert_default();
            if !finalizers.iter().any(|known| known == finalizer) {
                finalizers.push((*finalizer).to_owned());
            }
        }
        Ok(())
    }
}
