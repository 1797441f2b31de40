//! [`Session`]: one run of a command: its streams, which cluster it talks to and as whom, and what that cluster serves.
//! Nothing is read or connected before it is needed.

use crate::discovery::Discovery;
use crate::error::{Result, message};
use crate::flags::{given, is_set, text, words};
use crate::rest::Rest;
use crate::streams::Streams;
use clap::{Arg, ArgMatches};
use client::config::{Credentials, Impersonate};
use client::{Config, HttpTransport, Kubeconfig};
use component::SharedClock;
use component::clock::SystemClock;
use k8s_openapi::jiff::Timestamp;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::OnceCell;

/// Where `windlass up` leaves the administrator's kubeconfig unless told otherwise.
const LOCAL_KUBECONFIG: &str = "/var/lib/windlass/admin.kubeconfig";

/// One run of a command.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) streams: Streams,
    pub(crate) clock: SharedClock,
    globals: Globals,
    config: OnceCell<Config>,
    rest: OnceCell<Rest>,
    discovery: OnceCell<Discovery>,
}

/// The flags that every command knows.
#[derive(Clone, Debug, Default)]
struct Globals {
    kubeconfig: Option<PathBuf>,
    context: Option<String>,
    cluster: Option<String>,
    user: Option<String>,
    namespace: Option<String>,
    server: Option<String>,
    token: Option<String>,
    tls_server_name: Option<String>,
    authority: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    insecure: bool,
    impersonate: Impersonate,
    timeout: Option<Duration>,
    /// Whether the cluster that this machine runs may stand in for a missing kubeconfig.
    local: bool,
}

/// The flags that every command knows.
pub(crate) fn global_flags() -> Vec<Arg> {
    use crate::flags::{flag, list, value};
    let flags = vec![
        value("kubeconfig", "FILE", "The kubeconfig to use, instead of $KUBECONFIG or ~/.kube/config"),
        value("context", "NAME", "The kubeconfig's context to use"),
        value("cluster", "NAME", "The kubeconfig's cluster to use"),
        value("user", "NAME", "The kubeconfig's user to use"),
        value("namespace", "NAME", "The namespace to work in").short('n'),
        value("server", "URL", "Address of the API server").short('s'),
        value("token", "TOKEN", "Bearer token to present"),
        value("tls-server-name", "NAME", "Name to expect in the server's certificate"),
        value("certificate-authority", "FILE", "Certificates to trust"),
        value("client-certificate", "FILE", "Certificate to present"),
        value("client-key", "FILE", "Key of the certificate to present"),
        flag("insecure-skip-tls-verify", "Trust any certificate; makes the connection insecure"),
        value("as", "USER", "Act as this user"),
        list("as-group", "GROUP", "Act as a member of this group; may be repeated"),
        value("as-uid", "UID", "Act as the user with this UID"),
        value("request-timeout", "DURATION", "Give up requests after this time; 0 for never")
            .default_value("0"),
        value("v", "LEVEL", "How much to log, 0 to 9").short('v').default_value("0"),
    ];
    flags
        .into_iter()
        .map(|flag| flag.global(true).help_heading("Global flags").hide_short_help(true))
        .collect()
}

/// A duration such as `30s`; bare numbers are seconds.
pub(crate) fn duration(text: &str) -> Result<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let parsed =
        machinery::duration::Duration::parse(text).ok().and_then(machinery::duration::Duration::to_std);
    parsed.ok_or_else(|| {
        message(format!("invalid duration {text:?}: write it as a number with a unit, such as 30s, 5m or 1h"))
    })
}

impl Session {
    pub(crate) fn new(streams: Streams, matches: &ArgMatches, local: bool, own_user: bool) -> Result<Self> {
        let own = |name: &str| text(matches, name).map(str::to_owned);
        let path = |name: &str| text(matches, name).map(PathBuf::from);
        let timeout = duration(text(matches, "request-timeout").unwrap_or("0"))?;
        let globals = Globals {
            kubeconfig: path("kubeconfig"),
            context: own("context"),
            cluster: own("cluster"),
            // Some commands have users of their own, such as the subjects of a binding.
            user: own("user").filter(|_| !own_user),
            namespace: given(matches, "namespace").then(|| own("namespace")).flatten(),
            server: own("server"),
            token: own("token"),
            tls_server_name: own("tls-server-name"),
            authority: path("certificate-authority"),
            certificate: path("client-certificate"),
            key: path("client-key"),
            insecure: is_set(matches, "insecure-skip-tls-verify"),
            impersonate: Impersonate {
                user: own("as").unwrap_or_default(),
                uid: own("as-uid").unwrap_or_default(),
                groups: words(matches, "as-group"),
            },
            timeout: (!timeout.is_zero()).then_some(timeout),
            local,
        };
        let clock = SystemClock::shared();
        Ok(Self {
            streams,
            clock,
            globals,
            config: OnceCell::new(),
            rest: OnceCell::new(),
            discovery: OnceCell::new(),
        })
    }

