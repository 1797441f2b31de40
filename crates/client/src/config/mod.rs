//! [`Config`]: where an API server is and who we are to it; from kubeconfig files, from a pod's service account, or
//! built by hand.

mod exec;
mod kubeconfig;

pub use exec::{ExecConfig, ExecCredential};
pub use kubeconfig::{Cluster, Context, Kubeconfig, Named, User};

use component::tls::KeyPair;
use std::fmt;
use std::path::{Path, PathBuf};

/// A configuration that cannot be used; the message says which part, why, and what to do.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

impl ConfigError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// How requests prove who sends them, besides a client certificate.
#[derive(Clone, Default)]
pub enum Credentials {
    /// Not at all.
    #[default]
    None,
    /// A bearer token.
    Token(String),
    /// A bearer token in a file that is replaced from time to time.
    TokenFile(PathBuf),
    /// User name and password.
    Basic {
        /// User name.
        user: String,
        /// Password.
        password: String,
    },
    /// What a program prints (client.authentication.k8s.io).
    Exec(Box<ExecConfig>),
}

impl fmt::Debug for Credentials {
    /// Never shows a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Token(_) => "Token(..)",
            Self::TokenFile(path) => return write!(f, "TokenFile({})", path.display()),
            Self::Basic { .. } => "Basic(..)",
            Self::Exec(exec) => return write!(f, "Exec({})", exec.command),
        })
    }
}

/// Whom requests pretend to come from (`Impersonate-*` headers).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Impersonate {
    /// User name, empty for none.
    pub user: String,
    /// UID, empty for none.
    pub uid: String,
    /// Groups.
    pub groups: Vec<String>,
}

/// Where an API server is and who we are to it.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// `https://host:port`, or `http://` for a local proxy; may have a path.
    pub server: String,
    /// CA bundle in PEM. `None` is the machine's own trust store.
    pub ca: Option<Vec<u8>>,
    /// Name to expect in the server's certificate, where that is not the host.
    pub tls_server_name: Option<String>,
    /// Trust any certificate. Dangerous; users ask for it by name.
    pub insecure: bool,
    /// Client certificate.
    pub client_pair: Option<KeyPair>,
    /// Other credentials.
    pub credentials: Credentials,
    /// Whom to impersonate.
    pub impersonate: Impersonate,
    /// Default namespace, empty for `default`.
    pub namespace: String,
}

const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

impl Config {
    /// An API server that trusts and is trusted by certificates.
    pub fn with_certificates(server: &str, ca: Vec<u8>, client_pair: KeyPair) -> Self {
        Self { server: server.to_owned(), ca: Some(ca), client_pair: Some(client_pair), ..Self::default() }
    }

    /// The context `context` of a kubeconfig, or its current one.
    pub fn from_kubeconfig(kubeconfig: &Kubeconfig, context: Option<&str>) -> Result<Self, ConfigError> {
        kubeconfig.config(context)
    }

    /// Reads one kubeconfig file and takes its current context. Blocks on small local files.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        Kubeconfig::read(path)?.config(None)
    }

    /// The API server of the cluster that this process runs in as a pod, by the files and environment that the
    /// kubelet gives every pod. The token is read anew as it is rotated.
    pub fn in_cluster() -> Result<Self, ConfigError> {
        let variable = |name: &str| {
            std::env::var(name).ok().filter(|value| !value.is_empty()).ok_or_else(|| {
                ConfigError::new(format!(
                    "failed to find the cluster: {name} is not set; this works only in a pod, give a kubeconfig elsewhere"
                ))
            })
        };
        let (host, port) = (variable("KUBERNETES_SERVICE_HOST")?, variable("KUBERNETES_SERVICE_PORT")?);
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        Self::in_cluster_at(&format!("https://{host}:{port}"), Path::new(SERVICE_ACCOUNT))
    }

    /// The same with the server and the directory given.
    pub fn in_cluster_at(server: &str, directory: &Path) -> Result<Self, ConfigError> {
        let ca = read(&directory.join("ca.crt"))?;
        let namespace = std::fs::read_to_string(directory.join("namespace")).unwrap_or_default();
        Ok(Self {
            server: server.to_owned(),
            ca: Some(ca),
            credentials: Credentials::TokenFile(directory.join("token")),
            namespace: namespace.trim().to_owned(),
            ..Self::default()
        })
    }

    /// The default namespace.
    pub fn namespace(&self) -> &str {
        if self.namespace.is_empty() { "default" } else { &self.namespace }
    }
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(path).map_err(|error| {
        ConfigError::new(format!(
            "failed to read {}: {error}; check the path and its permissions",
            path.display()
        ))
    })
}
