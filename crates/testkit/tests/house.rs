//! The rules of the house: who may depend on whom, and how large things may grow.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which of our crates each crate may use (not counting tests). A missing row is an error: a new crate needs
/// its place in ARCHITECTURE.md and here.
const MAY_USE: &[(&str, &[&str])] = &[
    ("machinery", &[]),
    ("linux", &[]),
    ("component", &["machinery"]),
    ("api", &["machinery"]),
    ("store", &["component"]),
    ("cri", &[]),
    ("client", &["api", "component", "machinery"]),
    ("cel", &["machinery"]),
    ("apiserver", &["api", "cel", "component", "machinery", "store"]),
    ("controllers", &["api", "client", "component", "machinery"]),
    ("scheduler", &["api", "client", "component", "machinery"]),
    ("kubelet", &["api", "client", "component", "cri", "linux", "machinery"]),
    ("runtime", &["component", "cri", "linux"]),
    ("network", &["linux"]),
    ("proxy", &["api", "client", "component", "linux", "machinery"]),
    ("dns", &["api", "client", "component", "machinery"]),
    ("kubectl", &["api", "client", "component", "machinery"]),
    ("addons", &["api", "client", "component", "machinery"]),
    ("testkit", &[]),
    ("bench", &["api", "client", "component", "machinery", "store"]),
];

/// Crates that put the others together.
const USE_ALL: &[&str] = &["bootstrap", "windlass"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn metadata() -> Value {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let arguments = ["metadata", "--format-version", "1", "--no-deps", "--offline"];
    let output = Command::new(cargo).args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn dependencies_point_down_only() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    let ours: BTreeSet<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    let rules: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let mut broken = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        if USE_ALL.contains(&name) {
            continue;
        }
        let Some(allowed) = rules.get(name) else {
            broken.push(format!("{name} has no row in MAY_USE"));
            continue;
        };
        for dependency in package["dependencies"].as_array().unwrap() {
            let used = dependency["name"].as_str().unwrap();
            if dependency["kind"].is_null() && ours.contains(used) && !allowed.contains(&used) {
                broken.push(format!("{name} must not use {used}"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn files_stay_small_and_say_what_they_are_for() {
    let mut files = Vec::new();
    sources(&root().join("crates"), &mut files);
    sources(&root().join("bench"), &mut files);
    let mut lengths = Vec::new();
    let mut broken = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let length = text.lines().count();
        lengths.push(length);
        let name = file.strip_prefix(root()).unwrap().display();
        if length > 1000 {
            broken.push(format!("{name} has {length} lines; split it"));
        }
        // A module's tests are introduced by the module.
        if !text.starts_with("//!") && !file.ends_with("tests.rs") {
            broken.push(format!("{name} does not open with what it is for (//!)"));
        }
    }
    lengths.sort_unstable();
    let median = lengths[lengths.len() / 2];
    assert!(median < 200, "the median file has {median} lines");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
