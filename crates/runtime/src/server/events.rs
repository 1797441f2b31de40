//! Events: what happened to which container, with the state of its whole pod, for a kubelet that does not want to
//! ask again and again.

use super::{Inner, status};
use cri::v1::{ContainerEventResponse, ContainerEventType};

/// Tells whoever listens that something happened to `id`, a container or the sandbox itself.
pub(crate) fn send(inner: &Inner, id: &str, sandbox: &str, event: ContainerEventType) {
    if inner.events.receiver_count() == 0 {
        return;
    }
    let (sandbox, containers) = {
        let model = inner.model.lock();
        (model.sandboxes.get(sandbox).cloned(), model.containers_of(sandbox))
    };
    let response = ContainerEventResponse {
        container_id: id.to_owned(),
        container_event_type: event.into(),
        created_at: inner.now(),
        pod_sandbox_status: sandbox.as_ref().map(status::sandbox),
        containers_statuses: containers.iter().map(status::container).collect(),
    };
    // Nobody listens any more: nobody misses it.
    let _ = inner.events.send(response);
}
