//! [`Lanes`]: as many connections as the open watches need.
//!
//! A server lets a connection have so many streams at once (100 by RFC 9113's advice, 250 by Kubernetes' default) and
//! hyper's pool keeps one HTTP/2 connection per server, on which further requests then wait. Watches stay open for
//! minutes, so a process with many of them would wait for ever: each lane is a pool of its own, filled up to half of
//! what servers allow, and the other half is left to requests that end soon.

use super::connect::Connector;
use bytes::Bytes;
use http_body_util::Full;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Watches on a connection: half of the fewest streams that servers should allow.
const PER_LANE: usize = 50;
/// A silent HTTP/2 connection is probed after this long…
const PING_AFTER: Duration = Duration::from_secs(30);
/// …and given up after this long without an answer (client-go's values).
const PING_TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes of one answer that may be on their way unread, and of all answers of a connection together (client-go's
/// values). The second is so large because a watch that is not read must not hold up the connection's other answers.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 1 << 30;

/// One connection when the server speaks HTTP/2, as many as needed when it does not.
pub(super) type Connections = Pool<Connector, Full<Bytes>>;

pub(super) struct Lanes {
    connector: Connector,
    /// Never empty; the first serves requests that end soon.
    lanes: Mutex<Vec<Arc<Lane>>>,
}

struct Lane {
    connections: Connections,
    watches: AtomicUsize,
}

/// A place for one watch. Dropped when the watch ends.
pub(super) struct Place(Arc<Lane>);

impl Place {
    pub(super) fn connections(&self) -> &Connections {
        &self.0.connections
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.watches.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lane {
    fn new(connector: &Connector) -> Arc<Self> {
        let connections = Pool::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .http2_keep_alive_interval(PING_AFTER)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .http2_keep_alive_while_idle(true)
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW)
            .build(connector.clone());
        Arc::new(Self { connections, watches: AtomicUsize::new(0) })
    }
}

impl Lanes {
    pub(super) fn new(connector: Connector) -> Self {
        let first = Lane::new(&connector);
        Self { connector, lanes: Mutex::new(vec![first]) }
    }

    /// The connections for requests that end soon.
    pub(super) fn first(&self) -> Connections {
        self.lanes.lock()[0].connections.clone()
    }

    /// A place for a watch, on a new connection when all others have as many as they should.
    pub(super) fn place(&self) -> Place {
        let mut lanes = self.lanes.lock();
        let free = lanes.iter().position(|lane| lane.watches.load(Ordering::Relaxed) < PER_LANE);
        // Lanes behind the chosen one that nobody uses any more are closed.
        let used = lanes.iter().rposition(|lane| lane.watches.load(Ordering::Relaxed) > 0);
        let at = free.unwrap_or(lanes.len());
        lanes.truncate(used.unwrap_or(0).max(at) + 1);
        if at == lanes.len() {
            lanes.push(Lane::new(&self.connector));
        }
        lanes[at].watches.fetch_add(1, Ordering::Relaxed);
        Place(lanes[at].clone())
    }
}
