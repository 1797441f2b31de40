//! `create configmap` and `create secret`: data from literals, files, directories and environment files.

use super::{Build, Kind, name, required};
use crate::error::{Result, fail, message};
use crate::flags::{self, list, text, value, words};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{ArgMatches, Command};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Largest file: objects are not larger.
const MAX_FILE: u64 = 3 << 20;

fn sources(command: Command) -> Command {
    command
        .arg(list("from-literal", "KEY=VALUE", "A key and its value; may be repeated"))
        .arg(list("from-file", "[KEY=]FILE", "A file, or every file of a directory; may be repeated"))
        .arg(list("from-env-file", "FILE", "A file of KEY=VALUE lines"))
        .arg(flags::args("NAME"))
}

pub(super) const CONFIG_MAP: Kind = Kind {
    name: "configmap",
    alias: "cm",
    about: "Create a config map from literals, files or directories",
    arguments: sources,
    build: Build::Pure(config_map),
    below: &[],
};

pub(super) const SECRET: Kind = Kind {
    name: "secret",
    alias: "",
    about: "Create a secret",
    arguments: |command| command,
    build: Build::Pure(|_| fail("secret needs one of generic, tls, docker-registry")),
    below: &[
        Kind {
            name: "generic",
            alias: "",
            about: "Create a secret from literals, files or directories",
            arguments: |command| sources(command).arg(value("type", "TYPE", "The secret's type")),
            build: Build::Pure(generic),
            below: &[],
        },
        Kind {
            name: "tls",
            alias: "",
            about: "Create a secret from a certificate and its key",
            arguments: |command| {
                command
                    .arg(value("cert", "FILE", "Certificate, in PEM"))
                    .arg(value("key", "FILE", "Private key, in PEM"))
                    .arg(flags::args("NAME"))
            },
            build: Build::Pure(tls),
            below: &[],
        },
        Kind {
            name: "docker-registry",
            alias: "",
            about: "Create a secret for pulling images",
            arguments: |command| {
                command
                    .arg(
                        value("docker-server", "HOST", "The registry")
                            .default_value("https://index.docker.io/v1/"),
                    )
                    .arg(value("docker-username", "NAME", "User name"))
                    .arg(value("docker-password", "PASSWORD", "Password"))
                    .arg(value("docker-email", "EMAIL", "Email address"))
                    .arg(flags::args("NAME"))
            },
            build: Build::Pure(registry),
            below: &[],
        },
    ],
};

fn read(path: &Path) -> Result<Vec<u8>> {
    let why = |error: std::io::Error| message(format!("error reading {}: {error}", path.display()));
    if std::fs::metadata(path).map_err(why)?.len() > MAX_FILE {
        return fail(format!("{} is too large to be stored in an object", path.display()));
    }
    std::fs::read(path).map_err(why)
}

fn check_key(key: &str) -> Result<()> {
    match machinery::names::config_map_key(key).first() {
        None => Ok(()),
        Some(why) => fail(format!("{key:?} is not valid key name for a ConfigMap {why}")),
    }
}

/// Keys and values of all sources, each key once.
fn collect(matches: &ArgMatches) -> Result<Vec<(String, Vec<u8>)>> {
    let mut out: Vec<(String, Vec<u8>)> = Vec::new();
    let mut add = |key: &str, value: Vec<u8>| -> Result<()> {
        check_key(key)?;
        if out.iter().any(|(known, _)| known == key) {
            return fail(format!("cannot add key {key:?}, another key by that name already exists"));
        }
        out.push((key.to_owned(), value));
        Ok(())
    };
    for source in words(matches, "from-file") {
        match source.split_once('=') {
            Some((key, path)) if !key.is_empty() && !path.is_empty() => add(key, read(Path::new(path))?)?,
            Some(_) => return fail(format!("key name or file path for {source:?} is missing")),
            None => {
                let path = Path::new(&source);
                if path.is_dir() {
                    let mut entries: Vec<_> = std::fs::read_dir(path)?
                        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
                        .collect();
                    entries.sort();
                    for file in entries.into_iter().filter(|file| file.is_file()) {
                        let key = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
                        if check_key(&key).is_ok() {
                            add(&key, read(&file)?)?;
                        }
                    }
                } else {
                    let key = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    add(&key, read(path)?)?;
                }
            }
        }
    }
    for source in words(matches, "from-literal") {
        let Some((key, value)) = source.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return fail(format!("invalid literal source {source}, expected key=value"));
        };
        add(key, value.trim_matches(['\'', '"']).as_bytes().to_vec())?;
    }
    for source in words(matches, "from-env-file") {
        let text = String::from_utf8(read(Path::new(&source))?)
            .map_err(|_| message(format!("env file {source} is not UTF-8 text")))?;
        for line in
            text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            let (key, value) = line.split_once('=').map_or((line, None), |(key, value)| (key, Some(value)));
            // A bare name takes the value of this process's environment, if there is one.
            let value = value.map(str::to_owned).or_else(|| std::env::var(key).ok());
            if let Some(value) = value {
                add(key, value.into_bytes())?;
            }
        }
    }
    out.sort();
    Ok(out)
}

fn config_map(matches: &ArgMatches) -> Result<Value> {
    let (mut data, mut binary) = (Map::new(), Map::new());
    for (key, value) in collect(matches)? {
        match String::from_utf8(value) {
            Ok(text) => data.insert(key, text.into()),
            Err(bytes) => binary.insert(key, STANDARD.encode(bytes.as_bytes()).into()),
        };
    }
    let mut map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name(matches)?}});
    if !data.is_empty() {
        map["data"] = Value::Object(data);
    }
    if !binary.is_empty() {
        map["binaryData"] = Value::Object(binary);
    }
    Ok(map)
}

fn secret(matches: &ArgMatches, kind: Option<&str>, entries: Vec<(String, Vec<u8>)>) -> Result<Value> {
    let mut secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name(matches)?}});
    if let Some(kind) = kind {
        secret["type"] = kind.into();
    }
    if !entries.is_empty() {
        let data: Map<String, Value> =
            entries.into_iter().map(|(key, value)| (key, STANDARD.encode(value).into())).collect();
        secret["data"] = Value::Object(data);
    }
    Ok(secret)
}

fn generic(matches: &ArgMatches) -> Result<Value> {
    secret(matches, text(matches, "type"), collect(matches)?)
}

fn tls(matches: &ArgMatches) -> Result<Value> {
    let certificate = read(Path::new(required(matches, "cert")?))?;
    let key = read(Path::new(required(matches, "key")?))?;
    let pair = component::tls::KeyPair { certificate, key };
    component::tls::server(&pair, None).map_err(|error| message(error.to_string()))?;
    let entries = vec![("tls.crt".to_owned(), pair.certificate), ("tls.key".to_owned(), pair.key)];
    secret(matches, Some("kubernetes.io/tls"), entries)
}

fn registry(matches: &ArgMatches) -> Result<Value> {
    let user = required(matches, "docker-username")?;
    let password = required(matches, "docker-password")?;
    let server = text(matches, "docker-server").unwrap_or_default();
    let mut entry = json!({"username": user, "password": password});
    if let Some(email) = text(matches, "docker-email") {
        entry["email"] = email.into();
    }
    entry["auth"] = STANDARD.encode(format!("{user}:{password}")).into();
    let config = json!({"auths": {server: entry}}).to_string();
    secret(
        matches,
        Some("kubernetes.io/dockerconfigjson"),
        vec![(".dockerconfigjson".to_owned(), config.into_bytes())],
    )
}
