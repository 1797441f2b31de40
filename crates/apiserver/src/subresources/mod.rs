//! Subresources and computed resources: one file each, and a row here.
//!
//! Deliberately absent: `status` and `scale`, which the registry does for every resource.

mod reviews;

use crate::contract::{SubresourceHandler, VirtualResource};
use std::sync::Arc;

/// Every subresource.
pub fn handlers() -> Vec<Arc<dyn SubresourceHandler>> {
    Vec::new()
}

/// Every resource that is computed.
pub fn virtual_resources() -> Vec<Arc<dyn VirtualResource>> {
    reviews::all()
}
