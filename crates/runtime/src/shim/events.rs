//! The shim's one loop: requests, notices of children, output, ends.

use super::connection::{Connection, Role};
use super::containers::{Container, report};
use super::exec::{self, Exec};
use super::poll::{Interest, Poll, Ready, Token};
use super::protocol::{Reply, Request, State};
use crate::container::{Notice, PidMode, read_notice};
use linux::cgroup::Cgroups;
use linux::namespace::Kind;
use linux::process::Exit;
use linux::{Error, Result};
use rustix::fd::{AsFd, OwnedFd};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

/// After so long without anything to do, the shim gives back what memory it can.
const REST: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(super) struct Shim {
    poll: Poll,
    cgroups: Cgroups,
    own_pids: OwnedFd,
    listener: (UnixListener, Token),
    signals: (OwnedFd, Token),
    connections: BTreeMap<Token, Connection>,
    containers: BTreeMap<String, Container>,
    execs: BTreeMap<i32, Exec>,
    notices: BTreeMap<Token, (OwnedFd, Expected)>,
    over: bool,
}

/// Whom a notice is about.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Expected {
    Container { id: String, connection: Token },
    Exec(i32),
}

impl Shim {
    pub(super) fn new(cgroups: Cgroups, listener: UnixListener) -> Result<Self> {
        let mut poll = Poll::new()?;
        let listening = poll.add(&listener, Interest::Read)?;
        let signals =
            linux::process::signal_descriptor(&[Signal::CHILD, Signal::TERM, Signal::INT, Signal::HUP])?;
        let signalled = poll.add(&signals, Interest::Read)?;
        Ok(Self {
            poll,
            cgroups,
            own_pids: linux::namespace::own(Kind::Pid)?,
            listener: (listener, listening),
            signals: (signals, signalled),
            connections: BTreeMap::new(),
            containers: BTreeMap::new(),
            execs: BTreeMap::new(),
            notices: BTreeMap::new(),
            over: false,
        })
    }

    /// Serves until it is told to end.
    pub(super) fn run(mut self) -> Result<()> {
        let mut busy = true;
        while !self.over {
            let ready = self.poll.wait(busy.then_some(REST))?;
            busy = !ready.is_empty();
            if !busy {
                report(linux::process::forget_text());
            }
            for ready in ready {
                self.handle(ready);
            }
        }
        Ok(())
    }

    fn handle(&mut self, ready: Ready) {
        let token = ready.token;
        if token == self.listener.1 {
            self.accept();
        } else if token == self.signals.1 {
            // SIGTERM and the like are for programs: a pod ends when its runtime says so.
            while linux::process::next_signal(&self.signals.0).is_some() {}
            self.reap();
        } else if self.notices.contains_key(&token) {
            self.notice(token);
        } else if self.connections.contains_key(&token) {
            self.connection(ready);
        } else {
            let now = now();
            if let Some(container) = self.containers.values_mut().find(|each| each.owns(token)) {
                container.ready(token, &self.poll, now);
            }
        }
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.0.accept() {
            let made = Connection::new(stream).and_then(|connection| {
                let token = connection.register(&mut self.poll)?;
                self.connections.insert(token, connection);
                Ok(())
            });
            report(made);
        }
    }

    fn connection(&mut self, ready: Ready) {
        let token = ready.token;
        let Some(connection) = self.connections.get_mut(&token) else { return };
        if ready.write && !connection.flush(&self.poll, token) {
            self.connections.remove(&token);
            return;
        }
        if !ready.read {
            return;
        }
        let requests = self.connections.get_mut(&token).map(Connection::receive);
        match requests {
            Some(Some(requests)) => {
                for (request, passed) in requests {
                    self.request(token, request, passed);
                }
            }
            // Whatever was started for a peer that is gone goes on.
            _ => drop(self.connections.remove(&token)),
        }
    }

