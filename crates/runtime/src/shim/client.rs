//! The runtime's side of the conversation with a shim.

use super::protocol::{self, Reply, Request, SETUP, SOCKET, Setup};
use linux::{Context, Error, Result};
use rustix::fd::{AsFd, OwnedFd};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Stdio;
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Starts the shim of a pod whose state directory is `state`. Returns once it answers.
pub(crate) async fn spawn(command: &[OsString], state: &Path, setup: &Setup) -> Result<()> {
    let what = || "start the pod's shim".to_owned();
    let text = serde_json::to_vec(setup).map_err(std::io::Error::from).context(what)?;
    let file = state.join(SETUP);
    tokio::fs::write(&file, text).await.context(|| format!("write {}", file.display()))?;
    let (program, args) = command
        .split_first()
        .ok_or_else(|| Error::refused(what(), "the configuration names no command for it"))?;
    let output = tokio::process::Command::new(program)
        .args(args)
        .arg(state)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .await
        .context(|| format!("run {}", Path::new(program).display()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim();
    Err(Error::refused(what(), if said.is_empty() { output.status.to_string() } else { said.to_owned() }))
}

/// One conversation with a shim.
#[derive(Debug)]
pub(crate) struct Conversation {
    stream: UnixStream,
    buffer: Vec<u8>,
    passed: Vec<OwnedFd>,
}

impl Conversation {
    /// Connects to the shim whose state directory is `state`. Fails at once when there is none.
    pub(crate) async fn open(state: &Path) -> Result<Self> {
        let path = state.join(SOCKET);
        let address = linux::socket::Address::of(&path)?;
        let stream = UnixStream::connect(address.path())
            .await
            .context(|| format!("reach the pod's shim at {}", path.display()))?;
        Ok(Self { stream, buffer: Vec::new(), passed: Vec::new() })
    }

    /// Sends a request, with descriptors.
    pub(crate) async fn send(&self, request: &Request, pass: &[OwnedFd]) -> Result<()> {
        let what = || "talk to the pod's shim".to_owned();
        let frame = protocol::encode(request).context(what)?;
        let mut pass: Vec<_> = pass.iter().map(AsFd::as_fd).collect();
        let mut sent = 0;
        while sent < frame.len() {
            let write = || linux::socket::send(&self.stream, &frame[sent..], &pass);
            sent += self.stream.async_io(Interest::WRITABLE, write).await.context(what)?;
            pass.clear();
        }
        Ok(())
    }

    /// The next reply, with the descriptors that came along. An error when the shim is gone.
    pub(crate) async fn next(&mut self) -> Result<(Reply, Vec<OwnedFd>)> {
        let what = || "hear from the pod's shim".to_owned();
        loop {
            if let Some(reply) = protocol::decode(&mut self.buffer).context(what)? {
                return Ok((reply, std::mem::take(&mut self.passed)));
            }
            let mut chunk = [0; 16 * 1024];
            let mut passed = Vec::new();
            let read = || linux::socket::receive(&self.stream, &mut chunk, &mut passed);
            let length = self.stream.async_io(Interest::READABLE, read).await.context(what)?;
            if length == 0 {
                return Err(std::io::Error::from(ErrorKind::UnexpectedEof)).context(what);
            }
            self.buffer.extend_from_slice(&chunk[..length]);
            self.passed.extend(passed);
        }
    }

    /// The next reply, where a failure of the shim's is an error.
    pub(crate) async fn reply(&mut self) -> Result<(Reply, Vec<OwnedFd>)> {
        match self.next().await? {
            (Reply::Failed(why), _) => {
                // The shim has worded it; only the prefix is said twice.
                let why = why.strip_prefix("failed to ").map(str::to_owned).unwrap_or(why);
                let (what, why) = why.split_once(": ").map_or((why.as_str(), ""), |both| both);
                Err(Error::refused(what, why))
            }
            reply => Ok(reply),
        }
    }
}

/// Asks one thing and waits for the answer.
pub(crate) async fn ask(state: &Path, request: &Request, pass: &[OwnedFd]) -> Result<(Reply, Vec<OwnedFd>)> {
    let mut conversation = Conversation::open(state).await?;
    conversation.send(request, pass).await?;
    conversation.reply().await
}
