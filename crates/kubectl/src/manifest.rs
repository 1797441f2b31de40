//! Manifests from files, directories and standard input: YAML or JSON, several documents, lists taken apart.

use crate::error::{Error, Result, fail, message};
use crate::session::Session;
use machinery::codec::{json, yaml};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Deepest directory that `-R` reads.
const MAX_DEPTH: usize = 32;

/// One object of a manifest.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    /// The file; `STDIN` for standard input.
    pub(crate) source: String,
    pub(crate) value: Value,
}

/// Reads everything that `-f` names.
pub(crate) async fn read(session: &Session, files: &[String], recursive: bool) -> Result<Vec<Manifest>> {
    let mut out = Vec::new();
    for file in files {
        if file == "-" {
            let bytes = session.streams.read_all().await?;
            parse("STDIN", &bytes, &mut out)?;
        } else if file.starts_with("http://") || file.starts_with("https://") {
            return fail(format!(
                "reading {file:?} is not supported: only files of this machine are read; download it first"
            ));
        } else {
            for path in expand(Path::new(file), recursive)? {
                let bytes = tokio::fs::read(&path)
                    .await
                    .map_err(|error| message(format!("error reading {}: {error}", path.display())))?;
                parse(&path.display().to_string(), &bytes, &mut out)?;
            }
        }
    }
    Ok(out)
}

/// What `-k` names.
pub(crate) fn kustomized(session: &Session, directory: &Path) -> Result<Vec<Manifest>> {
    let built = crate::kustomize::build(directory, &mut |text| session.streams.warn(text))?;
    let source = directory.display().to_string();
    Ok(built.into_iter().map(|value| Manifest { source: source.clone(), value }).collect())
}

fn expand(path: &Path, recursive: bool) -> Result<Vec<PathBuf>> {
    if !path.exists() {
        return fail(format!("the path {:?} does not exist", path.display().to_string()));
    }
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut out = Vec::new();
    walk(path, recursive, 0, &mut out)?;
    if out.is_empty() {
        return fail(format!(
            "error reading [{}]: recognized file extensions are [.json .yaml .yml]",
            path.display()
        ));
    }
    Ok(out)
}

fn walk(directory: &Path, recursive: bool, depth: usize, out: &mut Vec<PathBuf>) -> Result<()> {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(directory)?.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            if recursive && depth < MAX_DEPTH {
                walk(&path, recursive, depth + 1, out)?;
            }
        } else if path.extension().is_some_and(|kind| kind == "json" || kind == "yaml" || kind == "yml") {
            out.push(path);
        }
    }
    Ok(())
}

fn parse(source: &str, bytes: &[u8], out: &mut Vec<Manifest>) -> Result<()> {
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    let documents = if first == Some(&b'{') {
        json::decode(bytes).map(|decoded| vec![decoded]).or_else(|_| yaml::decode_all(bytes))
    } else {
        yaml::decode_all(bytes)
    };
    let documents = documents.map_err(|error| {
        message(format!("error parsing {source}: error converting YAML to JSON: {error}"))
    })?;
    for document in documents {
        if let Some(duplicate) = document.duplicates.first() {
            return fail(format!("error parsing {source}: error converting YAML to JSON: yaml: {duplicate}"));
        }
        add(source, document.value, out, 0)?;
    }
    Ok(())
}

fn add(source: &str, value: Value, out: &mut Vec<Manifest>, depth: usize) -> Result<()> {
    if value.is_null() {
        return Ok(());
    }
    let shown = || value.to_string().chars().take(500).collect::<String>();
    for (field, what) in [("apiVersion", "apiVersion"), ("kind", "Kind")] {
        if value[field].as_str().is_none_or(str::is_empty) {
            let text = if field == "kind" {
                format!("Object '{what}' is missing in '{}'", shown())
            } else {
                "error validating data: apiVersion not set".to_owned()
            };
            return Err(Error::Message(if field == "kind" {
                format!("unable to decode {source:?}: {text}")
            } else {
                format!(
                    "error validating {source:?}: {text}; if you choose to ignore these errors, turn validation off with --validate=false"
                )
            }));
        }
    }
    let is_list =
        value["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) && value["items"].is_array();
    if is_list && depth < 4 {
        if let Value::Object(mut map) = value
            && let Some(Value::Array(items)) = map.remove("items")
        {
            for item in items {
                add(source, item, out, depth + 1)?;
            }
        }
        return Ok(());
    }
    out.push(Manifest { source: source.to_owned(), value });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<Manifest>> {
        let mut out = Vec::new();
        parse("f.yaml", text.as_bytes(), &mut out).map(|()| out)
    }

    #[test]
    fn documents_and_lists_are_taken_apart() {
        let text = "apiVersion: v1\nkind: A\n---\n# nothing\n---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: B}\n- {apiVersion: v1, kind: C}\n";
        let kinds: Vec<String> = parsed(text).unwrap().iter().map(|m| m.value["kind"].to_string()).collect();
        assert_eq!(kinds, ["\"A\"", "\"B\"", "\"C\""]);
        assert_eq!(parsed("{\"apiVersion\": \"v1\", \"kind\": \"A\"}").unwrap().len(), 1);
    }

    #[test]
    fn says_what_is_wrong() {
        assert!(parsed("apiVersion: v1\n").unwrap_err().text().contains("Object 'Kind' is missing"));
        assert!(parsed("kind: A\n").unwrap_err().text().contains("apiVersion not set"));
        assert!(
            parsed("a: [")
                .unwrap_err()
                .text()
                .starts_with("error: error parsing f.yaml: error converting YAML to JSON: yaml: ")
        );
        assert!(parsed("a: 1\na: 2\n").unwrap_err().text().contains("already set"));
    }
}
