//! Who asks, for what, and who decides.

use crate::authn::Identified;
use api::k8s_openapi::api::rbac::v1::PolicyRule;
use async_trait::async_trait;
use component::serve::ConnInfo;
use machinery::gvk::Name;
use machinery::{GroupResource, Status};
use std::collections::BTreeMap;
use std::sync::Arc;

/// An authenticated identity (`authentication.k8s.io` UserInfo).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct UserInfo {
    /// Unique name.
    pub name: String,
    /// Distinguishes identities that had the same name at different times; often empty.
    pub uid: String,
    /// Groups it belongs to.
    pub groups: Vec<String>,
    /// Anything else that the authenticator knows.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    /// An identity of a name and groups.
    pub fn new(name: impl Into<String>, groups: &[&str]) -> Self {
        let groups = groups.iter().map(|g| (*g).to_owned()).collect();
        Self { name: name.into(), groups, ..Self::default() }
    }

    /// The API server itself, which may do anything.
    pub fn loopback() -> Self {
        Self::new("system:apiserver", &["system:authenticated", "system:masters"])
    }

    /// Nobody in particular.
    pub fn anonymous() -> Self {
        Self::new("system:anonymous", &["system:unauthenticated"])
    }

    /// Whether it belongs to `group`.
    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }
}

/// What a request wants to do, as authorizers see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Who asks.
    pub user: Arc<UserInfo>,
    /// API verb (`get`, `list`, `watch`, `create`, …) or, for other paths, the HTTP method in lower case.
    pub verb: Name,
    /// Whether the request is about a resource; otherwise only `path` counts.
    pub resource_request: bool,
    /// API group, empty for core.
    pub group: Name,
    /// API version.
    pub version: Name,
    /// Plural resource name.
    pub resource: Name,
    /// Subresource, or empty.
    pub subresource: Name,
    /// Namespace, or empty.
    pub namespace: String,
    /// Name of the object, or empty.
    pub name: String,
    /// Path of the URL.
    pub path: String,
    /// The request's field selector, if any, unparsed.
    pub field_selector: Option<String>,
    /// The request's label selector, if any, unparsed.
    pub label_selector: Option<String>,
}

impl Attributes {
    /// Group and resource, for messages.
    pub fn group_resource(&self) -> GroupResource {
        GroupResource { group: self.group.clone(), resource: self.resource.clone() }
    }

    /// Whether the verb changes nothing.
    pub fn read_only(&self) -> bool {
        matches!(self.verb.as_ref(), "get" | "list" | "watch")
    }
}

/// What an authorizer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes; no further authorizer is asked.
    Allow,
    /// No, with the reason; no further authorizer is asked.
    Deny(String),
    /// Ask the next one. The text, possibly empty, explains why not.
    NoOpinion(String),
}

/// Tells who sent a request. Several stand in a row: the first that knows wins.
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// `Ok(None)` when the request carries no credentials of this kind; an error when it carries bad ones.
    async fn authenticate(
        &self,
        request: &http::request::Parts,
        connection: &ConnInfo,
    ) -> Result<Option<UserInfo>, Status>;
    /// The same with the group of everyone who was identified, shared where the authenticator remembers it.
    async fn identify(
        &self,
        request: &http::request::Parts,
        connection: &ConnInfo,
    ) -> Result<Option<Arc<UserInfo>>, Status> {
        let user = self.authenticate(request, connection).await?;
        Ok(user.map(|user| Arc::new(crate::authn::authenticated(user))))
    }
    /// Whose `token` this is, for TokenReview; `audiences` are those that the asker accepts, empty means the API
    /// server's own. `Ok(None)` when it is of no kind that this authenticator knows.
    async fn review(&self, token: &str, audiences: &[String]) -> Result<Option<Identified>, Status> {
        let _ = (token, audiences);
        Ok(None)
    }
}

/// Decides whether a request is allowed. Several stand in a row: the first with an opinion wins, none means no.
#[async_trait]
pub trait Authorizer: Send + Sync {
    /// Decides.
    async fn authorize(&self, attributes: &Attributes) -> Decision;
    /// Why `attributes` are allowed, possibly empty: for access reviews, not for every request.
    fn reason(&self, attributes: &Attributes) -> String {
        let _ = attributes;
        String::new()
    }
    /// Every rule that applies to `user` in `namespace`, and why the list may be incomplete; `None` when the
    /// authorizer cannot tell.
    fn rules(&self, user: &UserInfo, namespace: &str) -> Option<(Vec<PolicyRule>, String)> {
        let _ = (user, namespace);
        None
    }
}
