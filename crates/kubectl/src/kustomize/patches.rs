//! `patches`, `patchesStrategicMerge` and `patchesJson6902`.

use super::read;
use super::resource::Resource;
use super::strings;
use crate::error::{Result, fail, message};
use api::schema::BuiltIn;
use machinery::GroupVersionKind;
use machinery::codec::yaml;
use machinery::labels::Selector;
use machinery::patch::{json, merge, strategic};
use regex::Regex;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Before names and labels are changed, or after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    First,
    Late,
}

/// Applies the patches of a kustomization; what they delete goes.
pub(super) fn run(root: &Path, file: &Value, all: &mut Vec<Resource>, when: When) -> Result<()> {
    change(root, file, all, when)?;
    all.retain(|resource| !resource.value.is_null());
    Ok(())
}

/// The same, where nothing can be deleted.
pub(super) fn change(root: &Path, file: &Value, all: &mut [Resource], when: When) -> Result<()> {
    if when == When::Late {
        for entry in file["patchesJson6902"].as_array().into_iter().flatten() {
            one(root, entry, all)?;
        }
        return Ok(());
    }
    for entry in strings(&file["patchesStrategicMerge"]) {
        // A file, or the patch itself.
        let text = if root.join(&entry).is_file() {
            String::from_utf8_lossy(&read(root, &entry)?).into_owned()
        } else {
            entry
        };
        for document in documents(&text)? {
            merged(all, &document)?;
        }
    }
    for entry in file["patches"].as_array().into_iter().flatten() {
        one(root, entry, all)?;
    }
    Ok(())
}

fn documents(text: &str) -> Result<Vec<Value>> {
    let all = yaml::decode_all(text.as_bytes())
        .map_err(|error| message(format!("unable to parse a patch: {error}")))?;
    Ok(all.into_iter().map(|document| document.value).filter(|value| !value.is_null()).collect())
}

fn one(root: &Path, entry: &Value, all: &mut [Resource]) -> Result<()> {
    let text = match (entry["path"].as_str(), entry["patch"].as_str()) {
        (Some(path), None) => String::from_utf8_lossy(&read(root, path)?).into_owned(),
        (None, Some(text)) => text.to_owned(),
        _ => return fail("a patch must have one of patch and path"),
    };
    let target = entry["target"].as_object().filter(|target| !target.is_empty());
    for patch in documents(&text)? {
        match (target, patch.is_array()) {
            (None, true) => return fail("must specify a target for JSON patch"),
            (None, false) => merged(all, &patch)?,
            (Some(_), _) => {
                let target = Target::parse(&entry["target"])?;
                for resource in all.iter_mut().filter(|resource| target.is(resource)) {
                    apply(resource, &patch, &entry["options"])?;
                }
            }
        }
    }
    Ok(())
}

/// Applies a patch that names its own target.
fn merged(all: &mut [Resource], patch: &Value) -> Result<()> {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, name) = (word(&patch["kind"]), word(&patch["metadata"]["name"]));
    let group = word(&patch["apiVersion"]);
    let group = group.split_once('/').map_or("", |(group, _)| group).to_owned();
    let namespace = patch["metadata"]["namespace"].as_str();
    let mut found = false;
    for resource in all.iter_mut().filter(|resource| !resource.value.is_null()) {
        if resource.kind() == kind && resource.version().0 == group && resource.was_called(&name, namespace) {
            apply(resource, patch, &Value::Null)?;
            found = true;
        }
    }
    if found {
        Ok(())
    } else {
        fail(format!("no resource matches strategic merge patch {kind:?} {name:?}: no matches for its id"))
    }
}

/// Which objects a patch is for.
struct Target {
    group: Option<Regex>,
    version: Option<Regex>,
    kind: Option<Regex>,
    name: Option<Regex>,
    namespace: Option<Regex>,
    labels: Option<Selector>,
    annotations: Option<Selector>,
}

impl Target {
    fn parse(target: &Value) -> Result<Self> {
        let pattern = |field: &str| -> Result<Option<Regex>> {
            let Some(text) = target[field].as_str().filter(|text| !text.is_empty()) else { return Ok(None) };
            let whole = Regex::new(&format!("^(?:{text})$"));
            whole
                .map(Some)
                .map_err(|error| message(format!("invalid {field} {text:?} of a patch's target: {error}")))
        };
        let selector = |field: &str| -> Result<Option<Selector>> {
            target[field].as_str().map(Selector::parse).transpose().map_err(message)
        };
        Ok(Self {
            group: pattern("group")?,
            version: pattern("version")?,
            kind: pattern("kind")?,
            name: pattern("name")?,
            namespace: pattern("namespace")?,
            labels: selector("labelSelector")?,
            annotations: selector("annotationSelector")?,
        })
    }

    fn is(&self, resource: &Resource) -> bool {
        if resource.value.is_null() {
            return false;
        }
        let fits = |pattern: &Option<Regex>, text: &str| {
            pattern.as_ref().is_none_or(|pattern| pattern.is_match(text))
        };
        let selected = |selector: &Option<Selector>, field: &str| {
            let map: BTreeMap<String, String> = resource.value["metadata"][field]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
                .collect();
            selector.as_ref().is_none_or(|selector| selector.matches(&map))
        };
        let (group, version) = resource.version();
        let now = (resource.name().to_owned(), resource.namespace().to_owned());
        let called = resource
            .before
            .iter()
            .chain([&now])
            .any(|(name, namespace)| fits(&self.name, name) && fits(&self.namespace, namespace));
        fits(&self.group, group)
            && fits(&self.version, version)
            && fits(&self.kind, resource.kind())
            && called
            && selected(&self.labels, "labels")
            && selected(&self.annotations, "annotations")
    }
}

/// Applies a patch; a deleted object becomes null. The name and kind stay unless `options` let them change.
fn apply(resource: &mut Resource, patch: &Value, options: &Value) -> Result<()> {
    let before = resource.value.clone();
    let id = resource.id();
    let refuse = |why: String| message(format!("failed to apply a patch to {id}: {why}"));
    if patch.is_array() {
        json::apply(&mut resource.value, patch.clone()).map_err(|status| refuse(status.message))?;
    } else {
        if patch["$patch"] == "delete" {
            resource.value = Value::Null;
            return Ok(());
        }
        let mut patch = patch.clone();
        if let Some(metadata) = patch["metadata"].as_object_mut() {
            if options["allowNameChange"] != true {
                metadata.remove("name");
            }
            metadata.remove("namespace");
        }
        if options["allowKindChange"] != true
            && let Some(map) = patch.as_object_mut()
        {
            map.remove("kind");
            map.remove("apiVersion");
        }
        let (group, version) = resource.version();
        let gvk = GroupVersionKind::new(group.to_owned(), version.to_owned(), resource.kind().to_owned());
        match BuiltIn.root(&gvk) {
            Some(ty) => strategic::apply(&mut resource.value, patch, &BuiltIn, ty)
                .map_err(|error| refuse(error.to_string()))?,
            None => merge::merge(&mut resource.value, patch),
        }
    }
    if resource.value["metadata"]["name"] != before["metadata"]["name"] {
        if options["allowNameChange"] == true {
            let new = resource.value["metadata"]["name"].take();
            resource.value["metadata"]["name"] = before["metadata"]["name"].clone();
            resource.rename(new.as_str().unwrap_or_default().to_owned());
        } else if patch.is_array() {
            resource.value["metadata"]["name"] = before["metadata"]["name"].clone();
        }
    }
    if resource.value["kind"] != before["kind"] && options["allowKindChange"] != true {
        resource.value["kind"] = before["kind"].clone();
    }
    Ok(())
}
