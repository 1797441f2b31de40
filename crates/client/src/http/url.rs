//! Request paths and queries of the API.

use api::transport::{ListOptions, Target, WriteOptions};
use std::fmt::Write;

/// The path of a target.
pub fn path(target: &Target) -> String {
    let resource = &target.resource;
    let mut path = if resource.group.is_empty() {
        format!("/api/{}", resource.version)
    } else {
        format!("/apis/{}/{}", resource.group, resource.version)
    };
    if let Some(namespace) = &target.namespace {
        path.push_str("/namespaces/");
        escape(namespace, &mut path);
    }
    path.push('/');
    path.push_str(&resource.resource);
    if let Some(name) = &target.name {
        path.push('/');
        escape(name, &mut path);
    }
    if let Some(subresource) = &target.subresource {
        path.push('/');
        path.push_str(subresource);
    }
    path
}

/// Percent-encodes all but RFC 3986's unreserved characters.
pub fn escape(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// A path and query under construction.
#[derive(Clone, Debug)]
pub struct Url(String);

impl Url {
    /// Starts from a path.
    pub fn new(path: impl Into<String>) -> Self {
        Self(path.into())
    }

    /// Adds a parameter, unless it has no value.
    #[must_use]
    pub fn with(mut self, name: &str, value: Option<&str>) -> Self {
        if let Some(value) = value {
            self.0.push(if self.0.contains('?') { '&' } else { '?' });
            self.0.push_str(name);
            self.0.push('=');
            escape(value, &mut self.0);
        }
        self
    }

    /// Adds a flag, unless it is not set.
    #[must_use]
    pub fn flag(self, name: &str, set: bool) -> Self {
        self.with(name, set.then_some("true"))
    }

    /// Adds the parameters of a list, or of a watch.
    #[must_use]
    pub fn list(self, options: &ListOptions, watch: bool) -> Self {
        let limit = (options.limit > 0).then(|| options.limit.to_string());
        let timeout = options.timeout_seconds.map(|seconds| seconds.to_string());
        let initial = options.send_initial_events.map(|send| send.to_string());
        self.flag("watch", watch)
            .with("labelSelector", options.label_selector.as_deref())
            .with("fieldSelector", options.field_selector.as_deref())
            .with("resourceVersion", options.resource_version.as_deref())
            .with("resourceVersionMatch", options.resource_version_match.as_deref())
            .with("limit", limit.as_deref())
            .with("continue", options.continue_token.as_deref())
            .flag("allowWatchBookmarks", watch && options.allow_bookmarks)
            .with("sendInitialEvents", initial.as_deref().filter(|_| watch))
            .with("timeoutSeconds", timeout.as_deref().filter(|_| watch))
    }

    /// Adds the parameters of a write.
    #[must_use]
    pub fn write(self, options: &WriteOptions) -> Self {
        self.with("fieldManager", options.field_manager.as_deref())
            .flag("force", options.force)
            .with("dryRun", options.dry_run.then_some("All"))
            .with("fieldValidation", options.field_validation.as_deref())
    }

    /// The path and query.
    pub fn into_string(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::GroupVersionResource;

    #[test]
    fn paths_and_queries() {
        let pods = Target::all(GroupVersionResource::new("", "v1", "pods"));
        assert_eq!(path(&pods), "/api/v1/pods");
        let one = Target::all(GroupVersionResource::new("apps", "v1", "deployments"))
            .in_namespace("web")
            .named("a:b")
            .sub("status");
        assert_eq!(path(&one), "/apis/apps/v1/namespaces/web/deployments/a%3Ab/status");
        let options = ListOptions {
            label_selector: Some("a in (b,c)".to_owned()),
            allow_bookmarks: true,
            resource_version: Some("7".to_owned()),
            ..ListOptions::default()
        };
        assert_eq!(
            Url::new("/x").list(&options, true).into_string(),
            "/x?watch=true&labelSelector=a%20in%20%28b%2Cc%29&resourceVersion=7&allowWatchBookmarks=true"
        );
        assert_eq!(Url::new("/x").list(&ListOptions::default(), false).into_string(), "/x");
    }
}
