//! Kinds of the group `resource.k8s.io`: dynamic resource allocation (KEP-4381).

pub mod device_class;
mod requests;
pub mod resource_claim;
pub mod resource_claim_template;
pub mod resource_slice;
