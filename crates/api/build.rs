//! Takes what the API's documentation says about types and fields out of the sources of `k8s-openapi`, so that
//! `kubectl explain` has descriptions without a copy of them in this repository.
//!
//! That crate would hand them out itself with its feature `schemars`, but then every description is code: see
//! ARCHITECTURE.md for what that costs. Its sources carry the same words as string literals in the blocks behind
//! that feature, and cargo knows where its sources are, whether they came from a registry, a vendored directory or a
//! patch. Where they cannot be found or read the build goes on with a warning and without descriptions;
//! `WINDLASS_K8S_OPENAPI_SRC` names their directory for build systems that are not cargo.
//!
//! Written to `OUT_DIR/descriptions`: records that end in RS, sorted by the type's published name. A record is that
//! name, the type's description, then `field TAB description` for each field, all separated by US.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Separates the parts of a record.
const US: char = '\u{1f}';
/// Ends a record.
const RS: char = '\u{1e}';
/// A file of every k8s-openapi for this version, by which its directory is recognized.
const LANDMARK: &str = "src/v1_36/mod.rs";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=WINDLASS_K8S_OPENAPI_SRC");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let mut types = BTreeMap::new();
    match locate(&out) {
        Ok(dir) => {
            println!("cargo::rerun-if-changed={}", dir.join(LANDMARK).display());
            if let Err(error) = walk(&dir.join("src/v1_36"), &mut types) {
                println!(
                    "cargo::warning=failed to read {}: {error}; building without descriptions",
                    dir.display()
                );
            }
        }
        Err(why) => println!(
            "cargo::warning=failed to find the sources of k8s-openapi ({why}); building without the descriptions \
             of 'kubectl explain': set WINDLASS_K8S_OPENAPI_SRC to their directory"
        ),
    }
    let text = render(&types);
    let fingerprint = tables().iter().fold(fnv(FNV, text.as_bytes()), |hash, table| fnv(hash, table));
    println!("cargo::rustc-env=WINDLASS_SCHEMA_FINGERPRINT={fingerprint:016x}");
    if let Err(error) = fs::write(out.join("descriptions"), text) {
        println!("cargo::error=failed to write the descriptions into {}: {error}", out.display());
    }
}

/// The files of the schema table, in one order.
fn tables() -> Vec<Vec<u8>> {
    println!("cargo::rerun-if-changed=src/schema/tables");
    let mut files: Vec<PathBuf> =
        fs::read_dir("src/schema/tables").into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    files.iter().filter_map(|file| fs::read(file).ok()).collect()
}

const FNV: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a: not for secrets, only to tell one text from another.
fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The directory of the k8s-openapi that this package is built with.
fn locate(out: &Path) -> Result<PathBuf, String> {
    if let Some(dir) = env::var_os("WINDLASS_K8S_OPENAPI_SRC") {
        let dir = PathBuf::from(dir);
        let found = dir.join(LANDMARK).exists();
        return if found { Ok(dir) } else { Err(format!("{} has no {LANDMARK}", dir.display())) };
    }
    let version = version().ok_or("k8s-openapi does not say its version")?;
    ask_cargo(out, &version).or_else(|why| in_registry(&version).ok_or(why))
}

/// The version, from the variable that cargo makes of the dependency's `links` and metadata.
fn version() -> Option<String> {
    env::vars().find_map(|(name, _)| {
        let version = name.strip_prefix("DEP_K8S_OPENAPI_")?.strip_suffix("_VERSION")?;
        Some(version.replace('_', "."))
    })
}

