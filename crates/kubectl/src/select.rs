//! What a command is about: `TYPE NAME…`, `TYPE/NAME`, `TYPE1,TYPE2`, categories, selectors, or manifests.

use crate::discovery::{Discovery, Resource};
use crate::error::{Error, Result, fail};
use crate::flags::{is_set, positional, text, words};
use crate::manifest;
use crate::rest::Rest;
use crate::session::Session;
use clap::ArgMatches;
use client::http::url::Url;
use serde_json::Value;
use std::sync::Arc;

/// Page size of lists, as upstream's.
const CHUNK: &str = "500";

/// A collection or one object, as arguments name it.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) resource: Arc<Resource>,
    /// `None` for cluster-scoped resources and all namespaces.
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
}

impl Target {
    pub(crate) fn path(&self) -> String {
        self.resource.path(self.namespace.as_deref(), self.name.as_deref())
    }
}

/// An object that exists, or that a manifest describes.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) resource: Arc<Resource>,
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
    /// The live object, or the manifest.
    pub(crate) value: Value,
    /// The file it came from; empty for arguments.
    pub(crate) source: String,
}

impl Found {
    pub(crate) fn path(&self) -> String {
        self.resource.path(self.namespace.as_deref(), Some(&self.name))
    }

    /// `deployment.apps/web`.
    pub(crate) fn display(&self) -> String {
        format!("{}/{}", self.resource.full_kind(), self.name)
    }
}

/// The types that a comma-separated argument names.
fn types(discovery: &Discovery, argument: &str) -> Result<Vec<Arc<Resource>>> {
    let mut out = Vec::new();
    for name in argument.split(',') {
        let members = discovery.category(name);
        if members.is_empty() {
            out.push(discovery.find(name)?);
        } else {
            out.extend(members.into_iter().filter(|resource| resource.can("list")));
        }
    }
    Ok(out)
}

/// What arguments name.
pub(crate) async fn resolve(session: &Session, args: &[String], all_namespaces: bool) -> Result<Vec<Target>> {
    let discovery = session.discovery().await?;
    let current = session.namespace().await?;
    let target = |resource: Arc<Resource>, name: Option<&str>| {
        let namespace = (resource.namespaced && !all_namespaces).then(|| current.clone());
        Target { resource, namespace, name: name.map(str::to_owned) }
    };
    let mut out = Vec::new();
    if args.iter().any(|arg| arg.contains('/')) {
        for arg in args {
            let parts: Vec<&str> = arg.split('/').collect();
            match parts.as_slice() {
                [kind, name] if !kind.is_empty() && !name.is_empty() => {
                    if kind.contains(',') {
                        return fail("arguments in resource/name form must have a single resource and name");
                    }
                    out.push(target(discovery.find(kind)?, Some(name)));
                }
                [_] => {
                    return fail(
                        "there is no need to specify a resource type as a separate argument when passing arguments in \
                         resource/name form (e.g. 'kubectl get resource/<resource_name>' instead of 'kubectl get \
                         resource resource/<resource_name>'",
                    );
                }
                _ => return fail("arguments in resource/name form may not have more than one slash"),
            }
        }
    } else if let Some((first, names)) = args.split_first() {
        let types = types(discovery, first)?;
        for resource in types {
            if names.is_empty() {
                out.push(target(resource, None));
            } else {
                out.extend(names.iter().map(|name| target(resource.clone(), Some(name))));
            }
        }
    }
    if all_namespaces && out.iter().any(|target| target.name.is_some() && target.resource.namespaced) {
        return fail("a resource cannot be retrieved by name across all namespaces");
    }
    Ok(out)
}

/// Selectors of a list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selectors {
    pub(crate) labels: Option<String>,
    pub(crate) fields: Option<String>,
}

