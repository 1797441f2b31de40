//! The environment of a container. Pure; what it refers to is looked up through [`Lookup`].

use crate::container::env_file::Variables;
use crate::container::expand::expand;
use crate::container::fields::{self, Runtime};
use crate::spec;
use api::k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, Secret};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Objects that a container's environment names, fetched beforehand: by name, an error where fetching failed.
#[derive(Default)]
pub(crate) struct Lookup {
    /// ConfigMaps by name; `None` when absent.
    pub(crate) config_maps: BTreeMap<String, Option<Arc<ConfigMap>>>,
    /// Secrets by name; `None` when absent.
    pub(crate) secrets: BTreeMap<String, Option<Arc<Secret>>>,
    /// Files of variables by volume and path; `None` when absent, an error when they cannot be read.
    pub(crate) files: BTreeMap<(String, String), Result<Option<Variables>, String>>,
}

/// Volumes and paths of the files that the environment of `container` reads.
pub(crate) fn files(container: &Container) -> Vec<(String, String)> {
    let sources = container.env.iter().flatten().filter_map(|e| e.value_from.as_ref());
    let files = sources.filter_map(|source| source.file_key_ref.as_ref());
    files.map(|file| (file.volume_name.clone(), file.path.clone())).collect()
}

/// Names of ConfigMaps and Secrets that the environment of `container` reads.
pub(crate) fn names(container: &Container) -> (Vec<String>, Vec<String>) {
    let (mut maps, mut secrets) = (Vec::new(), Vec::new());
    for from in container.env_from.iter().flatten() {
        maps.extend(from.config_map_ref.as_ref().map(|r| r.name.clone()));
        secrets.extend(from.secret_ref.as_ref().map(|r| r.name.clone()));
    }
    for source in container.env.iter().flatten().filter_map(|e| e.value_from.as_ref()) {
        maps.extend(source.config_map_key_ref.as_ref().map(|r| r.name.clone()));
        secrets.extend(source.secret_key_ref.as_ref().map(|r| r.name.clone()));
    }
    (maps, secrets)
}

type Vars = Vec<(String, String)>;

fn set(vars: &mut Vars, name: &str, value: String) {
    match vars.iter_mut().find(|(n, _)| n == name) {
        Some(entry) => entry.1 = value,
        None => vars.push((name.to_owned(), value)),
    }
}

fn secret_text(secret: &Secret, key: &str) -> Option<String> {
    secret.data.as_ref()?.get(key).map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned())
}

fn from_all(lookup: &Lookup, container: &Container, vars: &mut Vars) -> Result<(), String> {
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        let mut pairs: Vars = Vec::new();
        if let Some(reference) = &from.config_map_ref {
            match lookup.config_maps.get(&reference.name).and_then(Option::as_ref) {
                Some(map) => pairs.extend(map.data.clone().unwrap_or_default()),
                None if reference.optional == Some(true) => {}
                None => return Err(format!("configmap {:?} not found", reference.name)),
            }
        }
        if let Some(reference) = &from.secret_ref {
            match lookup.secrets.get(&reference.name).and_then(Option::as_ref) {
                Some(secret) => {
                    let keys = secret.data.iter().flatten().map(|(key, _)| key);
                    pairs.extend(keys.filter_map(|key| Some((key.clone(), secret_text(secret, key)?))));
                }
                None if reference.optional == Some(true) => {}
                None => return Err(format!("secret {:?} not found", reference.name)),
            }
        }
        for (name, value) in pairs {
            // Any printable name without "=" is taken (KEP-4369).
            set(vars, &format!("{prefix}{name}"), value);
        }
    }
    Ok(())
}

struct Maker<'a> {
    pod: &'a Pod,
    container: &'a Container,
    lookup: &'a Lookup,
    runtime: &'a Runtime,
}

impl Maker<'_> {
    /// The value of a `valueFrom`; `None` leaves the variable out.
    fn value(&self, source: &EnvVarSource) -> Result<Option<String>, String> {
        let namespace = spec::namespace(self.pod);
        if let Some(field) = &source.field_ref {
            return fields::field(self.pod, self.runtime, &field.field_path).map(Some);
        }
        if let Some(selector) = &source.resource_field_ref {
            let named = selector.container_name.as_deref().filter(|n| !n.is_empty());
            let found = named.and_then(|name| spec::find(self.pod, name));
            let container = found.as_ref().map_or(self.container, |(_, c)| c);
            return fields::resource(container, self.runtime, selector).map(Some);
        }
        if let Some(reference) = &source.config_map_key_ref {
            let optional = reference.optional == Some(true);
            let Some(map) = self.lookup.config_maps.get(&reference.name).and_then(Option::as_ref) else {
                return absent(optional, || format!("configmap {:?} not found", reference.name));
            };
            return match map.data.as_ref().and_then(|d| d.get(&reference.key)) {
                Some(value) => Ok(Some(value.clone())),
                None => absent(optional, || {
                    format!("couldn't find key {} in ConfigMap {namespace}/{}", reference.key, reference.name)
                }),
            };
        }
        if let Some(reference) = &source.secret_key_ref {
            let optional = reference.optional == Some(true);
            let Some(secret) = self.lookup.secrets.get(&reference.name).and_then(Option::as_ref) else {
                return absent(optional, || format!("secret {:?} not found", reference.name));
            };
            return match secret_text(secret, &reference.key) {
                Some(value) => Ok(Some(value)),
                None => absent(optional, || {
                    format!("couldn't find key {} in Secret {namespace}/{}", reference.key, reference.name)
                }),
            };
        }
        if let Some(reference) = &source.file_key_ref {
            let optional = reference.optional == Some(true);
            let place = (reference.volume_name.clone(), reference.path.clone());
            let file = self.lookup.files.get(&place).cloned().unwrap_or(Ok(None))?;
            return match file.and_then(|mut variables| variables.remove(&reference.key)) {
                Some(value) => Ok(Some(value)),
                None => absent(optional, || {
                    format!(
                        "environment variable key {:?} not found in file {:?}",
                        reference.key, reference.path
                    )
                }),
            };
        }
        Ok(Some(String::new()))
    }
}

