//! [`Options`]: which cluster, and how patient to be with it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Makes the TLS configuration of a new connection. It is asked for every connection, where blocking is allowed, so
/// that renewed certificates are taken up without a restart. The error says what cannot be read.
pub type Tls = Arc<dyn Fn() -> Result<Arc<rustls::ClientConfig>, String> + Send + Sync>;

/// How a watch learns that it has seen everything although nothing that it covers has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Progress {
    /// By asking, where the member's version answers reliably (3.4.31, 3.5.13 and later); by events elsewhere.
    #[default]
    Auto,
    /// By asking (WatchProgressRequest).
    Asked,
    /// By watching all keys of the cluster and passing on only what is covered: every revision has an event.
    Events,
}

/// Which cluster, and how patient to be with it.
#[derive(Clone)]
pub struct Options {
    /// URLs of members, as `https://10.0.0.1:2379`. A host and port without a scheme is `https` with `tls`, else
    /// `http`.
    pub endpoints: Vec<String>,
    /// How to speak TLS with endpoints that are `https`.
    pub tls: Option<Tls>,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long a request is tried, over all members.
    pub request_timeout: Duration,
    /// How often each member is asked whether it can answer for the cluster.
    pub probe_interval: Duration,
    /// How long it may take to answer that.
    pub probe_timeout: Duration,
    /// How often a quiet connection is checked. etcd refuses to be asked more often than every 5 s.
    pub keepalive: Duration,
    /// How long the answer to that may take.
    pub keepalive_timeout: Duration,
    /// Keys of one message; longer ranges are read in several, at one revision.
    pub page: usize,
    /// How watches learn how far they have seen.
    pub progress: Progress,
}

impl Options {
    /// The cluster of `endpoints`, with the default patience.
    pub fn new(endpoints: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            tls: None,
            connect_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(10),
            probe_interval: Duration::from_secs(1),
            probe_timeout: Duration::from_millis(1500),
            keepalive: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(10),
            page: 10_000,
            progress: Progress::Auto,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("endpoints", &self.endpoints)
            .field("tls", &self.tls.is_some())
            .field("request_timeout", &self.request_timeout)
            .finish_non_exhaustive()
    }
}
