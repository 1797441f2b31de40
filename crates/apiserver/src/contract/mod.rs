//! What the parts of the API server agree on: who asks ([`UserInfo`]), for what ([`Attributes`]), and the traits
//! that authenticators, authorizers, admission plugins and subresources implement.
//!
//! Deliberately absent: any implementation. A new one is a file of its own and a row in its folder's table:
//!
//! * `authn::build(&Context) -> Result<Vec<Arc<dyn Authenticator>>, String>`
//! * `authz::build(&Context) -> Result<Vec<Arc<dyn Authorizer>>, String>`
//! * `admission::build(&Context) -> Result<Vec<Arc<dyn Admission>>, String>`
//! * `subresources::handlers() -> Vec<Arc<dyn SubresourceHandler>>`
//! * `subresources::virtual_resources() -> Vec<Arc<dyn VirtualResource>>`

mod admission;
mod context;
mod security;
mod subresource;

pub use admission::{Admission, AdmissionRequest, Operation, Warnings};
pub use context::{Context, Lookup};
pub use security::{Attributes, Authenticator, Authorizer, Decision, UserInfo};
pub use subresource::{ConnectCall, ObjectCall, SubresourceHandler, UpdateRules, VirtualResource};
