//! Running a command in a container and waiting for it, and the processes behind streaming exec.

use super::model::{Container, Phase};
use super::{Error, Inner};
use crate::shim::client::Conversation;
use crate::shim::protocol::{Reply, Request};
use crate::spec;
use cri::v1;
use linux::Context;
use rustix::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

/// How much output of a command is kept, in bytes; the rest is dropped while the command goes on.
const MAX_OUTPUT: usize = 16 << 20;

/// How long output may go on after the command has ended: something it left behind still has it open.
const LINGER: Duration = Duration::from_secs(2);

/// A process exec'd into a container.
#[derive(Debug)]
pub(crate) struct Process {
    conversation: Conversation,
    /// The controlling side of its terminal, if it has one.
    pub(crate) terminal: Option<OwnedFd>,
}

impl Process {
    /// Starts `args` in a running container. `stdio` are its standard input, output and error; none with a terminal.
    pub(crate) async fn start(
        inner: &Inner,
        container: &Container,
        args: Vec<String>,
        stdio: Vec<OwnedFd>,
        terminal: bool,
    ) -> Result<Self, Error> {
        let process = Box::new(spec::exec(&container.spec, args, terminal));
        let request = Request::Exec { container: container.record.id.clone(), process };
        let mut conversation =
            Conversation::open(&inner.config.state_dir(&container.record.sandbox_id)).await?;
        conversation.send(&request, &stdio).await?;
        drop(stdio);
        let (_, mut passed) = conversation.reply().await?;
        Ok(Self { conversation, terminal: passed.pop() })
    }

    /// Waits for its end and returns its exit code.
    pub(crate) async fn wait(&mut self) -> Result<i32, Error> {
        loop {
            if let (Reply::Exited { code }, _) = self.conversation.reply().await? {
                return Ok(code);
            }
        }
    }

    /// Kills it.
    pub(crate) async fn kill(&self) -> Result<(), Error> {
        Ok(self.conversation.send(&Request::Signal { container: String::new(), signal: 9 }, &[]).await?)
    }
}

/// The container, if it runs.
pub(crate) fn running(inner: &Inner, id: &str) -> Result<Container, Error> {
    let container = inner.model.lock().container(id).cloned()?;
    match container.phase() {
        Phase::Running { .. } => Ok(container),
        _ => Err(Error::State(format!("container is in {} state", container.state().as_str_name()))),
    }
}

/// A pipe: what we read from, what the process writes to.
pub(crate) fn output_pipe() -> Result<(pipe::Receiver, OwnedFd), Error> {
    let (read, write) = pair()?;
    Ok((pipe::Receiver::from_owned_fd(read).context(|| "make a pipe".to_owned())?, write))
}

/// A pipe: what the process reads from, what we write to.
pub(crate) fn input_pipe() -> Result<(OwnedFd, pipe::Sender), Error> {
    let (read, write) = pair()?;
    Ok((read, pipe::Sender::from_owned_fd(write).context(|| "make a pipe".to_owned())?))
}

fn pair() -> Result<(OwnedFd, OwnedFd), Error> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).context(|| "make a pipe".to_owned())?)
}

/// Nothing to read.
pub(crate) fn null() -> Result<OwnedFd, Error> {
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
    Ok(rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty())
        .context(|| "open /dev/null".to_owned())?)
}

/// Runs a command in a container, waits for it and returns what it wrote.
pub(crate) async fn sync(
    inner: &Arc<Inner>,
    request: v1::ExecSyncRequest,
) -> Result<v1::ExecSyncResponse, Error> {
    let container = running(inner, &request.container_id)?;
    if request.cmd.is_empty() {
        return Err(Error::Invalid("exec command cannot be empty".into()));
    }
    let (mut stdout, their_stdout) = output_pipe()?;
    let (mut stderr, their_stderr) = output_pipe()?;
    let stdio = vec![null()?, their_stdout, their_stderr];
    let mut process = Process::start(inner, &container, request.cmd, stdio, false).await?;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit_code = attend(inner, &mut process, request.timeout, async {
        tokio::join!(collect(&mut stdout, &mut out), collect(&mut stderr, &mut err));
    })
    .await?;
    Ok(v1::ExecSyncResponse { stdout: out, stderr: err, exit_code })
}

// Waits for the end of a process while its output is read, and a little longer for what it left behind.
async fn attend(
    inner: &Inner,
    process: &mut Process,
    seconds: i64,
    reading: impl Future<Output = ()>,
) -> Result<i32, Error> {
    tokio::pin!(reading);
    let limit = u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs);
    let timeout = async {
        match limit {
            Some(limit) => inner.clock.sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(timeout);
    let mut read_out = false;
    let exit_code = loop {
        tokio::select! {
            code = process.wait() => break code?,
            () = &mut reading, if !read_out => read_out = true,
            () = &mut timeout => {
                process.kill().await?;
                return Err(Error::Timeout(format!("failed to exec in container: timeout {seconds}s exceeded: context deadline exceeded")));
            }
        }
    };
    if !read_out {
        let linger = inner.clock.sleep(LINGER);
        tokio::select! { () = &mut reading => {}, () = linger => {} }
    }
    Ok(exit_code)
}

async fn collect(from: &mut pipe::Receiver, to: &mut Vec<u8>) {
    let mut chunk = vec![0; 32 * 1024];
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        let room = MAX_OUTPUT - to.len();
        to.extend_from_slice(&chunk[..length.min(room)]);
    }
}
