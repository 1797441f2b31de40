//! What a service-account token says (KEP-1205; the private claim `kubernetes.io`).

use serde::{Deserialize, Serialize};

/// An object that a token is bound to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// Its name.
    pub name: String,
    /// Its uid.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

/// The private claim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// Namespace of the service account.
    pub namespace: String,
    /// Node that the pod ran on, or that the token is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Reference>,
    /// Pod that it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Reference>,
    /// Secret that it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Reference>,
    /// Whose token it is.
    pub serviceaccount: Reference,
    /// When it should have been renewed, in seconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

/// The claims of a token (RFC 7519). Times are seconds since the epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// For whom.
    pub aud: Vec<String>,
    /// End of its life.
    pub exp: i64,
    /// When it was issued.
    pub iat: i64,
    /// By whom.
    pub iss: String,
    /// Its id.
    #[serde(default)]
    pub jti: String,
    /// What it is bound to.
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: Bound,
    /// Start of its life.
    #[serde(default)]
    pub nbf: i64,
    /// The user name.
    pub sub: String,
}

impl Claims {
    /// Whether the subject is the service account that the private claim names.
    pub fn consistent(&self) -> bool {
        let account = &self.kubernetes.serviceaccount.name;
        self.sub == crate::authz::rbac::account_name(&self.kubernetes.namespace, account)
    }
}