impl Selectors {
    pub(crate) fn of(matches: &ArgMatches) -> Self {
        Self {
            labels: text(matches, "selector").map(str::to_owned),
            fields: text(matches, "field-selector").map(str::to_owned),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_none() && self.fields.is_none()
    }

    pub(crate) fn url(&self, path: String) -> Url {
        Url::new(path)
            .with("labelSelector", self.labels.as_deref())
            .with("fieldSelector", self.fields.as_deref())
    }
}

/// Reads a list to its end, page by page; items carry their kind.
pub(crate) async fn list(rest: &Rest, target: &Target, selectors: &Selectors) -> Result<Vec<Value>> {
    let mut items = Vec::new();
    let mut token: Option<String> = None;
    loop {
        let url = selectors.url(target.path()).with("limit", Some(CHUNK)).with("continue", token.as_deref());
        let mut page = rest.get(&url.into_string()).await?;
        if let Some(found) = page["items"].as_array_mut() {
            for item in found {
                let mut item = item.take();
                stamp(&mut item, &target.resource);
                items.push(item);
            }
        }
        token = page["metadata"]["continue"].as_str().filter(|token| !token.is_empty()).map(str::to_owned);
        if token.is_none() {
            return Ok(items);
        }
    }
}

/// Items of lists leave out what they are.
fn stamp(item: &mut Value, resource: &Resource) {
    if let Some(map) = item.as_object_mut() {
        map.insert("apiVersion".to_owned(), resource.api_version().into());
        map.insert("kind".to_owned(), resource.kind.clone().into());
    }
}

fn found(resource: &Arc<Resource>, value: Value) -> Found {
    let word = |name: &str| value["metadata"][name].as_str().map(str::to_owned);
    Found {
        resource: resource.clone(),
        namespace: word("namespace").filter(|_| resource.namespaced),
        name: word("name").unwrap_or_default(),
        value,
        source: String::new(),
    }
}

/// Reads what targets name. What failed is told beside what was found.
pub(crate) async fn read(
    rest: &Rest,
    targets: &[Target],
    selectors: &Selectors,
) -> Result<(Vec<Found>, Vec<Error>)> {
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    for target in targets {
        if target.name.is_some() {
            if !selectors.is_empty() {
                return fail("name cannot be provided when a selector is specified");
            }
            match rest.get(&target.path()).await {
                Ok(value) => out.push(found(&target.resource, value)),
                Err(error) if error.status().is_some() => errors.push(error),
                Err(error) => return Err(error),
            }
        } else {
            match list(rest, target, selectors).await {
                Ok(items) => out.extend(items.into_iter().map(|item| found(&target.resource, item))),
                Err(error) if error.status().is_some() => errors.push(error),
                Err(error) => return Err(error),
            }
        }
    }
    Ok((out, errors))
}

/// The resource and place of a manifest's object.
pub(crate) async fn place(session: &Session, manifest: manifest::Manifest) -> Result<Found> {
    let manifest::Manifest { source, mut value } = manifest;
    let word = |value: &Value, name: &str| value["metadata"][name].as_str().unwrap_or_default().to_owned();
    let (api_version, kind) =
        (value["apiVersion"].as_str().unwrap_or_default(), value["kind"].as_str().unwrap_or_default());
    let resource = session.discovery().await?.of_kind(api_version, kind).map_err(|error| {
        let text = error.text();
        Error::Message(format!(
            "resource mapping not found for name: {:?} namespace: {:?} from {source:?}: {}\nensure CRDs are installed first",
            word(&value, "name"),
            word(&value, "namespace"),
            text.trim_start_matches("error: ")
        ))
    })?;
    let mut namespace = None;
    if resource.namespaced {
        let own = word(&value, "namespace");
        let current = session.namespace().await?;
        if own.is_empty() {
            value["metadata"]["namespace"] = current.clone().into();
        } else if session.namespace_given() && own != current {
            return fail(format!(
                "the namespace from the provided object {own:?} does not match the namespace {current:?}. You must pass \
                 '--namespace={own}' to perform this operation."
            ));
        }
        namespace = Some(word(&value, "namespace"));
    }
    Ok(Found { resource, namespace, name: word(&value, "name"), value, source })
}

/// The objects of a command's manifests, without asking the server: kinds are taken as they stand.
pub(crate) async fn local(session: &Session, matches: &ArgMatches) -> Result<Vec<Found>> {
    let mut out = Vec::new();
    for manifest in read_files(session, matches).await? {
        let word = |name: &str| manifest.value["metadata"][name].as_str().unwrap_or_default().to_owned();
        let api_version = manifest.value["apiVersion"].as_str().unwrap_or_default();
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let kind = manifest.value["kind"].as_str().unwrap_or_default();
        let resource = Resource {
            group: group.to_owned(),
            version: version.to_owned(),
            plural: format!("{}s", kind.to_lowercase()),
            kind: kind.to_owned(),
            ..Resource::default()
        };
        let (name, namespace) = (word("name"), word("namespace"));
        out.push(Found {
            resource: Arc::new(resource),
            namespace: Some(namespace).filter(|name| !name.is_empty()),
            name,
            value: manifest.value,
            source: manifest.source,
        });
    }
    Ok(out)
}

/// Whether manifests say what is meant.
pub(crate) fn from_files(matches: &ArgMatches) -> bool {
    !words(matches, "filename").is_empty() || text(matches, "kustomize").is_some()
}

async fn read_files(session: &Session, matches: &ArgMatches) -> Result<Vec<manifest::Manifest>> {
    let files = words(matches, "filename");
    if let Some(directory) = text(matches, "kustomize") {
        if !files.is_empty() {
            return fail("only one of -f or -k can be specified");
        }
        return manifest::kustomized(session, std::path::Path::new(directory));
    }
    manifest::read(session, &files, is_set(matches, "recursive")).await
}

/// The objects of a command's manifests.
pub(crate) async fn manifests(session: &Session, matches: &ArgMatches) -> Result<Vec<Found>> {
    let mut out = Vec::new();
    for manifest in read_files(session, matches).await? {
        out.push(place(session, manifest).await?);
    }
    Ok(out)
}

/// The live objects that a command's manifests, or arguments and selectors, are about.
pub(crate) async fn live(session: &Session, matches: &ArgMatches, args: &[String]) -> Result<Vec<Found>> {
    let rest = session.rest().await?;
    let selectors = Selectors::of(matches);
    let targets = if !from_files(matches) {
        if args.is_empty() {
            return fail(
                "must specify one of -f and -k, or a resource: TYPE/NAME, TYPE NAME, or TYPE with -l or --all",
            );
        }
        let targets = resolve(session, args, is_set(matches, "all-namespaces")).await?;
        let all = is_set(matches, "all");
        if targets.iter().any(|target| target.name.is_none()) && selectors.is_empty() && !all {
            return fail("resource(s) were provided, but no name was specified");
        }
        targets
    } else {
        let files = manifests(session, matches).await?;
        files
            .into_iter()
            .map(|file| Target { resource: file.resource, namespace: file.namespace, name: Some(file.name) })
            .collect()
    };
    let (found, errors) = read(rest, &targets, &selectors).await?;
    if !errors.is_empty() {
        return Err(if errors.len() == 1 {
            errors.into_iter().next().unwrap_or(Error::Exit(1))
        } else {
            Error::Many(errors)
        });
    }
    Ok(found)
}

/// The same from the positional arguments.
pub(crate) async fn live_of(session: &Session, matches: &ArgMatches) -> Result<Vec<Found>> {
    live(session, matches, &positional(matches)).await
}

/// The one object that arguments name; a bare name is one of `default`.
pub(crate) async fn one(session: &Session, args: &[String], default: &str) -> Result<Found> {
    let args: Vec<String> = match args {
        [name] if !name.contains('/') && !default.is_empty() => vec![format!("{default}/{name}")],
        other => other.to_vec(),
    };
    let targets = resolve(session, &args, false).await?;
    let [target] = targets.as_slice() else {
        return fail("expected exactly one resource, as TYPE/NAME or TYPE NAME");
    };
    if target.name.is_none() {
        return fail("resource(s) were provided, but no name was specified");
    }
    let value = session.rest().await?.get(&target.path()).await?;
    Ok(found(&target.resource, value))
}
