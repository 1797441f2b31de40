//! Subresources and computed resources: one file each, and a row here.
//!
//! Deliberately absent: `status` and `scale`, which the registry does for every resource.

mod approval;
mod connect;
mod finalize;
mod pods;
mod reviews;
mod token;

pub(crate) use connect::service_endpoint;

use crate::contract::{SubresourceHandler, VirtualResource};
use api::StoredObject;
use machinery::Status;
use std::sync::Arc;

/// Every subresource.
pub fn handlers() -> Vec<Arc<dyn SubresourceHandler>> {
    let mut all: Vec<Arc<dyn SubresourceHandler>> = vec![
        Arc::new(approval::Approval),
        Arc::new(finalize::Finalize),
        Arc::new(pods::binding::PodBinding),
        Arc::new(pods::ephemeral_containers::EphemeralContainers),
        Arc::new(pods::eviction::PodEviction),
        Arc::new(pods::resize::Resize),
        Arc::new(token::Token::default()),
    ];
    all.extend(connect::all());
    all
}

/// Every resource that is computed.
pub fn virtual_resources() -> Vec<Arc<dyn VirtualResource>> {
    let mut all = reviews::all();
    all.push(Arc::new(pods::binding::Bindings));
    all
}

/// The answer of a call that has nothing else to say.
fn success(code: u16) -> Result<Arc<StoredObject>, Status> {
    let text =
        format!(r#"{{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Success","code":{code}}}"#);
    StoredObject::new(0, text.into()).map(Arc::new).map_err(Status::internal)
}
