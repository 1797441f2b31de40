//! Audit events to a server, as `EventList`s.

use super::event::Event;
use super::sink::Backend;
use crate::remote::Remote;
use async_trait::async_trait;
use component::SharedClock;
use std::sync::Arc;
use std::time::Duration;

/// How long one try may take (upstream's client timeout for webhooks).
const TIMEOUT: Duration = Duration::from_secs(30);
/// Tries of one batch, each after a pause 1.5 times as long as the one before (upstream's back-off).
const TRIES: u32 = 5;

/// The backend.
pub(super) struct Webhook {
    pub(super) remote: Remote,
    pub(super) backoff: Duration,
    pub(super) clock: SharedClock,
}

#[async_trait]
impl Backend for Webhook {
    fn name(&self) -> &'static str {
        "webhook"
    }

    async fn write(&self, events: &[Arc<Event>]) -> Result<(), String> {
        let mut body =
            br#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":["#.to_vec();
        for (at, event) in events.iter().enumerate() {
            if at > 0 {
                body.push(b',');
            }
            body.extend_from_slice(event.json());
        }
        body.extend_from_slice(b"]}");
        let body = bytes::Bytes::from(body);
        self.remote.post_again(&body, TIMEOUT, (TRIES, self.backoff), &self.clock).await.map(drop)
    }
}
