//! [`Kubeconfig`]: the file format `v1 Config`. Several files merge by kubectl's rule: the first file that sets a value
//! or names an entry wins. Fields that are not known here survive a round trip.

use super::exec::ExecConfig;
use super::{Config, ConfigError, Credentials, Impersonate, read};
use base64::Engine;
use component::tls::KeyPair;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// A kubeconfig.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Kubeconfig {
    /// `v1`.
    #[serde(rename = "apiVersion")]
    pub api_version: String,
    /// `Config`.
    pub kind: String,
    /// Clusters by name.
    #[serde(deserialize_with = "or_empty")]
    pub clusters: Vec<Named<ClusterEntry>>,
    /// Users by name.
    #[serde(deserialize_with = "or_empty")]
    pub users: Vec<Named<UserEntry>>,
    /// Contexts by name.
    #[serde(deserialize_with = "or_empty")]
    pub contexts: Vec<Named<ContextEntry>>,
    /// The context in use.
    pub current_context: String,
    /// Everything else.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

fn or_empty<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::<Vec<T>>::deserialize(from)?.unwrap_or_default())
}

/// A named entry of a list.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Named<T> {
    /// Its name.
    pub name: String,
    /// The entry, under its own key.
    #[serde(flatten)]
    pub entry: T,
}

/// The key `cluster` of a named entry.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterEntry {
    /// The cluster.
    pub cluster: Cluster,
}

/// The key `user` of a named entry.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct UserEntry {
    /// The user.
    #[serde(deserialize_with = "null_is_default")]
    pub user: User,
}

/// The key `context` of a named entry.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ContextEntry {
    /// The context.
    pub context: Context,
}

fn null_is_default<'de, D: serde::Deserializer<'de>, T: Deserialize<'de> + Default>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

/// Where an API server is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
#[allow(missing_docs, reason = "the fields are the file format's own")]
pub struct Cluster {
    pub server: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_server_name: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub insecure_skip_tls_verify: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_authority: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_authority_data: Option<String>,
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Who someone is.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
#[allow(missing_docs, reason = "the fields are the file format's own")]
pub struct User {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_key: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_key_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    #[serde(rename = "tokenFile", skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    #[serde(rename = "as", skip_serializing_if = "Option::is_none")]
    pub impersonate: Option<String>,
    #[serde(rename = "as-uid", skip_serializing_if = "Option::is_none")]
    pub impersonate_uid: Option<String>,
    #[serde(rename = "as-groups", skip_serializing_if = "Vec::is_empty")]
    pub impersonate_groups: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecConfig>,
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl std::fmt::Debug for User {
    /// Never shows a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("User(..)")
    }
}

/// A user at a cluster.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
#[allow(missing_docs, reason = "the fields are the file format's own")]
pub struct Context {
    pub cluster: String,
    pub user: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Kubeconfig {
    /// Parses YAML or JSON. Relative paths in it are taken relative to `directory`.
    pub fn parse(text: &str, directory: &Path) -> Result<Self, ConfigError> {
        let mut parsed: Self = serde_saphyr::from_str(text).map_err(|error| {
            ConfigError::new(format!("failed to parse the kubeconfig: {error}; correct the file"))
        })?;
        let absolute = |path: &mut Option<PathBuf>| {
            if let Some(relative) =
                path.as_mut().filter(|path| path.is_relative() && !path.as_os_str().is_empty())
            {
                *relative = directory.join(&*relative);
            }
        };
        for cluster in &mut parsed.clusters {
            absolute(&mut cluster.entry.cluster.certificate_authority);
        }
        for user in &mut parsed.users {
            let user = &mut user.entry.user;
            absolute(&mut user.client_certificate);
            absolute(&mut user.client_key);
            absolute(&mut user.token_file);
        }
        Ok(parsed)
    }

    /// Reads one file. Blocks.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let bytes = read(path)?;
        let text = String::from_utf8(bytes).map_err(|_| {
            ConfigError::new(format!("failed to read {}: it is not UTF-8 text", path.display()))
        })?;
        Self::parse(&text, path.parent().unwrap_or(Path::new(".")))
            .map_err(|error| ConfigError::new(format!("{}: {error}", path.display())))
    }

