//! The streaming server: exec, attach and port-forward, over SPDY/3.1 or WebSocket, at URLs with a token that
//! works once.

use crate::server::{Error, Inner};
use cri::v1;
use std::sync::Arc;

/// What a token stands for.
#[derive(Debug)]
pub(crate) enum Session {
    Exec(v1::ExecRequest),
    Attach(v1::AttachRequest),
    PortForward(v1::PortForwardRequest),
}

#[derive(Debug)]
pub(crate) struct Server {}

impl Server {
    pub(crate) async fn bind() -> Result<Self, Error> {
        Ok(Self {})
    }
    pub(crate) fn start(&self, _inner: &Arc<Inner>) {}
    pub(crate) fn prepare(&self, _inner: &Inner, _session: Session) -> Result<String, Error> {
        Err(Error::Unsupported("streaming"))
    }
}