    /// The explicit kubeconfig, if one was given.
    pub(crate) fn kubeconfig_path(&self) -> Option<&Path> {
        self.globals.kubeconfig.as_deref()
    }

    /// Whether this is the command line built into `windlass`.
    pub(crate) fn is_builtin(&self) -> bool {
        self.globals.local
    }

    /// The context that was asked for.
    pub(crate) fn context(&self) -> Option<&str> {
        self.globals.context.as_deref()
    }

    /// The kubeconfig in effect.
    pub(crate) fn kubeconfig(&self) -> Result<Kubeconfig> {
        let known = Kubeconfig::load(self.kubeconfig_path())?;
        let empty = known.contexts.is_empty() && known.clusters.is_empty();
        let local = Path::new(LOCAL_KUBECONFIG);
        if empty
            && self.globals.local
            && self.globals.kubeconfig.is_none()
            && self.globals.server.is_none()
            && local.exists()
        {
            return Ok(Kubeconfig::read(local)?);
        }
        Ok(known)
    }

    fn load_config(&self) -> Result<Config> {
        let globals = &self.globals;
        let known = self.kubeconfig()?;
        let name = globals.context.as_deref().unwrap_or(&known.current_context);
        let context = known.context(name);
        if context.is_none() && globals.context.is_some() {
            return Err(message(format!("context {name:?} does not exist")));
        }
        let context = context.cloned().unwrap_or_default();
        let cluster = globals.cluster.as_deref().unwrap_or(&context.cluster);
        let user = globals.user.as_deref().unwrap_or(&context.user);
        let mut config =
            if !cluster.is_empty() && (globals.server.is_none() || known.cluster(cluster).is_some()) {
                known.config_of(cluster, user, context.namespace.as_deref().unwrap_or(""))?
            } else if let Some(server) = &globals.server {
                Config { server: server.clone(), ..Config::default() }
            } else {
                Config::in_cluster().unwrap_or_else(|_| Config {
                    server: "http://localhost:8080".to_owned(),
                    ..Config::default()
                })
            };
        if let Some(server) = &globals.server {
            let plain = !server.contains("://");
            config.server = if plain { format!("http://{server}") } else { server.clone() };
        }
        self.override_trust(&mut config)?;
        if let Some(token) = &globals.token {
            config.credentials = Credentials::Token(token.clone());
        }
        let who = &globals.impersonate;
        if !who.user.is_empty() {
            config.impersonate = who.clone();
        } else if !who.groups.is_empty() || !who.uid.is_empty() {
            return Err(message("requesting uid, groups or user-extra for without impersonating a user"));
        }
        if let Some(namespace) = &globals.namespace {
            config.namespace = namespace.clone();
        }
        Ok(config)
    }

    fn override_trust(&self, config: &mut Config) -> Result<()> {
        let globals = &self.globals;
        let read = |path: &Path| {
            std::fs::read(path).map_err(|error| {
                message(format!("unable to read {}: {error}; check the path", path.display()))
            })
        };
        if let Some(path) = &globals.authority {
            config.ca = Some(read(path)?);
        }
        if let (Some(certificate), Some(key)) = (&globals.certificate, &globals.key) {
            let pair = component::tls::KeyPair { certificate: read(certificate)?, key: read(key)? };
            config.client_pair = Some(pair);
        }
        if let Some(name) = &globals.tls_server_name {
            config.tls_server_name = Some(name.clone());
        }
        if globals.insecure {
            config.insecure = true;
            config.ca = None;
        }
        Ok(())
    }

    /// Where the API server is and who we are to it.
    pub(crate) async fn config(&self) -> Result<&Config> {
        self.config.get_or_try_init(|| async { self.load_config() }).await
    }

    /// The API.
    pub(crate) async fn rest(&self) -> Result<&Rest> {
        self.rest
            .get_or_try_init(|| async {
                let config = self.config().await?.clone();
                let transport = HttpTransport::new(config, self.clock.clone()).await?;
                Ok(Rest::new(transport, self.streams.clone(), self.globals.timeout))
            })
            .await
    }

    /// What the API serves.
    pub(crate) async fn discovery(&self) -> Result<&Discovery> {
        self.discovery.get_or_try_init(|| async { Discovery::load(self.rest().await?).await }).await
    }

    /// The namespace to work in.
    pub(crate) async fn namespace(&self) -> Result<String> {
        Ok(self.config().await?.namespace().to_owned())
    }

    /// Whether a namespace was asked for by flag.
    pub(crate) fn namespace_given(&self) -> bool {
        self.globals.namespace.is_some()
    }

    /// Prints.
    pub(crate) fn out(&self, text: impl AsRef<[u8]>) -> Result<()> {
        Ok(self.streams.out(text)?)
    }

    /// Prints a line.
    pub(crate) fn line(&self, text: impl AsRef<str>) -> Result<()> {
        self.out(format!("{}\n", text.as_ref()))
    }

    /// Now, for ages.
    pub(crate) fn now(&self) -> Timestamp {
        client::time::now(&*self.clock)
    }
}
