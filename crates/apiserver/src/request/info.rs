//! [`RequestInfo`]: verb, group, version, namespace, resource, subresource and name of a path.
//!
//! Source: API concepts, "Resource URIs"; the attributes that RBAC's documentation lists.

use super::query::{Query, decode};
use crate::contract::{Attributes, UserInfo};
use machinery::gvk::Name;
use std::sync::Arc;

/// Subresources of a namespace; any other segment after `/namespaces/<name>/` is a resource in it.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

/// What a request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// Whether it is about a resource; otherwise only `path` and `verb` count.
    pub resource_request: bool,
    /// The path, undecoded.
    pub path: String,
    /// API verb, or the method in lower case when it is not about a resource.
    pub verb: Name,
    /// `api` or `apis`.
    pub prefix: String,
    /// API group, empty for core.
    pub group: String,
    /// API version.
    pub version: String,
    /// Namespace, or empty.
    pub namespace: String,
    /// Plural resource name.
    pub resource: String,
    /// Subresource, or empty.
    pub subresource: String,
    /// Name of the object, or empty.
    pub name: String,
    /// Path segments after the subresource, decoded; what a proxy forwards.
    pub rest: Vec<String>,
    /// The query.
    pub query: Query,
}

impl RequestInfo {
    /// Reads method, path and query.
    pub fn parse(method: &http::Method, uri: &http::Uri) -> Self {
        let query = Query::parse(uri.query());
        let mut info = Self {
            path: uri.path().to_owned(),
            verb: method.as_str().to_lowercase().into(),
            query,
            ..Self::default()
        };
        let segments: Vec<&str> = uri.path().split('/').filter(|s| !s.is_empty()).collect();
        let rest = match segments.as_slice() {
            ["api", version, rest @ ..] if !rest.is_empty() => {
                info.version = (*version).to_owned();
                rest
            }
            ["apis", group, version, rest @ ..] if !rest.is_empty() => {
                info.group = (*group).to_owned();
                info.version = (*version).to_owned();
                rest
            }
            _ => return info,
        };
        info.prefix = segments[0].to_owned();
        info.resource_request = true;
        info.resource(method, rest);
        info
    }

    fn resource(&mut self, method: &http::Method, mut rest: &[&str]) {
        // The old forms /api/v1/watch/… and /api/v1/proxy/… name the verb in the path.
        let mut legacy = None;
        if let ["watch" | "proxy", tail @ ..] = rest
            && !tail.is_empty()
        {
            legacy = Some(rest[0]);
            rest = tail;
        }
        match rest {
            ["namespaces", namespace, resource, tail @ ..] if !NAMESPACE_SUBRESOURCES.contains(resource) => {
                self.namespace = decode(namespace, false);
                self.resource = decode(resource, false);
                self.tail(tail);
            }
            ["namespaces", tail @ ..] => {
                // A namespace is its own namespace, so that roles in it can grant access to it.
                self.resource = "namespaces".to_owned();
                self.tail(tail);
                self.namespace.clone_from(&self.name);
            }
            [resource, tail @ ..] => {
                self.resource = decode(resource, false);
                self.tail(tail);
            }
            [] => {}
        }
        self.verb = match legacy {
            Some("watch") => "watch".into(),
            Some(_) => {
                let old = std::mem::take(&mut self.subresource);
                if !old.is_empty() {
                    self.rest.insert(0, old);
                }
                self.subresource = "proxy".to_owned();
                method_verb(method)
            }
            None => method_verb(method),
        };
        self.collection_verb();
    }

    fn tail(&mut self, tail: &[&str]) {
        let mut tail = tail.iter().map(|s| decode(s, false));
        self.name = tail.next().unwrap_or_default();
        self.subresource = tail.next().unwrap_or_default();
        self.rest = tail.collect();
    }

    /// Collections have verbs of their own.
    fn collection_verb(&mut self) {
        if !self.name.is_empty() {
            return;
        }
        match self.verb.as_ref() {
            "get" if self.query.flag("watch") => self.verb = "watch".into(),
            "get" => self.verb = "list".into(),
            "delete" => self.verb = "deletecollection".into(),
            _ => {}
        }
        // A list of one named object is authorized as access to that object.
        if matches!(self.verb.as_ref(), "list" | "watch" | "deletecollection")
            && let Some(selector) = self.query.get("fieldSelector")
            && let Some(name) = selected_name(selector)
        {
            name.clone_into(&mut self.name);
        }
    }