/// Asks cargo about a package that depends on nothing else, with the workspace's lock file and configuration. (Asked
/// about the workspace, it would insist on dependencies of tests, which a build does not download.)
fn ask_cargo(out: &Path, version: &str) -> Result<PathBuf, String> {
    let text = |error: std::io::Error| error.to_string();
    let probe = out.join("probe");
    fs::create_dir_all(probe.join("src")).map_err(text)?;
    let manifest = format!(
        "[package]\nname = \"probe\"\nversion = \"0.0.0\"\nedition = \"2021\"\n[workspace]\n[dependencies]\nk8s-openapi = \
         {{ version = \"={version}\", features = [\"v1_36\"] }}\n"
    );
    fs::write(probe.join("Cargo.toml"), manifest).map_err(text)?;
    fs::write(probe.join("src/lib.rs"), "").map_err(text)?;
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    if let Some(lock) = here.ancestors().map(|dir| dir.join("Cargo.lock")).find(|lock| lock.exists()) {
        fs::copy(lock, probe.join("Cargo.lock")).map_err(text)?;
    }
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--offline", "--format-version", "1", "--filter-platform"])
        .arg(env::var("TARGET").unwrap_or_default())
        .arg("--manifest-path")
        .arg(probe.join("Cargo.toml"))
        .current_dir(&here)
        .output()
        .map_err(text)?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default().to_owned());
    }
    let metadata = String::from_utf8_lossy(&output.stdout);
    metadata
        .split("\"manifest_path\":\"")
        .skip(1)
        .filter_map(|rest| Path::new(rest.split('"').next()?).parent())
        .find(|dir| dir.join(LANDMARK).exists())
        .map(Path::to_path_buf)
        .ok_or_else(|| "cargo does not know their directory".to_owned())
}

/// Looks where cargo unpacks registries' packages.
fn in_registry(version: &str) -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")))?;
    let registries = fs::read_dir(home.join("registry/src")).ok()?;
    registries
        .flatten()
        .map(|registry| registry.path().join(format!("k8s-openapi-{version}")))
        .find(|dir| dir.join(LANDMARK).exists())
}

/// A type's description and those of its fields.
#[derive(Default)]
struct Described {
    text: String,
    fields: BTreeMap<String, String>,
}

fn walk(dir: &Path, types: &mut BTreeMap<String, Described>) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, types)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            read(&fs::read_to_string(path)?, types);
        }
    }
    Ok(())
}

/// Reads the schemas of a file. Generated code has one form: the type's name alone on a line after
/// `fn schema_name`, then a tree in which depth is indentation.
fn read(source: &str, types: &mut BTreeMap<String, Described>) {
    for block in source.split("#[cfg(feature = \"schemars\")]").skip(1) {
        let mut lines = block.lines().skip_while(|line| !line.contains("fn schema_name()"));
        let Some(name) = lines.nth(1).and_then(literal).map(|(name, _)| name) else { continue };
        let mut described = Described::default();
        let mut field = String::new();
        for line in lines {
            let indent = line.len() - line.trim_start().len();
            let inserted =
                line.trim_start().strip_prefix("schema_obj.ensure_object().insert(\"description\".into(), ");
            let text =
                inserted.or_else(|| line.trim_start().strip_prefix("\"description\": ")).and_then(literal);
            match (indent, text) {
                (12, Some((text, _))) => described.text = text,
                (20, Some((text, _))) => {
                    described.fields.insert(field.clone(), text);
                }
                (16, _) => {
                    if let Some((name, rest)) = literal(line)
                        && rest.starts_with(": ")
                    {
                        field = name;
                    }
                }
                _ => {}
            }
        }
        types.insert(name, described);
    }
}

/// The string literal that a line begins with, and what follows it.
fn literal(line: &str) -> Option<(String, &str)> {
    let text = line.trim_start().strip_prefix('"')?;
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((out, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                'r' => out.push('\r'),
                other => out.push(other),
            },
            c => out.push(c),
        }
    }
    None
}

fn render(types: &BTreeMap<String, Described>) -> String {
    let mut out = String::new();
    for (name, described) in types {
        out.push_str(name);
        out.push(US);
        out.push_str(&described.text);
        for (field, text) in &described.fields {
            out.push(US);
            out.push_str(field);
            out.push('\t');
            out.push_str(text);
        }
        out.push(RS);
    }
    out
}
