//! One container as its shim holds it: made, run, attached to, ended, recorded.

use super::log::{Log, Stream};
use super::output::Output;
use super::poll::{Poll, Token};
use super::protocol::{ContainerState, ExitRecord, exit_file};
use crate::container::{ContainerSpec, Launched, PidMode, Stdio, launch};
use linux::cgroup::{Cgroups, Group};
use linux::process::Exit;
use linux::{Context, Error, Result};
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::pipe::PipeFlags;
use std::path::{Path, PathBuf};

/// See the module.
#[derive(Debug)]
pub(super) struct Container {
    id: String,
    directory: PathBuf,
    pids: PidMode,
    pub(super) child: linux::process::Child,
    pub(super) group: Group,
    /// Process id on the host.
    pub(super) pid: i32,
    started_at: i64,
    failure: Option<String>,
    exit: Option<ExitRecord>,
    log: Option<Log>,
    outputs: Vec<Output>,
    stdin: Option<OwnedFd>,
    terminal: Option<OwnedFd>,
}

fn duplicate(fd: &OwnedFd) -> Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(fd, 3).context(|| "duplicate a descriptor".to_owned())
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC).context(|| "make a pipe".to_owned())
}

fn quiet(fd: &OwnedFd) -> Result<()> {
    rustix::io::ioctl_fionbio(fd, true).context(|| "prepare to read output".to_owned())
}

impl Container {
    /// Forks the container's first process. Returns the container and where its notices come.
    pub(super) fn start(
        spec: &ContainerSpec,
        cgroups: &Cgroups,
        own_pids: BorrowedFd<'_>,
        target: Option<BorrowedFd<'_>>,
        poll: &mut Poll,
    ) -> Result<(Self, OwnedFd)> {
        let log = spec.log_path.as_deref().map(Log::open).transpose()?;
        let group = cgroups.group(&spec.cgroup)?;
        group.create()?;
        group.set(&spec.resources)?;
        let mut stdio = Stdio { stdin: None, stdout: None, stderr: None };
        let (mut stdin, mut outputs) = (None, Vec::new());
        if !spec.process.terminal {
            if spec.stdin {
                let (read, write) = pipe()?;
                (stdio.stdin, stdin) = (Some(read), Some(write));
            }
            for (stream, slot) in [(Stream::Stdout, &mut stdio.stdout), (Stream::Stderr, &mut stdio.stderr)] {
                let (read, write) = pipe()?;
                quiet(&read)?;
                outputs.push(Output::new(stream, read, poll)?);
                *slot = Some(write);
            }
        }
        let Launched { child, notices } = launch(spec, &stdio, &group, own_pids, target)?;
        let pid = linux::process::visible_pid(rustix::fd::AsFd::as_fd(&child.pidfd))?;
        let container = Self {
            id: spec.id.clone(),
            directory: spec.directory.clone(),
            pids: spec.pids.clone(),
            child,
            group,
            pid,
            started_at: 0,
            failure: None,
            exit: None,
            log,
            outputs,
            stdin,
            terminal: None,
        };
        Ok((container, notices))
    }

    pub(super) fn state(&self) -> ContainerState {
        ContainerState {
            id: self.id.clone(),
            pid: self.pid,
            started_at: self.started_at,
            exit: self.exit.clone(),
        }
    }

    pub(super) fn running(&self) -> bool {
        self.started_at != 0 && self.exit.is_none()
    }

    pub(super) fn ended(&self) -> bool {
        self.exit.is_some()
    }

    /// Its program runs since `now`.
    pub(super) fn started(&mut self, now: i64) {
        self.started_at = now;
    }

    /// It will end without its program having run.
    pub(super) fn failed(&mut self, why: String) {
        self.failure = Some(why);
    }

    /// It has opened a terminal.
    pub(super) fn take_terminal(&mut self, terminal: OwnedFd, poll: &mut Poll) -> Result<()> {
        quiet(&terminal)?;
        self.outputs = vec![Output::new(Stream::Stdout, duplicate(&terminal)?, poll)?];
        self.terminal = Some(terminal);
        Ok(())
    }

    pub(super) fn owns(&self, token: Token) -> bool {
        self.outputs.iter().any(|output| output.owns(token))
    }

    /// Output, or room for it, behind `token`.
    pub(super) fn ready(&mut self, token: Token, poll: &Poll, now: i64) {
        for output in &mut self.outputs {
            if output.owns(token) {
                output.ready(token, poll, self.log.as_mut(), now);
                return;
            }
        }
    }

    /// Copies output to these descriptors and returns one for input, if there is any.
    pub(super) fn attach(
        &mut self,
        wants: [bool; 2],
        passed: Vec<OwnedFd>,
        poll: &mut Poll,
    ) -> Result<Option<OwnedFd>> {
        let mut passed = passed.into_iter();
        for (at, wanted) in wants.into_iter().enumerate() {
            let Some(fd) = wanted.then(|| passed.next()).flatten() else { continue };
            if let Some(output) = self.outputs.get_mut(at) {
                output.attach(fd, poll)?;
            }
        }
        self.terminal.as_ref().or(self.stdin.as_ref()).map(duplicate).transpose()
    }

    pub(super) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    pub(super) fn reopen_log(&mut self) -> Result<()> {
        self.log.as_mut().map_or(Ok(()), Log::reopen)
    }

    /// Its first process has ended: ends the others, reads what output is left, writes the record.
    pub(super) fn ended_with(&mut self, exit: Exit, poll: &Poll, now: i64) {
        let out_of_memory = self.group.oom_kills() > 0;
        if self.pids != PidMode::Own {
            // With a pid namespace of its own the kernel has done this already.
            report(self.group.kill());
        }
        for output in &mut self.outputs {
            output.drain(poll, self.log.as_mut(), now);
        }
        (self.log, self.stdin, self.terminal) = (None, None, None);
        // Busy while a process of it is on its way out: the runtime removes it for good with the container.
        let _ = self.group.remove();
        let record = ExitRecord {
            code: exit.code(),
            out_of_memory: out_of_memory && exit.code() != 0,
            started_at: self.started_at,
            finished_at: now,
            failure: self.failure.take(),
        };
        report(save(&self.directory, &record));
        self.exit = Some(record);
    }

    /// Sends a signal to its first process; SIGKILL to all of them where they would otherwise stay.
    pub(super) fn signal(&self, signal: i32) -> Result<()> {
        linux::process::signal(&self.child.pidfd, signal)?;
        if signal == rustix::process::Signal::KILL.as_raw() && self.pids != PidMode::Own {
            self.group.kill()?;
        }
        Ok(())
    }

    /// A handle to its pid namespace, for processes exec'd into it; `None` when it is the shim's own.
    pub(super) fn pid_namespace(&self) -> Result<Option<OwnedFd>> {
        if self.pids == PidMode::Inherited {
            return Ok(None);
        }
        let path = format!("/proc/{}/ns/pid", self.pid);
        linux::namespace::open(Path::new(&path)).map(Some)
    }
}

fn save(directory: &Path, record: &ExitRecord) -> Result<()> {
    let (file, fresh) = (exit_file(directory), directory.join("exit.new"));
    let what = || format!("write {}", file.display());
    let text = serde_json::to_vec(record).map_err(std::io::Error::from).context(what)?;
    std::fs::write(&fresh, text).context(what)?;
    std::fs::rename(&fresh, &file).context(what)
}

/// The shim goes on whatever happens; its log file tells.
pub(super) fn report<T>(result: Result<T, Error>) {
    if let Err(error) = result {
        eprintln!("{error}");
    }
}
