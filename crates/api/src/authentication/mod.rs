//! Kinds of the group `authentication.k8s.io`.

pub mod self_subject_review;
pub mod token_request;
pub mod token_review;
