//! [`Discovery`]: what the server serves, from aggregated discovery (KEP-3352) or, where a server has none, from the
//! older documents per group and version.

use crate::error::{Result, fail, message};
use crate::rest::Rest;
use machinery::{GroupVersion, GroupVersionKind};
use serde_json::Value;
use std::sync::Arc;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

/// A resource in one version.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Resource {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) kind: String,
    pub(crate) namespaced: bool,
    pub(crate) verbs: Vec<String>,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) subresources: Vec<String>,
}

impl Resource {
    pub(crate) fn gvk(&self) -> GroupVersionKind {
        GroupVersionKind::new(self.group.clone(), self.version.clone(), self.kind.clone())
    }

    /// `apiVersion`.
    pub(crate) fn api_version(&self) -> String {
        self.gvk().api_version()
    }

    /// `deployments.apps`, `pods`.
    pub(crate) fn full_plural(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// `deployment.apps`, `pod`: how objects are named in messages.
    pub(crate) fn full_kind(&self) -> String {
        let kind = self.kind.to_lowercase();
        if self.group.is_empty() { kind } else { format!("{kind}.{}", self.group) }
    }

    /// The path of a collection, or of an object. The namespace of cluster-scoped resources is left out.
    pub(crate) fn path(&self, namespace: Option<&str>, name: Option<&str>) -> String {
        let mut path = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        if let Some(namespace) = namespace.filter(|namespace| self.namespaced && !namespace.is_empty()) {
            path.push_str("/namespaces/");
            client::http::url::escape(namespace, &mut path);
        }
        path.push('/');
        path.push_str(&self.plural);
        if let Some(name) = name {
            path.push('/');
            client::http::url::escape(name, &mut path);
        }
        path
    }

    pub(crate) fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|known| known == verb)
    }

    fn is_called(&self, name: &str) -> bool {
        self.plural == name || self.singular == name || self.kind.to_lowercase() == name
    }
}

