//! `--admission-control-config-file`: AdmissionConfiguration (`apiserver.config.k8s.io/v1`), which gives plugins their
//! own configurations, in place or in files beside it.
//!
//! Deliberately absent: what the plugins make of it.

use machinery::{Status, codec};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Bytes that a file may have.
const MAX_BYTES: u64 = 1 << 20;

/// The configurations of plugins by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Configurations(BTreeMap<String, Value>);

fn failed(path: &Path, why: impl std::fmt::Display) -> Status {
    Status::bad_request(format!(
        "failed to read the admission configuration {}: {why}; see --admission-control-config-file",
        path.display()
    ))
}

/// Reads at the start of the server, before anything is served.
fn read(path: &Path) -> Result<Value, Status> {
    let size = std::fs::metadata(path).map_err(|error| failed(path, error))?.len();
    if size > MAX_BYTES {
        return Err(failed(path, format!("it has more than {MAX_BYTES} bytes")));
    }
    let bytes = std::fs::read(path).map_err(|error| failed(path, error))?;
    let mut values = codec::yaml::decode_all(&bytes).map_err(|error| failed(path, error))?;
    match values.len() {
        1 => Ok(values.remove(0).value),
        found => Err(failed(path, format!("one document is expected, there are {found}"))),
    }
}

impl Configurations {
    /// Reads the file and those that it names, relative to its own directory.
    pub(crate) fn read(path: Option<&Path>) -> Result<Self, Status> {
        let Some(path) = path else { return Ok(Self::default()) };
        let tree = read(path)?;
        let text =
            |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (kind, version) = (text(&tree, "kind"), text(&tree, "apiVersion"));
        if kind != "AdmissionConfiguration" || version != "apiserver.config.k8s.io/v1" {
            let why = "it must be an AdmissionConfiguration of apiserver.config.k8s.io/v1";
            return Err(failed(path, why));
        }
        let mut all = BTreeMap::new();
        for plugin in tree.get("plugins").and_then(Value::as_array).into_iter().flatten() {
            let (name, file) = (text(plugin, "name"), text(plugin, "path"));
            let configuration = match plugin.get("configuration").filter(|value| !value.is_null()) {
                Some(inline) => inline.clone(),
                None if file.is_empty() => continue,
                None => read(&path.parent().unwrap_or(Path::new(".")).join(file))?,
            };
            if all.insert(name.clone(), configuration).is_some() {
                return Err(failed(path, format!("the plugin {name:?} is configured twice")));
            }
        }
        Ok(Self(all))
    }

    /// The configuration of a plugin.
    pub(crate) fn of(&self, plugin: &str) -> Option<&Value> {
        self.0.get(plugin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_are_configured_in_place_or_beside() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("other.yaml"), "a: 1\n").unwrap();
        let path = dir.path().join("all.yaml");
        let head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n";
        std::fs::write(
            &path,
            format!("{head}- name: A\n  path: other.yaml\n- name: B\n  configuration: {{b: 2}}\n"),
        )
        .unwrap();
        let read = Configurations::read(Some(&path)).unwrap();
        assert_eq!((&read.of("A").unwrap()["a"], &read.of("B").unwrap()["b"]), (&1.into(), &2.into()));
        assert!(read.of("C").is_none());
        std::fs::write(&path, format!("{head}- name: A\n  path: missing.yaml\n")).unwrap();
        assert!(Configurations::read(Some(&path)).unwrap_err().message.contains("missing.yaml"));
        std::fs::write(&path, "kind: Other\n").unwrap();
        assert!(Configurations::read(Some(&path)).is_err());
    }
}
