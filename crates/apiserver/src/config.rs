//! [`Config`]: what an API server needs to know to start.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// One address to serve on.
#[derive(Debug)]
pub struct Listen {
    /// Bound socket; the port is free to be chosen by the system.
    pub listener: TcpListener,
    /// TLS configuration; `None` serves clear text, for tests on loopback.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

/// Service account tokens.
#[derive(Clone, Debug, Default)]
pub struct ServiceAccounts {
    /// `iss` of tokens.
    pub issuer: String,
    /// Audiences of tokens without one of their own; usually the issuer.
    pub audiences: Vec<String>,
    /// PEM private key that signs; without one, no tokens are issued.
    pub signing_key: Option<Vec<u8>>,
    /// PEM public keys that are accepted besides the signing key's.
    pub verification_keys: Vec<Vec<u8>>,
}

/// How the API server reaches kubelets.
#[derive(Clone, Debug, Default)]
pub struct KubeletClient {
    /// TLS configuration with the API server's client certificate; `None` disables node connections.
    pub tls: Option<Arc<rustls::ClientConfig>>,
}

/// The configuration of an API server.
#[derive(Debug)]
pub struct Config {
    /// Address to hand to clients and in the `kubernetes` Service's endpoints.
    pub advertise: SocketAddr,
    /// IPv4 range of cluster IPs: network and prefix length.
    pub service_cidr: (Ipv4Addr, u8),
    /// First and last node port.
    pub node_ports: (u16, u16),
    /// PEM bundle of CAs whose client certificates are identities.
    pub client_ca: Option<Vec<u8>>,
    /// PEM bundle of CAs whose client certificates may set `X-Remote-User`.
    pub front_proxy_ca: Option<Vec<u8>>,
    /// The certificate with which this server speaks for its users to remote API servers.
    pub front_proxy_client: Option<component::tls::KeyPair>,
    /// Names that those certificates must have; empty allows all.
    pub front_proxy_names: Vec<String>,
    /// Service account tokens.
    pub service_accounts: ServiceAccounts,
    /// Static tokens (`--token-auth-file`), if any.
    pub token_file: Option<PathBuf>,
    /// Passwords (`--basic-auth-file`), if any.
    pub basic_file: Option<PathBuf>,
    /// Issuers of tokens that are accepted.
    pub jwt: crate::authn::JwtSettings,
    /// A server that knows tokens.
    pub token_webhook: Option<crate::authn::TokenWebhook>,
    /// Whether requests without credentials are `system:anonymous` (else they are refused).
    pub anonymous: bool,
    /// Authorizers in order: `Node`, `RBAC`, `ABAC`, `Webhook`, `AlwaysAllow`, `AlwaysDeny`.
    pub authorization_modes: Vec<String>,
    /// The files and servers that authorizers need.
    pub authorization: crate::authz::AuthorizationSettings,
    /// What is audited, and where to.
    pub audit: crate::audit::AuditConfig,
    /// Encryption at rest.
    pub encryption: Option<crate::storage::encryption::EncryptionConfig>,
    /// Admission plugins to add to the default ones.
    pub enable_admission: Vec<String>,
    /// Default admission plugins to leave out.
    pub disable_admission: Vec<String>,
    /// Configurations of admission plugins (`--admission-control-config-file`).
    pub admission_config: Option<PathBuf>,
    /// How to reach kubelets.
    pub kubelet: KubeletClient,
    /// Cluster domain, for messages and service account issuers.
    pub cluster_domain: String,
    /// How long a request that does not stream may take.
    pub request_timeout: Duration,
    /// Feature gate `CBORServingAndStorage`: read and write CBOR (alpha and off by default, as upstream).
    pub cbor: bool,
    /// Bytes that the bodies of requests may have.
    pub max_body: usize,
    /// How long events are kept.
    pub event_ttl: Duration,
    /// How many requests are taken at once, and by what rules.
    pub flow_control: crate::flowcontrol::Settings,
    /// How long the store may take to answer health checks: `/healthz` and `/livez`, `/readyz`.
    pub store_check_timeouts: (Duration, Duration),
}

impl Default for Config {
    /// Upstream's defaults with everything allowed that is not about identity: RBAC and Node authorization.
    fn default() -> Self {
        Self {
            advertise: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 6443),
            service_cidr: (Ipv4Addr::new(10, 96, 0, 0), 16),
            node_ports: (30000, 32767),
            client_ca: None,
            front_proxy_ca: None,
            front_proxy_client: None,
            front_proxy_names: Vec::new(),
            service_accounts: ServiceAccounts::default(),
            token_file: None,
            basic_file: None,
            jwt: crate::authn::JwtSettings::default(),
            token_webhook: None,
            anonymous: true,
            authorization_modes: vec!["Node".to_owned(), "RBAC".to_owned()],
            authorization: crate::authz::AuthorizationSettings::default(),
            audit: crate::audit::AuditConfig::default(),
            encryption: None,
            enable_admission: Vec::new(),
            disable_admission: Vec::new(),
            admission_config: None,
            kubelet: KubeletClient::default(),
            cluster_domain: "cluster.local".to_owned(),
            request_timeout: Duration::from_secs(60),
            cbor: false,
            max_body: 3 * 1024 * 1024,
            event_ttl: Duration::from_secs(3600),
            flow_control: crate::flowcontrol::Settings::default(),
            store_check_timeouts: (Duration::from_secs(2), Duration::from_secs(2)),
        }
    }
}