fn absent(optional: bool, message: impl FnOnce() -> String) -> Result<Option<String>, String> {
    if optional { Ok(None) } else { Err(message()) }
}

/// Builds the environment. `services` come last and never replace. Errors are those of
/// `CreateContainerConfigError`.
pub(crate) fn make(
    pod: &Pod,
    container: &Container,
    lookup: &Lookup,
    services: &[(String, String)],
    runtime: &Runtime,
) -> Result<Vars, String> {
    let mut vars = Vars::new();
    from_all(lookup, container, &mut vars)?;
    let maker = Maker { pod, container, lookup, runtime };
    for var in container.env.iter().flatten() {
        let value = match (&var.value, &var.value_from) {
            (Some(text), _) if !text.is_empty() => {
                let known = |name: &str| {
                    let find = |list: &[(String, String)]| {
                        list.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone())
                    };
                    find(&vars).or_else(|| find(services))
                };
                Some(expand(text, known))
            }
            (_, Some(source)) => maker.value(source)?,
            _ => Some(String::new()),
        };
        if let Some(value) = value {
            set(&mut vars, &var.name, value);
        }
    }
    for (name, value) in services {
        if !vars.iter().any(|(n, _)| n == name) {
            vars.push((name.clone(), value.clone()));
        }
    }
    Ok(vars)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::k8s_openapi::api::core::v1::{
        ConfigMapEnvSource, ConfigMapKeySelector, EnvFromSource, EnvVar, SecretKeySelector,
    };

    fn var(name: &str, value: &str) -> EnvVar {
        EnvVar { name: name.to_owned(), value: Some(value.to_owned()), value_from: None }
    }

    fn lookup() -> Lookup {
        let map = ConfigMap {
            data: Some(BTreeMap::from([
                ("A".to_owned(), "map".to_owned()),
                ("B".to_owned(), "b".to_owned()),
            ])),
            ..ConfigMap::default()
        };
        Lookup {
            config_maps: BTreeMap::from([("cm".to_owned(), Some(Arc::new(map))), ("gone".to_owned(), None)]),
            secrets: BTreeMap::from([("s".to_owned(), None)]),
            files: BTreeMap::new(),
        }
    }

    fn from_map(name: &str, prefix: &str, optional: bool) -> EnvFromSource {
        EnvFromSource {
            config_map_ref: Some(ConfigMapEnvSource { name: name.to_owned(), optional: Some(optional) }),
            prefix: Some(prefix.to_owned()),
            secret_ref: None,
        }
    }

    fn get(vars: &[(String, String)], name: &str) -> Option<String> {
        vars.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone())
    }

    #[test]
    fn later_wins_and_references_expand() {
        let container = Container {
            env_from: Some(vec![from_map("cm", "", false), from_map("gone", "X_", true)]),
            env: Some(vec![var("A", "own"), var("C", "$(A)-$(SVC)-$(NONE)")]),
            ..Container::default()
        };
        let services = [("SVC".to_owned(), "s".to_owned()), ("B".to_owned(), "never".to_owned())];
        let vars = make(&Pod::default(), &container, &lookup(), &services, &Runtime::default()).unwrap();
        assert_eq!(get(&vars, "A").unwrap(), "own");
        assert_eq!(get(&vars, "B").unwrap(), "b");
        assert_eq!(get(&vars, "C").unwrap(), "own-s-$(NONE)");
        assert_eq!(get(&vars, "SVC").unwrap(), "s");
    }

    #[test]
    fn what_is_missing_is_named() {
        let mut pod = Pod::default();
        pod.metadata.namespace = Some("ns".to_owned());
        let key = |name: &str, key: &str, optional: bool| EnvVar {
            name: "V".to_owned(),
            value: None,
            value_from: Some(EnvVarSource {
                config_map_key_ref: Some(ConfigMapKeySelector {
                    key: key.to_owned(),
                    name: name.to_owned(),
                    optional: Some(optional),
                }),
                ..EnvVarSource::default()
            }),
        };
        let secret = EnvVar {
            name: "V".to_owned(),
            value: None,
            value_from: Some(EnvVarSource {
                secret_key_ref: Some(SecretKeySelector { key: "k".into(), name: "s".into(), optional: None }),
                ..EnvVarSource::default()
            }),
        };
        for (entry, want) in [
            (key("gone", "k", false), "configmap \"gone\" not found"),
            (key("cm", "k", false), "couldn't find key k in ConfigMap ns/cm"),
            (secret, "secret \"s\" not found"),
        ] {
            let container = Container { env: Some(vec![entry]), ..Container::default() };
            let error = make(&pod, &container, &lookup(), &[], &Runtime::default()).unwrap_err();
            assert_eq!(error, want);
        }
        let container = Container { env: Some(vec![key("gone", "k", true)]), ..Container::default() };
        assert!(make(&pod, &container, &lookup(), &[], &Runtime::default()).unwrap().is_empty());
    }
}