    /// The object named in the path; unlike `name`, empty for collections with a `metadata.name` selector.
    pub fn object_name(&self) -> &str {
        if matches!(self.verb.as_ref(), "list" | "watch" | "deletecollection") { "" } else { &self.name }
    }

    /// What authorizers see.
    pub fn attributes(&self, user: &Arc<UserInfo>) -> Attributes {
        Attributes {
            user: user.clone(),
            verb: self.verb.clone(),
            resource_request: self.resource_request,
            group: self.group.clone().into(),
            version: self.version.clone().into(),
            resource: self.resource.clone().into(),
            subresource: self.subresource.clone().into(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            path: self.path.clone(),
            field_selector: self.query.get("fieldSelector").map(str::to_owned),
            label_selector: self.query.get("labelSelector").map(str::to_owned),
        }
    }
}

fn method_verb(method: &http::Method) -> Name {
    match method.as_str() {
        "POST" => "create".into(),
        "PUT" => "update".into(),
        "PATCH" => "patch".into(),
        "DELETE" => "delete".into(),
        "GET" | "HEAD" => "get".into(),
        other => other.to_lowercase().into(),
    }
}

/// The one object that a field selector chooses by name, if it does.
pub fn selected_name(field_selector: &str) -> Option<&str> {
    let name = field_selector.split(',').find_map(|term| term.strip_prefix("metadata.name="))?;
    Some(name.trim_start_matches('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(method: &str, uri: &str) -> RequestInfo {
        RequestInfo::parse(&method.parse().unwrap(), &uri.parse().unwrap())
    }

    #[test]
    fn paths_read_as_upstream_reads_them() {
        // method, uri, verb, group, version, namespace, resource, subresource, name
        let rows = [
            ("GET", "/api/v1/pods", "list", "", "v1", "", "pods", "", ""),
            ("GET", "/api/v1/namespaces", "list", "", "v1", "", "namespaces", "", ""),
            ("GET", "/api/v1/namespaces/a", "get", "", "v1", "a", "namespaces", "", "a"),
            ("PUT", "/api/v1/namespaces/a/finalize", "update", "", "v1", "a", "namespaces", "finalize", "a"),
            ("POST", "/api/v1/namespaces/a/pods", "create", "", "v1", "a", "pods", "", ""),
            ("GET", "/api/v1/namespaces/a/pods/b/log?follow=true", "get", "", "v1", "a", "pods", "log", "b"),
            (
                "DELETE",
                "/apis/apps/v1/namespaces/a/deployments",
                "deletecollection",
                "apps",
                "v1",
                "a",
                "deployments",
                "",
                "",
            ),
            ("GET", "/apis/apps/v1/deployments?watch=1", "watch", "apps", "v1", "", "deployments", "", ""),
            ("GET", "/api/v1/watch/namespaces/a/pods", "watch", "", "v1", "a", "pods", "", ""),
            ("GET", "/api/v1/pods?fieldSelector=metadata.name%3Dx", "list", "", "v1", "", "pods", "", "x"),
            ("PATCH", "/api/v1/nodes/n/status", "patch", "", "v1", "", "nodes", "status", "n"),
        ];
        for (method, uri, verb, group, version, namespace, resource, subresource, name) in rows {
            let info = parse(method, uri);
            assert!(info.resource_request, "{uri}");
            assert_eq!(
                (&*info.verb, &*info.group, &*info.version, &*info.namespace, &*info.resource),
                (verb, group, version, namespace, resource),
                "{uri}"
            );
            assert_eq!((&*info.subresource, &*info.name), (subresource, name), "{uri}");
        }
    }

    #[test]
    fn other_paths_keep_their_method() {
        for uri in ["/api", "/api/v1", "/apis", "/apis/apps", "/apis/apps/v1", "/healthz", "/"] {
            let info = parse("GET", uri);
            assert!(!info.resource_request, "{uri}");
            assert_eq!(info.verb, "get");
        }
    }

    #[test]
    fn proxies_keep_the_rest_of_the_path() {
        let info = parse("GET", "/api/v1/namespaces/a/services/http:b:80/proxy/x/y");
        assert_eq!((&*info.subresource, &*info.name), ("proxy", "http:b:80"));
        assert_eq!(info.rest, ["x", "y"]);
    }
}
