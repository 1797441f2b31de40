//! Exec and attach: bytes between a client's channels and a container's descriptors.

use super::channels::{Channels, Output};
use super::status::Outcome;
use super::terminal::Terminal;
use crate::server::exec::{self, Process};
use crate::server::{Error, Inner};
use crate::shim::client;
use crate::shim::protocol::Request;
use bytes::Bytes;
use cri::v1;
use linux::Context;
use rustix::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

const CHUNK: usize = 32 * 1024;

/// How long output may go on after the command has ended: something it left behind still has it open.
const LINGER: Duration = Duration::from_secs(2);

/// Runs a command for a client and tells how it ended.
pub(super) async fn exec(inner: &Arc<Inner>, request: v1::ExecRequest, mut channels: Channels) {
    let done = if request.tty {
        exec_terminal(inner, request, &mut channels).await
    } else {
        exec_pipes(inner, request, &mut channels).await
    };
    let outcome = match done {
        Ok(Some(code)) => Outcome::Exited(code),
        // The client is gone: nobody to tell.
        Ok(None) => return,
        Err(error) => Outcome::Failed(format!("error executing command in container: {error}")),
    };
    finish(&channels).await;
    outcome.tell(channels.error.as_ref(), channels.status).await;
}

async fn finish(channels: &Channels) {
    for output in [&channels.stdout, &channels.stderr].into_iter().flatten() {
        output.finish().await;
    }
}

async fn exec_pipes(
    inner: &Arc<Inner>,
    request: v1::ExecRequest,
    channels: &mut Channels,
) -> Result<Option<i32>, Error> {
    let container = exec::running(inner, &request.container_id)?;
    let (stdin, our_stdin) = match channels.stdin {
        Some(_) => {
            let (theirs, ours) = exec::input_pipe()?;
            (theirs, Some(ours))
        }
        None => (exec::null()?, None),
    };
    let (stdout, our_stdout) = wanted(channels.stdout.is_some())?;
    let (stderr, our_stderr) = wanted(channels.stderr.is_some())?;
    let mut process =
        Process::start(inner, &container, request.cmd, vec![stdin, stdout, stderr], false).await?;
    let feeding = feed(channels.stdin.take(), our_stdin);
    let reading = async {
        tokio::join!(copy(our_stdout, channels.stdout.as_ref()), copy(our_stderr, channels.stderr.as_ref()));
    };
    let closed = channels.closed.clone();
    attend(inner, process.wait(), feeding, reading, closed.cancelled()).await
}

// Waits for the end of the process and of its output; until then bytes go both ways. None when the client left.
async fn attend(
    inner: &Inner,
    ended: impl Future<Output = Result<i32, Error>>,
    feeding: impl Future<Output = ()>,
    reading: impl Future<Output = ()>,
    closed: impl Future<Output = ()>,
) -> Result<Option<i32>, Error> {
    tokio::pin!(ended, feeding, reading, closed);
    let (mut fed, mut read) = (false, false);
    let code = loop {
        tokio::select! {
            code = &mut ended => break code?,
            () = &mut feeding, if !fed => fed = true,
            () = &mut reading, if !read => read = true,
            () = &mut closed => return Ok(None),
        }
    };
    if !read {
        let linger = inner.clock.sleep(LINGER);
        tokio::select! { () = &mut reading => {}, () = linger => {}, () = &mut closed => return Ok(None) }
    }
    Ok(Some(code))
}

fn wanted(wanted: bool) -> Result<(OwnedFd, Option<pipe::Receiver>), Error> {
    if !wanted {
        return Ok((exec::null()?, None));
    }
    let (ours, theirs) = exec::output_pipe()?;
    Ok((theirs, Some(ours)))
}

// Ends the command's input with the client's.
async fn feed(from: Option<mpsc::Receiver<Bytes>>, to: Option<pipe::Sender>) {
    let (Some(mut from), Some(mut to)) = (from, to) else { return };
    while let Some(data) = from.recv().await {
        if to.write_all(&data).await.is_err() {
            // It reads no more; what the client still sends goes nowhere.
            break;
        }
    }
    drop(to);
    while from.recv().await.is_some() {}
}

async fn copy(from: Option<pipe::Receiver>, to: Option<&Output>) {
    let (Some(mut from), Some(to)) = (from, to) else { return };
    let mut chunk = vec![0; CHUNK];
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        if !to.send(Bytes::copy_from_slice(&chunk[..length])).await {
            return;
        }
    }
}