    /// The files that apply: `explicit` alone; else those of `$KUBECONFIG`, colon-separated; else `~/.kube/config`.
    pub fn paths(explicit: Option<&Path>) -> Vec<PathBuf> {
        if let Some(path) = explicit {
            return vec![path.to_owned()];
        }
        if let Some(list) = std::env::var_os("KUBECONFIG").filter(|list| !list.is_empty()) {
            return std::env::split_paths(&list).filter(|path| !path.as_os_str().is_empty()).collect();
        }
        std::env::var_os("HOME").map(|home| Path::new(&home).join(".kube/config")).into_iter().collect()
    }

    /// Reads and merges the files that apply. Absent files are skipped, except an explicit one. Blocks.
    pub fn load(explicit: Option<&Path>) -> Result<Self, ConfigError> {
        let mut merged = Self::default();
        for path in Self::paths(explicit) {
            if explicit.is_some() || path.exists() {
                merged.merge(Self::read(&path)?);
            }
        }
        Ok(merged)
    }

    /// Adds what `later` has and this one has not.
    pub fn merge(&mut self, later: Self) {
        fn add<T>(into: &mut Vec<Named<T>>, from: Vec<Named<T>>) {
            for named in from {
                if !into.iter().any(|known| known.name == named.name) {
                    into.push(named);
                }
            }
        }
        let first = |into: &mut String, from: String| {
            if into.is_empty() {
                *into = from;
            }
        };
        first(&mut self.api_version, later.api_version);
        first(&mut self.kind, later.kind);
        first(&mut self.current_context, later.current_context);
        add(&mut self.clusters, later.clusters);
        add(&mut self.users, later.users);
        add(&mut self.contexts, later.contexts);
        for (key, value) in later.other {
            self.other.entry(key).or_insert(value);
        }
    }

    /// The file's YAML.
    pub fn to_yaml(&self) -> Result<String, ConfigError> {
        serde_saphyr::to_string(self)
            .map_err(|error| ConfigError::new(format!("failed to write the kubeconfig: {error}")))
    }

    /// The cluster called `name`.
    pub fn cluster(&self, name: &str) -> Option<&Cluster> {
        self.clusters.iter().find(|named| named.name == name).map(|named| &named.entry.cluster)
    }

    /// The user called `name`.
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|named| named.name == name).map(|named| &named.entry.user)
    }

    /// The context called `name`.
    pub fn context(&self, name: &str) -> Option<&Context> {
        self.contexts.iter().find(|named| named.name == name).map(|named| &named.entry.context)
    }

    /// The configuration of `context`, or of the current context. Reads the files it names.
    pub fn config(&self, context: Option<&str>) -> Result<Config, ConfigError> {
        let name = context.unwrap_or(&self.current_context);
        if name.is_empty() {
            return Err(ConfigError::new(
                "failed to choose a cluster: no context is current; run `kubectl config use-context`, or give --context or --kubeconfig",
            ));
        }
        let context = self
            .context(name)
            .ok_or_else(|| ConfigError::new(format!("context \"{name}\" does not exist")))?;
        self.config_of(&context.cluster, &context.user, context.namespace.as_deref().unwrap_or(""))
    }

    /// The configuration of a named user at a named cluster, whatever the contexts say.
    pub fn config_of(&self, cluster: &str, user: &str, namespace: &str) -> Result<Config, ConfigError> {
        let cluster = self
            .cluster(cluster)
            .ok_or_else(|| ConfigError::new(format!("cluster \"{cluster}\" does not exist")))?;
        let anonymous = User::default();
        let user = match self.user(user) {
            Some(user) => user,
            None if user.is_empty() => &anonymous,
            None => return Err(ConfigError::new(format!("auth info \"{user}\" does not exist"))),
        };
        let certificate =
            data_or_file("client-certificate", &user.client_certificate_data, &user.client_certificate)?;
        let key = data_or_file("client-key", &user.client_key_data, &user.client_key)?;
        let client_pair = certificate.zip(key).map(|(certificate, key)| KeyPair { certificate, key });
        let ca = data_or_file(
            "certificate-authority",
            &cluster.certificate_authority_data,
            &cluster.certificate_authority,
        )?;
        Ok(Config {
            server: cluster.server.clone(),
            ca,
            tls_server_name: cluster.tls_server_name.clone(),
            insecure: cluster.insecure_skip_tls_verify,
            client_pair,
            credentials: credentials(user),
            impersonate: Impersonate {
                user: user.impersonate.clone().unwrap_or_default(),
                uid: user.impersonate_uid.clone().unwrap_or_default(),
                groups: user.impersonate_groups.clone(),
            },
            namespace: namespace.to_owned(),
        })
    }
}

