//! `policy/v1` Eviction: the body of `pods/eviction`, never stored.

use k8s_openapi::api::policy::v1::Eviction;

crate::kind!(Eviction);
