//! `configMapGenerator` and `secretGenerator`, and the hash of the content in the names of what they make.

use super::read;
use super::resource::Resource;
use super::strings;
use crate::error::{Result, fail, message};
use crate::print::to_compact_json;
use base64::Engine;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::path::Path;

pub(super) fn run(root: &Path, file: &Value, all: &mut Vec<Resource>) -> Result<()> {
    for (field, kind) in [("configMapGenerator", "ConfigMap"), ("secretGenerator", "Secret")] {
        for entry in file[field].as_array().into_iter().flatten() {
            let made = generate(root, entry, kind, &file["generatorOptions"])?;
            merge(made, entry["behavior"].as_str().unwrap_or("create"), all)?;
        }
    }
    Ok(())
}

/// Keys and contents in the order of the file.
fn pairs(root: &Path, entry: &Value) -> Result<Vec<(String, Vec<u8>)>> {
    let mut out = Vec::new();
    let mut envs = strings(&entry["envs"]);
    envs.extend(entry["env"].as_str().map(str::to_owned));
    for name in envs {
        let text = String::from_utf8(read(root, &name)?)
            .map_err(|_| message(format!("env source file {name:?} is no UTF-8 text")))?;
        for line in text.trim_start_matches('\u{feff}').lines().map(str::trim_start) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match line.split_once('=') {
                Some((key, value)) => out.push((key.to_owned(), value.as_bytes().to_vec())),
                None => out.push((line.to_owned(), std::env::var(line).unwrap_or_default().into_bytes())),
            }
        }
    }
    for source in strings(&entry["files"]) {
        let (key, name) = match source.split_once('=') {
            Some((key, name)) => (key.to_owned(), name.to_owned()),
            None => (source.rsplit('/').next().unwrap_or(&source).to_owned(), source.clone()),
        };
        out.push((key, read(root, &name)?));
    }
    for literal in strings(&entry["literals"]) {
        let Some((key, value)) = literal.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return fail(format!("invalid literal source {literal}, expected key=value"));
        };
        let quoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
        out.push((key.to_owned(), quoted.unwrap_or(value).as_bytes().to_vec()));
    }
    Ok(out)
}

fn generate(root: &Path, entry: &Value, kind: &str, general: &Value) -> Result<Resource> {
    let Some(name) = entry["name"].as_str() else {
        return fail(format!("a generator of {kind} has no name"));
    };
    let mut made = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}});
    if let Some(namespace) = entry["namespace"].as_str() {
        made["metadata"]["namespace"] = namespace.into();
    }
    if kind == "Secret" {
        made["type"] = entry["type"].as_str().unwrap_or("Opaque").into();
    }
    let encode = |bytes: &[u8]| Value::from(base64::engine::general_purpose::STANDARD.encode(bytes));
    for (key, bytes) in pairs(root, entry)? {
        let (field, value) = match (kind, std::str::from_utf8(&bytes)) {
            ("Secret", _) => ("data", encode(&bytes)),
            (_, Ok(text)) => ("data", text.into()),
            (_, Err(_)) => ("binaryData", encode(&bytes)),
        };
        if !made[field][&key].is_null() {
            return fail(format!(
                "cannot add key {key:?} to {kind} {name:?}: another key by that name already exists"
            ));
        }
        made[field][&key] = value;
    }
    let own = &entry["options"];
    for field in ["labels", "annotations"] {
        let mut map: Map<String, Value> = general[field].as_object().cloned().unwrap_or_default();
        map.extend(own[field].as_object().cloned().unwrap_or_default());
        if !map.is_empty() {
            made["metadata"][field] = Value::Object(map);
        }
    }
    if own["immutable"] == true || (own["immutable"].is_null() && general["immutable"] == true) {
        made["immutable"] = true.into();
    }
    let plain = own["disableNameSuffixHash"] == true || general["disableNameSuffixHash"] == true;
    Ok(Resource { hashed: !plain, ..Resource::new(made) })
}

fn merge(made: Resource, behavior: &str, all: &mut Vec<Resource>) -> Result<()> {
    let is_it = |other: &&mut Resource| {
        other.kind() == made.kind()
            && other.was_called(made.name(), None)
            && (made.namespace().is_empty() || other.was_called(made.name(), Some(made.namespace())))
    };
    let known = all.iter_mut().find(is_it);
    match (behavior, known) {
        ("create", None) => all.push(made),
        ("create", Some(known)) => {
            return fail(format!(
                "may not add resource with an already registered id: {}; use behavior merge or replace",
                known.id()
            ));
        }
        ("merge" | "replace", None) => {
            return fail(format!("id {} does not exist; cannot merge or replace", made.id()));
        }
        ("merge", Some(known)) => {
            for field in ["data", "binaryData"] {
                for (key, value) in made.value[field].as_object().into_iter().flatten() {
                    known.value[field][key.as_str()] = value.clone();
                }
            }
            for field in ["labels", "annotations"] {
                for (key, value) in made.value["metadata"][field].as_object().into_iter().flatten() {
                    known.value["metadata"][field][key.as_str()] = value.clone();
                }
            }
        }
        ("replace", Some(known)) => {
            for field in ["data", "binaryData"] {
                match made.value.get(field) {
                    Some(value) => known.value[field] = value.clone(),
                    None => {
                        known.value.as_object_mut().map(|map| map.remove(field));
                    }
                }
            }
        }
        (other, _) => {
            return fail(format!(
                "unknown behavior {other:?} of a generator: write create, merge or replace"
            ));
        }
    }
    Ok(())
}

/// Adds the hash of their content to the names of what generators made.
pub(super) fn add_hashes(all: &mut [Resource]) {
    for resource in all.iter_mut().filter(|resource| resource.hashed) {
        let name = format!("{}-{}", resource.name(), hash(&resource.value));
        resource.rename(name);
    }
}

fn hash(value: &Value) -> String {
    let mut content = json!({"kind": value["kind"], "name": "", "data": value.get("data").cloned().unwrap_or_else(|| "".into())});
    if value["kind"] == "Secret" {
        content["type"] = value["type"].clone();
    }
    if let Some(binary) = value.get("binaryData") {
        content["binaryData"] = binary.clone();
    }
    let text = to_compact_json(&content);
    let digest = Sha256::digest(text.trim_end_matches('\n').as_bytes());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    // No letters or digits that make words or are mistaken for others.
    let soften = |c: char| match c {
        '0' => 'g',
        '1' => 'h',
        '3' => 'k',
        'a' => 'm',
        'e' => 't',
        other => other,
    };
    hex.chars().take(10).map(soften).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_kustomizes() {
        let secret = json!({"kind": "Secret", "type": "Opaque", "data": {"p": "c2VjcmV0"}, "metadata": {"name": "keys"}});
        assert_eq!(hash(&secret), "4k4899t6bh");
    }
}
