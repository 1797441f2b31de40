//! Kustomizations: directories whose `kustomization.yaml` says which manifests there are and how they are changed. Built here
//! from the rules of kustomize's documentation; what is not built is an error that names the field.
//!
//! Deliberately absent: anything fetched over the network, plugins, Helm charts, `vars`.

mod fields;
mod generate;
mod patches;
mod refs;
mod resource;
mod transform;

use crate::error::{Result, fail, message};
use machinery::codec::yaml;
use resource::Resource;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What a kustomization's file may be called.
const NAMES: &[&str] = &["kustomization.yaml", "kustomization.yml", "Kustomization"];
/// Deepest nesting of kustomizations.
const MAX_DEPTH: usize = 32;

/// Every field that is understood.
const FIELDS: &[&str] = &[
    "apiVersion",
    "kind",
    "metadata",
    "resources",
    "bases",
    "components",
    "namespace",
    "namePrefix",
    "nameSuffix",
    "labels",
    "commonLabels",
    "commonAnnotations",
    "images",
    "replicas",
    "patches",
    "patchesStrategicMerge",
    "patchesJson6902",
    "configMapGenerator",
    "secretGenerator",
    "generatorOptions",
    "sortOptions",
];
/// Fields of kustomize that are not built.
const ABSENT: &[&str] = &[
    "vars",
    "replacements",
    "helmCharts",
    "helmGlobals",
    "helmChartInflationGenerator",
    "generators",
    "transformers",
    "validators",
    "crds",
    "openapi",
    "configurations",
    "buildMetadata",
    "inventory",
];

/// Builds a directory's kustomization: the objects in the order in which they are printed and applied. `warn` is told what
/// is deprecated.
pub(crate) fn build(directory: &Path, warn: &mut dyn FnMut(&str)) -> Result<Vec<Value>> {
    let mut builder = Builder { warn, stack: Vec::new(), first_come: false };
    let mut all = builder.directory(directory)?;
    generate::add_hashes(&mut all);
    refs::fix(&mut all);
    if !builder.first_come {
        all.sort_by_key(Resource::order);
    }
    Ok(all.into_iter().map(|resource| resource.value).collect())
}

struct Builder<'a> {
    warn: &'a mut dyn FnMut(&str),
    /// The kustomizations that are being built, outermost first.
    stack: Vec<PathBuf>,
    first_come: bool,
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

/// A path for errors, as the system sees it.
fn canonical(path: &Path) -> Result<PathBuf> {
    path.canonicalize()
        .map_err(|error| message(format!("failed to read {}: {error}; check the path", path.display())))
}

/// A file of a kustomization; only ones in or below its directory are read.
fn read(root: &Path, name: &str) -> Result<Vec<u8>> {
    let path = canonical(&root.join(name))?;
    if !path.starts_with(root) {
        return fail(format!("security; file '{}' is not in or below '{}'", path.display(), root.display()));
    }
    std::fs::read(&path).map_err(|error| message(format!("failed to read {}: {error}", path.display())))
}

impl Builder<'_> {
    fn load(&mut self, root: &Path) -> Result<Value> {
        let found: Vec<PathBuf> =
            NAMES.iter().map(|name| root.join(name)).filter(|path| path.is_file()).collect();
        let file = match found.as_slice() {
            [one] => one,
            [] => {
                return fail(format!(
                    "unable to find one of 'kustomization.yaml', 'kustomization.yml' or 'Kustomization' in directory '{}'",
                    root.display()
                ));
            }
            _ => return fail(format!("Found multiple kustomization files under: {}", root.display())),
        };
        let bytes = std::fs::read(file)?;
        let decoded =
            yaml::decode(&bytes).map_err(|error| message(format!("invalid Kustomization: {error}")))?;
        let Some(map) = decoded.value.as_object().filter(|map| !map.is_empty()) else {
            return fail("kustomization.yaml is empty");
        };
        for field in map.keys() {
            if ABSENT.contains(&field.as_str()) {
                return fail(format!(
                    "{}: {field} is not supported by this version of Windlass; render it with kustomize",
                    file.display()
                ));
            }
            if !FIELDS.contains(&field.as_str()) {
                return fail(format!("invalid Kustomization: json: unknown field {field:?}"));
            }
        }
        for (old, new) in [
            ("bases", "resources"),
            ("commonLabels", "labels"),
            ("patchesStrategicMerge", "patches"),
            ("patchesJson6902", "patches"),
        ] {
            if map.contains_key(old) {
                (self.warn)(&format!(
                    "# Warning: '{old}' is deprecated. Please use '{new}' instead. Run 'kustomize edit fix' to update your \
                     Kustomization automatically."
                ));
            }
        }
        Ok(decoded.value)
    }

    fn directory(&mut self, directory: &Path) -> Result<Vec<Resource>> {
        let root = self.enter(directory)?;
        let file = self.load(&root)?;
        let mut all = Vec::new();
        self.into(&root, &file, &mut all)?;
        self.stack.pop();
        Ok(all)
    }

    fn enter(&mut self, directory: &Path) -> Result<PathBuf> {
        let root = canonical(directory)?;
        if !root.is_dir() {
            return fail(format!("'{}' is no directory", root.display()));
        }
        if self.stack.contains(&root) {
            return fail(format!(
                "cycle detected: candidate root '{}' contains visited root",
                root.display()
            ));
        }
        if self.stack.len() >= MAX_DEPTH {
            return fail(format!(
                "kustomizations are nested more than {MAX_DEPTH} deep at '{}'",
                root.display()
            ));
        }
        self.stack.push(root.clone());
        Ok(root)
    }

    /// Adds what a kustomization holds to `all`, and changes it.
    fn into(&mut self, root: &Path, file: &Value, all: &mut Vec<Resource>) -> Result<()> {
        if self.stack.len() == 1 {
            self.first_come = file["sortOptions"]["order"] == "fifo";
        }
        for entry in strings(&file["resources"]).into_iter().chain(strings(&file["bases"])) {
            for resource in self.entry(root, &entry)? {
                if all.iter().any(|other| other.is_same(&resource)) {
                    return fail(format!(
                        "may not add resource with an already registered id: {}",
                        resource.id()
                    ));
                }
                all.push(resource);
            }
        }
        generate::run(root, file, all)?;
        for entry in strings(&file["components"]) {
            let component = self.enter(&root.join(&entry))?;
            let inner = self.load(&component)?;
            if inner["kind"] != "Component" {
                return fail(format!("accumulating components: '{}' is no Component", component.display()));
            }
            self.into(&component, &inner, all)?;
            self.stack.pop();
        }
        patches::run(root, file, all, patches::When::First)?;
        transform::run(file, all, root)?;
        refs::fix(all);
        Ok(())
    }

    /// The objects of a file, or of another kustomization.
    fn entry(&mut self, root: &Path, entry: &str) -> Result<Vec<Resource>> {
        let path = root.join(entry);
        if entry.contains("://") || entry.starts_with("github.com/") || entry.contains("?ref=") {
            return fail(format!(
                "accumulating resources from '{entry}': only files and directories of this machine are read; clone it first"
            ));
        }
        if path.is_dir() {
            return self.directory(&path);
        }
        let bytes = read(root, entry).map_err(|error| {
            message(format!(
                "accumulating resources from '{entry}': {}",
                error.text().trim_start_matches("error: ")
            ))
        })?;
        parse(entry, &bytes)
    }
}

