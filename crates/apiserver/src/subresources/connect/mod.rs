//! Subresources behind which something else answers: a kubelet, a pod, a service.
//!
//! Deliberately absent: any understanding of what is streamed; requests and bytes are handed on.

mod kubelet;
mod log;
mod pod_streams;
mod proxy;
mod service_endpoints;
mod trust;

pub(crate) use service_endpoints::pick as service_endpoint;

use crate::contract::SubresourceHandler;
use std::sync::Arc;

/// Every one of them.
pub(super) fn all() -> Vec<Arc<dyn SubresourceHandler>> {
    vec![
        Arc::new(log::Log),
        Arc::new(pod_streams::Stream::EXEC),
        Arc::new(pod_streams::Stream::ATTACH),
        Arc::new(pod_streams::Stream::PORT_FORWARD),
        Arc::new(proxy::NodeProxy),
        Arc::new(proxy::PodProxy),
        Arc::new(proxy::ServiceProxy),
    ]
}
