//! Manifests: reading them before anything starts, applying them, and waiting until what they describe runs.

use crate::files;
use anyhow::{Context, Result, bail};
use api::table::ResourceTable;
use bytes::Bytes;
use client::{Client, Patch, WriteOptions};
use machinery::{GroupVersion, GroupVersionKind, GroupVersionResource};
use serde_json::Value;
use std::path::Path;

/// Who the fields of applied objects belong to.
const MANAGER: &str = "windlass";

/// One object of a manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// Group, version and kind.
    pub gvk: GroupVersionKind,
    /// Namespace, `default` where the manifest names none and the kind is namespaced.
    pub namespace: String,
    /// Name.
    pub name: String,
    resource: GroupVersionResource,
    namespaced: bool,
    object: Value,
}

/// Reads the objects of a file; errors name the file and which of its documents is wrong.
pub fn read(path: &Path) -> Result<Vec<Manifest>> {
    let text = files::read(path)?;
    parse(&text).with_context(|| format!("{} cannot be applied", path.display()))
}

/// Parses YAML or JSON, one or more documents.
pub fn parse(text: &str) -> Result<Vec<Manifest>> {
    let documents = machinery::codec::yaml::decode_all(text.as_bytes())?;
    let mut manifests = Vec::new();
    for (number, document) in (1..).zip(documents) {
        if !document.value.is_null() {
            manifests.push(manifest(document.value).with_context(|| format!("document {number}"))?);
        }
    }
    if manifests.is_empty() {
        bail!("it holds no objects");
    }
    Ok(manifests)
}

fn manifest(object: Value) -> Result<Manifest> {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (api_version, kind, name) = (text("/apiVersion"), text("/kind"), text("/metadata/name"));
    if kind.is_empty() {
        bail!("kind is not set");
    }
    if name.is_empty() {
        bail!("metadata.name is not set");
    }
    let gv = GroupVersion::parse(&api_version)
        .with_context(|| format!("apiVersion {api_version:?} is not valid"))?;
    let gvk = GroupVersionKind { group: gv.group, version: gv.version, kind: kind.into() };
    let Some(def) = ResourceTable::shared().by_gvk(&gvk) else {
        bail!(
            "no matches for kind {:?} in version {api_version:?}; custom resources need 'windlass kubectl apply'",
            gvk.kind
        )
    };
    let mut namespace = text("/metadata/namespace");
    if namespace.is_empty() && def.namespaced {
        "default".clone_into(&mut namespace);
    }
    Ok(Manifest { resource: def.gvr(), namespaced: def.namespaced, gvk, namespace, name, object })
}

impl Manifest {
    /// How messages name it: `deployment.apps/web`.
    pub fn label(&self) -> String {
        let kind = self.gvk.kind.to_lowercase();
        if self.gvk.group.is_empty() {
            format!("{kind}/{}", self.name)
        } else {
            format!("{kind}.{}/{}", self.gvk.group, self.name)
        }
    }

    /// Server-side apply, taking over conflicting fields.
    pub async fn apply(&self, client: &Client) -> Result<()> {
        let mut target = api::transport::Target::all(self.resource.clone()).named(&self.name);
        if self.namespaced {
            target = target.in_namespace(&self.namespace);
        }
        let options =
            WriteOptions { field_manager: Some(MANAGER.to_owned()), force: true, ..WriteOptions::default() };
        let patch = Patch::Apply(Bytes::from(self.object.to_string()));
        client
            .transport()
            .patch(&target, patch, &options)
            .await
            .with_context(|| format!("failed to apply {}", self.label()))?;
        Ok(())
    }
}

/// Fills placeholders: `{name}` becomes `value`.
pub fn fill(template: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(template.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_manifests_parse() {
        let values = [("image", "x:1"), ("domain", "cluster.local"), ("dns-ip", "10.96.0.10")];
        for text in
            [include_str!("../manifests/cluster-dns.yaml"), include_str!("../manifests/local-path.yaml")]
        {
            let filled = fill(text, &values);
            assert!(!parse(&filled).unwrap().is_empty());
        }
    }

    #[test]
    fn errors_name_the_document() {
        let good = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n";
        let error = parse(&format!("{good}---\nkind: Pod\n")).unwrap_err();
        assert_eq!(format!("{error:#}"), "document 2: metadata.name is not set");
        let error = parse("apiVersion: v1\nkind: Nope\nmetadata: {name: a}\n").unwrap_err();
        assert!(format!("{error:#}").contains("no matches for kind \"Nope\""), "{error:#}");
    }
}