fn parse(name: &str, bytes: &[u8]) -> Result<Vec<Resource>> {
    let documents = yaml::decode_all(bytes)
        .map_err(|error| message(format!("accumulating resources from '{name}': {error}")))?;
    let mut out = Vec::new();
    for document in documents.into_iter().filter(|document| !document.value.is_null()) {
        let mut value = document.value;
        let is_list =
            value["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) && value["items"].is_array();
        let items = if is_list {
            value["items"].as_array_mut().map(std::mem::take).unwrap_or_default()
        } else {
            vec![value]
        };
        for item in items {
            if item["kind"].as_str().is_none_or(str::is_empty)
                || item["metadata"]["name"].as_str().is_none_or(str::is_empty)
            {
                return fail(format!(
                    "accumulating resources from '{name}': missing kind or metadata.name in an object"
                ));
            }
            out.push(Resource::new(item));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }

    fn built(root: &Path) -> Result<String> {
        let mut texts = Vec::new();
        for value in build(root, &mut |_| ())? {
            texts.push(crate::print::to_yaml(&value)?);
        }
        Ok(texts.join("---\n"))
    }

    /// The expectation is what a stock kubectl prints.
    #[test]
    fn an_overlay_changes_its_base() {
        let dir = tempfile::tempdir().unwrap();
        write(
            dir.path(),
            &[
                (
                    "base/kustomization.yaml",
                    "resources: [pod.yaml]\nconfigMapGenerator: [{name: settings, literals: [a=1]}]\n",
                ),
                (
                    "base/pod.yaml",
                    "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers:\n  - {name: c, image: 'nginx:1', envFrom: [{configMapRef: {name: settings}}]}\n",
                ),
                (
                    "over/kustomization.yaml",
                    "namespace: shop\nnamePrefix: p-\nresources: [../base]\nimages: [{name: nginx, newTag: '2'}]\nconfigMapGenerator: [{name: settings, behavior: merge, literals: [b=2]}]\npatches:\n- target: {kind: Pod}\n  patch: '[{\"op\":\"add\",\"path\":\"/metadata/labels\",\"value\":{\"x\":\"y1\"}}]'\n",
                ),
            ],
        );
        assert_eq!(
            built(&dir.path().join("over")).unwrap(),
            "apiVersion: v1\ndata:\n  a: \"1\"\n  b: \"2\"\nkind: ConfigMap\nmetadata:\n  name: p-settings-7gdc49gk6d\n  namespace: shop\n---\napiVersion: v1\nkind: Pod\nmetadata:\n  labels:\n    x: y1\n  name: p-web\n  namespace: shop\nspec:\n  containers:\n  - envFrom:\n    - configMapRef:\n        name: p-settings-7gdc49gk6d\n    image: nginx:2\n    name: c\n"
        );
    }

    #[test]
    fn bad_kustomizations_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        write(
            dir.path(),
            &[
                ("outside.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n"),
                ("unknown/kustomization.yaml", "resourcez: []\n"),
                ("escapes/kustomization.yaml", "resources: [../outside.yaml]\n"),
                ("cycle/kustomization.yaml", "resources: [../cycle]\n"),
                ("absent/kustomization.yaml", "vars: []\n"),
                ("twice/kustomization.yaml", "resources: [a.yaml, b.yaml]\n"),
                ("twice/a.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n"),
                ("twice/b.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n"),
            ],
        );
        for (name, expected) in [
            ("unknown", "unknown field \"resourcez\""),
            ("escapes", "is not in or below"),
            ("cycle", "cycle detected"),
            ("absent", "vars is not supported"),
            ("twice", "already registered id"),
            ("none", "check the path"),
        ] {
            let said = built(&dir.path().join(name)).unwrap_err().text();
            assert!(said.contains(expected), "{name}: {said}");
        }
    }
}
