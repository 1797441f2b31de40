//! Reviews: resources that are questions. A creation answers with the same object and its status filled in.
//!
//! Source: authentication.k8s.io/v1 and authorization.k8s.io/v1. Deliberately absent: storage; a review leaves no
//! trace.

mod self_subject;
mod self_subject_rules;
mod subject_access;
mod token;

use crate::contract::VirtualResource;
use std::sync::Arc;

/// Every review.
pub(super) fn all() -> Vec<Arc<dyn VirtualResource>> {
    vec![
        Arc::new(self_subject::SelfSubject),
        Arc::new(self_subject_rules::SelfSubjectRules),
        Arc::new(subject_access::SubjectAccess),
        Arc::new(subject_access::LocalSubjectAccess),
        Arc::new(subject_access::SelfSubjectAccess),
        Arc::new(token::Token),
    ]
}