async fn exec_terminal(
    inner: &Arc<Inner>,
    request: v1::ExecRequest,
    channels: &mut Channels,
) -> Result<Option<i32>, Error> {
    let container = exec::running(inner, &request.container_id)?;
    let mut process = Process::start(inner, &container, request.cmd, Vec::new(), true).await?;
    let terminal = process.terminal.take();
    let terminal =
        terminal.ok_or_else(|| linux::Error::refused("exec", "no terminal came from the container"))?;
    let terminal = Terminal::new(terminal)?;
    let (stdin, resize) = (channels.stdin.take(), channels.resize.take());
    let feeding = async {
        tokio::join!(type_in(stdin, Some(&terminal)), resize_all(resize, Some(&terminal)));
    };
    let reading = async {
        let mut chunk = vec![0; CHUNK];
        while let Ok(length @ 1..) = terminal.read(&mut chunk).await {
            if let Some(output) = &channels.stdout
                && !output.send(Bytes::copy_from_slice(&chunk[..length])).await
            {
                return;
            }
        }
    };
    let closed = channels.closed.clone();
    attend(inner, process.wait(), feeding, reading, closed.cancelled()).await
}

async fn type_in(from: Option<mpsc::Receiver<Bytes>>, terminal: Option<&Terminal>) {
    let (Some(mut from), Some(terminal)) = (from, terminal) else { return };
    while let Some(data) = from.recv().await {
        if terminal.write(&data).await.is_err() {
            return;
        }
    }
}

async fn resize_all(from: Option<mpsc::Receiver<Bytes>>, terminal: Option<&Terminal>) {
    let (Some(mut from), Some(terminal)) = (from, terminal) else { return };
    while let Some(message) = from.recv().await {
        terminal.resize(&message);
    }
}

/// Attaches a client to a container's first process until either ends.
pub(super) async fn attach(inner: &Arc<Inner>, request: v1::AttachRequest, mut channels: Channels) {
    let outcome = match attach_to(inner, request, &mut channels).await {
        Ok(true) => Outcome::Exited(0),
        Ok(false) => return,
        Err(error) => Outcome::Failed(format!("error attaching to container: {error}")),
    };
    finish(&channels).await;
    outcome.tell(channels.error.as_ref(), channels.status).await;
}

// Whether the client is still there.
async fn attach_to(
    inner: &Arc<Inner>,
    request: v1::AttachRequest,
    channels: &mut Channels,
) -> Result<bool, Error> {
    let container = exec::running(inner, &request.container_id)?;
    let tty = container.config().tty;
    let (wants_out, wants_err) = (channels.stdout.is_some(), channels.stderr.is_some() && !tty);
    let (mut pass, mut ours) = (Vec::new(), Vec::new());
    for wanted in [wants_out, wants_err] {
        let mut read = None;
        if wanted {
            let (receiver, theirs) = exec::output_pipe()?;
            pass.push(theirs);
            read = Some(receiver);
        }
        ours.push(read);
    }
    let state = inner.config.state_dir(&container.record.sandbox_id);
    let id = container.record.id.clone();
    let ask = Request::Attach { container: id.clone(), stdout: wants_out, stderr: wants_err };
    let (_, mut passed) = client::ask(&state, &ask, &pass).await?;
    drop(pass);
    let (our_err, our_out) = (ours.pop().flatten(), ours.pop().flatten());
    let reading = async {
        tokio::join!(copy(our_out, channels.stdout.as_ref()), copy(our_err, channels.stderr.as_ref()));
    };
    let (stdin, resize) = (channels.stdin.take(), channels.resize.take());
    let input = passed.pop();
    let feeding = async {
        if let Err(error) = input_of(inner, &container, input, stdin, resize).await {
            tracing::debug!(container = id, %error, "input could not be passed on");
        }
    };
    let mut phase = container.phase.subscribe();
    let over = async {
        // Its sender lives as long as the container here.
        let _ = phase.wait_for(|phase| matches!(phase, crate::server::model::Phase::Exited(_))).await;
        Ok(0)
    };
    let closed = channels.closed.clone();
    Ok(attend(inner, over, feeding, reading, closed.cancelled()).await?.is_some())
}

async fn input_of(
    inner: &Arc<Inner>,
    container: &crate::server::model::Container,
    input: Option<OwnedFd>,
    stdin: Option<mpsc::Receiver<Bytes>>,
    resize: Option<mpsc::Receiver<Bytes>>,
) -> Result<(), Error> {
    let Some(input) = input else { return Ok(()) };
    if container.config().tty {
        let terminal = Terminal::new(input)?;
        tokio::join!(type_in(stdin, Some(&terminal)), resize_all(resize, Some(&terminal)));
        return Ok(());
    }
    let Some(stdin) = stdin else { return Ok(()) };
    let sender = pipe::Sender::from_owned_fd(input).context(|| "attach".to_owned())?;
    feed(Some(stdin), Some(sender)).await;
    if container.config().stdin_once {
        let state = inner.config.state_dir(&container.record.sandbox_id);
        client::ask(&state, &Request::CloseStdin { container: container.record.id.clone() }, &[]).await?;
    }
    Ok(())
}
