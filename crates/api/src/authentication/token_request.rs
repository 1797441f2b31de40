//! `authentication.k8s.io/v1` TokenRequest: the body of `serviceaccounts/token`, never stored.

use k8s_openapi::api::authentication::v1::TokenRequest;

crate::kind!(TokenRequest);