fn credentials(user: &User) -> Credentials {
    if let Some(path) = &user.token_file {
        Credentials::TokenFile(path.clone())
    } else if let Some(token) = user.token.as_ref().filter(|token| !token.is_empty()) {
        Credentials::Token(token.clone())
    } else if let Some(exec) = &user.exec {
        Credentials::Exec(Box::new(exec.clone()))
    } else if let Some(name) = &user.username {
        Credentials::Basic { user: name.clone(), password: user.password.clone().unwrap_or_default() }
    } else {
        Credentials::None
    }
}

/// Inline data wins over a file.
fn data_or_file(
    field: &str,
    data: &Option<String>,
    path: &Option<PathBuf>,
) -> Result<Option<Vec<u8>>, ConfigError> {
    if let Some(data) = data.as_ref().filter(|data| !data.is_empty()) {
        let data: String = data.split_whitespace().collect();
        let decoded = base64::engine::general_purpose::STANDARD.decode(data);
        return decoded.map(Some).map_err(|error| {
            ConfigError::new(format!(
                "failed to decode {field}-data of the kubeconfig: {error}; it must be base64"
            ))
        });
    }
    path.as_ref().filter(|path| !path.as_os_str().is_empty()).map(|path| read(path)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "
apiVersion: v1
kind: Config
current-context: a
clusters:
- name: c
  cluster: {server: 'https://one:6443', certificate-authority-data: Y2E=, proxy-url: 'socks5://x'}
users:
- name: u
  user: {token: secret}
contexts:
- name: a
  context: {cluster: c, user: u, namespace: web}
";
    const TWO: &str = "
current-context: b
preferences: {colors: true}
clusters:
- {name: c, cluster: {server: 'https://two:6443'}}
users:
- {name: files, user: {client-certificate: pki/me.crt, client-key: pki/me.key}}
contexts:
- {name: b, context: {cluster: c, user: files}}
";

    #[test]
    fn the_first_file_wins_and_paths_are_relative_to_their_file() {
        let mut merged = Kubeconfig::parse(ONE, Path::new("/one")).unwrap();
        merged.merge(Kubeconfig::parse(TWO, Path::new("/two")).unwrap());
        let config = merged.config(None).unwrap();
        assert_eq!(config.server, "https://one:6443");
        assert_eq!(config.ca.as_deref(), Some(&b"ca"[..]));
        assert_eq!(config.namespace(), "web");
        assert!(matches!(config.credentials, Credentials::Token(token) if token == "secret"));
        let error = merged.config(Some("b")).unwrap_err().to_string();
        assert!(error.contains("/two/pki/me.crt"), "{error}");
        assert!(merged.config(Some("x")).is_err());
    }

    #[test]
    fn unknown_fields_survive() {
        let mut merged = Kubeconfig::parse(ONE, Path::new("/")).unwrap();
        merged.merge(Kubeconfig::parse(TWO, Path::new("/")).unwrap());
        let again = Kubeconfig::parse(&merged.to_yaml().unwrap(), Path::new("/")).unwrap();
        assert_eq!(again.cluster("c").unwrap().other["proxy-url"], "socks5://x");
        assert_eq!(again.other["preferences"]["colors"], true);
        assert_eq!(again.current_context, "a");
    }
}