    fn reply(&mut self, token: Token, reply: &Reply, pass: Vec<OwnedFd>) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        if !connection.send(&self.poll, token, reply, pass) {
            self.connections.remove(&token);
        }
    }

    fn request(&mut self, token: Token, request: Request, passed: Vec<OwnedFd>) {
        let done = match self.serve(token, request, passed) {
            Ok(None) => return,
            Ok(Some((reply, pass))) => (reply, pass),
            Err(error) => (Reply::Failed(error.to_string()), Vec::new()),
        };
        self.reply(token, &done.0, done.1);
    }

    // `None`: the reply comes later.
    fn serve(
        &mut self,
        token: Token,
        request: Request,
        passed: Vec<OwnedFd>,
    ) -> Result<Option<(Reply, Vec<OwnedFd>)>> {
        let plain = |reply: Reply| Ok(Some((reply, Vec::new())));
        match request {
            Request::State => plain(Reply::State(self.state())),
            Request::Watch => {
                if let Some(connection) = self.connections.get_mut(&token) {
                    connection.role = Role::Watcher;
                }
                plain(Reply::State(self.state()))
            }
            Request::Start(spec) => {
                self.start(token, &spec)?;
                Ok(None)
            }
            Request::Exec { container, process } => {
                let found = self.running(&container)?;
                let (exec, notices) = exec::start(found, &process, passed, self.own_pids.as_fd(), token)?;
                let pid = exec.child.pid.as_raw_nonzero().get();
                self.execs.insert(pid, exec);
                if let Some(connection) = self.connections.get_mut(&token) {
                    connection.role = Role::Exec(pid);
                }
                self.expect(notices, Expected::Exec(pid))?;
                Ok(None)
            }
            Request::Signal { container, signal } => {
                self.signal(token, &container, signal)?;
                plain(Reply::Done)
            }
            Request::Attach { container, stdout, stderr } => {
                self.running(&container)?;
                let Some(found) = self.containers.get_mut(&container) else { return plain(Reply::Done) };
                let input = found.attach([stdout, stderr], passed, &mut self.poll)?;
                Ok(Some((Reply::Done, input.into_iter().collect())))
            }
            Request::CloseStdin { container } => {
                if let Some(found) = self.containers.get_mut(&container) {
                    found.close_stdin();
                }
                plain(Reply::Done)
            }
            Request::ReopenLog { container } => {
                self.running(&container)?;
                let reopened = self.containers.get_mut(&container).map(Container::reopen_log);
                reopened.unwrap_or(Ok(()))?;
                plain(Reply::Done)
            }
            Request::Forget { container } => {
                if self.containers.get(&container).is_some_and(Container::ended) {
                    self.containers.remove(&container);
                }
                plain(Reply::Done)
            }
            Request::Shutdown => {
                for container in self.containers.values().filter(|each| !each.ended()) {
                    container.signal(Signal::KILL.as_raw())?;
                    container.group.kill()?;
                }
                self.over = true;
                plain(Reply::Done)
            }
        }
    }

    fn state(&self) -> State {
        State { pid: own_pid(), containers: self.containers.values().map(Container::state).collect() }
    }

    fn running(&self, id: &str) -> Result<&Container> {
        let what = || format!("find container {id}");
        let found = self.containers.get(id).ok_or_else(|| Error::refused(what(), "it was never started"))?;
        if found.running() { Ok(found) } else { Err(Error::refused(what(), "it is not running")) }
    }

    fn start(&mut self, connection: Token, spec: &crate::container::ContainerSpec) -> Result<()> {
        if self.containers.contains_key(&spec.id) {
            return Err(Error::refused(format!("start container {}", spec.id), "it was started before"));
        }
        let target = match &spec.pids {
            PidMode::Of(other) => self.running(other)?.pid_namespace()?,
            PidMode::Own | PidMode::Inherited => None,
        };
        let target = target.as_ref().map(AsFd::as_fd);
        let (container, notices) =
            Container::start(spec, &self.cgroups, self.own_pids.as_fd(), target, &mut self.poll)?;
        self.containers.insert(spec.id.clone(), container);
        self.expect(notices, Expected::Container { id: spec.id.clone(), connection })
    }

    fn expect(&mut self, notices: OwnedFd, whom: Expected) -> Result<()> {
        let token = self.poll.add(&notices, Interest::Read)?;
        self.notices.insert(token, (notices, whom));
        Ok(())
    }

    fn signal(&mut self, token: Token, container: &str, signal: i32) -> Result<()> {
        if let Some(Role::Exec(pid)) = self.connections.get(&token).map(|connection| connection.role) {
            if let Some(exec) = self.execs.get(&pid) {
                linux::process::signal(&exec.child.pidfd, signal)?;
            }
            return Ok(());
        }
        let found = self.containers.get(container);
        let found = found
            .ok_or_else(|| Error::refused(format!("find container {container}"), "it was never started"))?;
        if found.ended() { Ok(()) } else { found.signal(signal) }
    }

    fn notice(&mut self, token: Token) {
        let Some((notices, whom)) = self.notices.get(&token) else { return };
        let (notice, whom) = (read_notice(notices), whom.clone());
        let last = !matches!(notice, None | Some(Notice::Terminal(_)));
        if last {
            self.notices.remove(&token);
        }
        match (whom, notice) {
            (_, None) => {}
            (Expected::Container { id, connection }, Some(notice)) => {
                self.container_notice(&id, connection, notice);
            }
            (Expected::Exec(pid), Some(notice)) => self.exec_notice(pid, notice),
        }
    }

    fn container_notice(&mut self, id: &str, connection: Token, notice: Notice) {
        let Some(container) = self.containers.get_mut(id) else { return };
        match notice {
            Notice::Terminal(terminal) => report(container.take_terminal(terminal, &mut self.poll)),
            Notice::Failed(why) => {
                container.failed(why.clone());
                self.reply(connection, &Reply::Failed(why), Vec::new());
            }
            Notice::Running => {
                container.started(now());
                let (reply, change) =
                    (Reply::Started { pid: container.pid }, Reply::Changed(container.state()));
                self.reply(connection, &reply, Vec::new());
                self.tell_watchers(&change);
            }
        }
    }

    fn exec_notice(&mut self, pid: i32, notice: Notice) {
        let Some(exec) = self.execs.get_mut(&pid) else { return };
        let connection = exec.connection;
        match notice {
            Notice::Terminal(terminal) => exec.terminal = Some(terminal),
            Notice::Failed(why) => {
                exec.answered = true;
                if let Some(connection) = self.connections.get_mut(&connection) {
                    connection.role = Role::Plain;
                }
                self.reply(connection, &Reply::Failed(why), Vec::new());
            }
            Notice::Running => {
                exec.answered = true;
                let pass = exec.terminal.take().into_iter().collect();
                let pid = linux::process::visible_pid(exec.child.pidfd.as_fd()).unwrap_or(pid);
                self.reply(connection, &Reply::Started { pid }, pass);
            }
        }
    }

    fn tell_watchers(&mut self, change: &Reply) {
        let watchers: Vec<Token> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.role == Role::Watcher)
            .map(|(token, _)| *token)
            .collect();
        for token in watchers {
            self.reply(token, change, Vec::new());
        }
    }

    fn reap(&mut self) {
        loop {
            match linux::process::reap() {
                Ok(Some((pid, exit))) => self.ended(pid, exit),
                Ok(None) => return,
                Err(error) => {
                    eprintln!("{error}");
                    return;
                }
            }
        }
    }

    // An orphan of some container that came to us has nobody else to tell.
    fn ended(&mut self, pid: i32, exit: Exit) {
        if self.execs.contains_key(&pid) {
            self.hear_out(&Expected::Exec(pid));
            if let Some(exec) = self.execs.remove(&pid) {
                let reply = Reply::Exited { code: exit.code() };
                if let Some(connection) = self.connections.get_mut(&exec.connection) {
                    let asked = connection.role == Role::Exec(pid);
                    connection.last_words = true;
                    if asked {
                        self.reply(exec.connection, &reply, Vec::new());
                    } else if !connection.flush(&self.poll, exec.connection) {
                        self.connections.remove(&exec.connection);
                    }
                }
            }
            return;
        }
        let found = self.containers.iter().find(|(_, each)| each.child.pid.as_raw_nonzero().get() == pid);
        let Some(id) = found.map(|(id, _)| id.clone()) else { return };
        let expected: Vec<Expected> = self
            .notices
            .values()
            .map(|(_, whom)| whom.clone())
            .filter(|whom| matches!(whom, Expected::Container { id: other, .. } if *other == id))
            .collect();
        expected.iter().for_each(|whom| self.hear_out(whom));
        let now = now();
        if let Some(container) = self.containers.get_mut(&id) {
            container.ended_with(exit, &self.poll, now);
            let change = Reply::Changed(container.state());
            self.tell_watchers(&change);
        }
    }

    // The end of a child can be seen before its last notice.
    fn hear_out(&mut self, whom: &Expected) {
        let found = self.notices.iter().find(|(_, (_, other))| other == whom);
        let Some(token) = found.map(|(token, _)| *token) else { return };
        // At most a terminal and the outcome.
        for _ in 0..2 {
            self.notice(token);
        }
    }
}

/// Wall-clock nanoseconds since the epoch.
fn now() -> i64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}

// In a shared pid namespace this process is 1 to itself; the host's /proc knows better.
fn own_pid() -> i32 {
    std::fs::read_link(Path::new("/proc/self")).ok().and_then(|path| path.to_str()?.parse().ok()).unwrap_or(0)
}
