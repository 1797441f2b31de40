//! Resource quotas: which objects a quota counts, and what each takes of it. Admission charges by these rules, and the
//! quota controller counts again by the same ones.
//!
//! Source: Kubernetes documentation, "Resource Quotas". Deliberately absent: comparing with limits, which is admission's.

pub mod scopes;
pub mod usage;
