//! System-call filters: profiles in the published JSON form, the default profile, and their compiler to the
//! kernel's classic BPF.
//!
//! Deliberately absent: libseccomp, so that the binary needs no library of the host, and notification to a
//! supervisor (`SCMP_ACT_NOTIFY`), which is refused with a clear error.

mod compile;
mod default;
mod names;
mod profile;

pub use compile::Filter;
pub use default::default_profile;
pub use profile::{Action, Argument, Operator, Profile, Rule};