/// What the server serves, preferred versions first within a group.
#[derive(Clone, Debug, Default)]
pub(crate) struct Discovery {
    resources: Vec<Arc<Resource>>,
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl Discovery {
    /// Asks the server.
    pub(crate) async fn load(rest: &Rest) -> Result<Self> {
        let mut all = Self::default();
        for root in ["/api", "/apis"] {
            let document = rest.get_as(root, AGGREGATED).await?;
            if document["kind"] == "APIGroupDiscoveryList" {
                all.aggregated(&document);
            } else {
                all.legacy(rest, root, &document).await?;
            }
        }
        Ok(all)
    }

    fn aggregated(&mut self, document: &Value) {
        for group in document["items"].as_array().into_iter().flatten() {
            let name = string(&group["metadata"]["name"]);
            for version in group["versions"].as_array().into_iter().flatten() {
                for entry in version["resources"].as_array().into_iter().flatten() {
                    let plural = string(&entry["resource"]);
                    let kind = string(&entry["responseKind"]["kind"]);
                    let singular = entry["singularResource"].as_str().filter(|name| !name.is_empty());
                    let subresources = entry["subresources"].as_array().into_iter().flatten();
                    self.resources.push(Arc::new(Resource {
                        group: name.clone(),
                        version: string(&version["version"]),
                        singular: singular.map_or_else(|| kind.to_lowercase(), str::to_owned),
                        plural,
                        kind,
                        namespaced: entry["scope"] == "Namespaced",
                        verbs: strings(&entry["verbs"]),
                        short_names: strings(&entry["shortNames"]),
                        categories: strings(&entry["categories"]),
                        subresources: subresources.map(|sub| string(&sub["subresource"])).collect(),
                    }));
                }
            }
        }
    }

    async fn legacy(&mut self, rest: &Rest, root: &str, document: &Value) -> Result<()> {
        let mut found = Vec::new();
        for version in strings(&document["versions"]) {
            found.push(version);
        }
        for group in document["groups"].as_array().into_iter().flatten() {
            let preferred = string(&group["preferredVersion"]["groupVersion"]);
            let others =
                group["versions"].as_array().into_iter().flatten().map(|v| string(&v["groupVersion"]));
            let others: Vec<String> = others.filter(|version| *version != preferred).collect();
            found.extend(std::iter::once(preferred).chain(others));
        }
        for version in found {
            // A group whose server is away must not hide the others.
            let Ok(list) = rest.get(&format!("{root}/{version}")).await else { continue };
            let Some(gv) = GroupVersion::parse(&version) else { continue };
            self.legacy_list(&gv, &list);
        }
        Ok(())
    }

    fn legacy_list(&mut self, gv: &GroupVersion, list: &Value) {
        let entries: Vec<&Value> = list["resources"].as_array().into_iter().flatten().collect();
        for entry in &entries {
            let name = string(&entry["name"]);
            if name.contains('/') {
                continue;
            }
            let kind = string(&entry["kind"]);
            let singular = entry["singularName"].as_str().filter(|name| !name.is_empty());
            let prefix = format!("{name}/");
            let subresources = entries
                .iter()
                .filter_map(|other| other["name"].as_str()?.strip_prefix(&prefix).map(str::to_owned));
            self.resources.push(Arc::new(Resource {
                group: gv.group.to_string(),
                version: gv.version.to_string(),
                singular: singular.map_or_else(|| kind.to_lowercase(), str::to_owned),
                subresources: subresources.collect(),
                plural: name,
                kind,
                namespaced: entry["namespaced"] == true,
                verbs: strings(&entry["verbs"]),
                short_names: strings(&entry["shortNames"]),
                categories: strings(&entry["categories"]),
            }));
        }
    }

    /// Everything, preferred versions first.
    pub(crate) fn all(&self) -> &[Arc<Resource>] {
        &self.resources
    }

    /// Everything in its preferred version.
    pub(crate) fn preferred(&self) -> Vec<Arc<Resource>> {
        let mut out: Vec<Arc<Resource>> = Vec::new();
        for resource in &self.resources {
            if !out.iter().any(|known| known.group == resource.group && known.plural == resource.plural) {
                out.push(resource.clone());
            }
        }
        out
    }

    /// The resource that a user calls `name`: plural, singular, kind or short name, with group or version and group.
    pub(crate) fn find(&self, name: &str) -> Result<Arc<Resource>> {
        let wanted = name.to_lowercase();
        let found = self.lookup(&wanted).or_else(|| {
            let (head, tail) =
                wanted.split_once('.').map_or((wanted.as_str(), ""), |(head, tail)| (head, tail));
            let short = self.resources.iter().find(|resource| {
                resource.short_names.iter().any(|short| short == head)
                    && (tail.is_empty()
                        || resource.group == tail
                        || resource.group.starts_with(&format!("{tail}.")))
            });
            short.cloned()
        });
        found.ok_or_else(|| message(format!("the server doesn't have a resource type {name:?}")))
    }

    fn lookup(&self, wanted: &str) -> Option<Arc<Resource>> {
        let exact = self.resources.iter().find(|resource| resource.is_called(wanted));
        if exact.is_some() {
            return exact.cloned();
        }
        let (name, rest) = wanted.split_once('.')?;
        let mut candidates = self.resources.iter().filter(|resource| resource.is_called(name));
        candidates
            .clone()
            .find(|resource| {
                resource.group == rest
                    || rest.split_once('.').is_some_and(|(version, group)| {
                        resource.version == version && resource.group == group
                    })
                    || (resource.group.is_empty() && rest == format!("{}.", resource.version))
            })
            .or_else(|| candidates.find(|resource| resource.group.starts_with(&format!("{rest}."))))
            .cloned()
    }

    /// The members of a category such as `all`.
    pub(crate) fn category(&self, name: &str) -> Vec<Arc<Resource>> {
        let mut members = self.preferred();
        members.retain(|resource| resource.categories.iter().any(|category| category == name));
        members
    }

    /// The resource of a manifest's kind.
    pub(crate) fn of_kind(&self, api_version: &str, kind: &str) -> Result<Arc<Resource>> {
        let Some(gv) = GroupVersion::parse(api_version) else {
            return fail(format!("unexpected GroupVersion string: {api_version}"));
        };
        let found = self.resources.iter().find(|resource| {
            resource.kind == kind && resource.group == gv.group && resource.version == gv.version
        });
        found
            .cloned()
            .ok_or_else(|| message(format!("no matches for kind {kind:?} in version {api_version:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn discovery() -> Discovery {
        let mut all = Discovery::default();
        all.aggregated(&json!({"items": [
            {"metadata": {}, "versions": [{"version": "v1", "resources": [
                {"resource": "pods", "responseKind": {"kind": "Pod"}, "scope": "Namespaced", "singularResource": "pod",
                 "shortNames": ["po"], "categories": ["all"], "verbs": ["get"]}]}]},
            {"metadata": {"name": "apps"}, "versions": [{"version": "v1", "resources": [
                {"resource": "deployments", "responseKind": {"kind": "Deployment"}, "scope": "Namespaced",
                 "singularResource": "deployment", "shortNames": ["deploy"], "categories": ["all"]}]}]},
        ]}));
        all
    }

    #[test]
    fn finds_resources_by_any_of_their_names() {
        let all = discovery();
        for name in [
            "deployments",
            "deployment",
            "Deployment",
            "deploy",
            "deployments.apps",
            "deployments.v1.apps",
            "deploy.apps",
        ] {
            assert_eq!(all.find(name).unwrap().plural, "deployments", "{name}");
        }
        assert_eq!(all.find("po").unwrap().plural, "pods");
        assert_eq!(
            all.find("foo").unwrap_err().text(),
            "error: the server doesn't have a resource type \"foo\""
        );
        assert_eq!(all.category("all").len(), 2);
    }

    #[test]
    fn paths() {
        let all = discovery();
        let deployments = all.find("deploy").unwrap();
        assert_eq!(deployments.path(Some("a"), Some("b")), "/apis/apps/v1/namespaces/a/deployments/b");
        assert_eq!(deployments.full_kind(), "deployment.apps");
    }
}
