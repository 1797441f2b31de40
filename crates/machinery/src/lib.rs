//! The object model of Kubernetes without I/O: names of kinds, `Status`, field paths and errors,
//! selectors, quantities, codecs and patches.
//!
//! Deliberately absent: sockets, files, clocks, threads, and any knowledge of a particular kind.

pub mod apply;
pub mod codec;
pub mod duration;
pub mod field;
pub mod fields;
pub mod gvk;
pub mod intstr;
pub mod jsonpath;
pub mod labels;
pub mod names;
pub mod patch;
pub mod quantity;
pub mod schema;
pub mod status;
#[cfg(test)]
mod testing;

pub use field::{FieldError, FieldErrorType, FieldErrors, FieldPath};
pub use gvk::{GroupKind, GroupResource, GroupVersion, GroupVersionKind, GroupVersionResource};
pub use status::{Reason, Status, StatusCause, StatusDetails};
