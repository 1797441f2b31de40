//! [`Cluster`]: a `windlass up --isolated` with a data directory of its own, taken down when dropped.

use crate::footprint::Footprint;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use tempfile::TempDir;

/// A running cluster. Its API server answers on a loopback port of the host; everything else is in network
/// namespaces with no route out.
pub struct Cluster {
    program: PathBuf,
    dir: TempDir,
    port: u16,
    nodes: u32,
    up: Option<Child>,
    said: Arc<Mutex<Vec<String>>>,
    /// Holds the network namespace of a cluster that is not isolated.
    network: Option<Child>,
}

/// Why a test that needs a cluster cannot run here; `None` when it can. Print it: a test must not be skipped in
/// silence.
pub fn unsupported() -> Option<String> {
    if !is_root() {
        return Some("needs root".to_owned());
    }
    let kubectl = kubectl_program();
    let missing = ["ip", "nsenter", &kubectl].into_iter().find(|program| !installed(program));
    missing.map(|program| format!("{program} is not installed"))
}

fn kubectl_program() -> String {
    std::env::var("KUBECTL").unwrap_or_else(|_| "kubectl".to_owned())
}

fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    Path::new(program).is_absolute() && Path::new(program).exists()
        || std::env::split_paths(&path).any(|dir| dir.join(program).exists())
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(1) == Some("0"))
}

impl Cluster {
    /// A cluster of `nodes` nodes that was not started yet, with the binary `program`.
    pub fn new(program: &Path, nodes: u32) -> Result<Self> {
        // A short path: sockets below it may have 107 bytes.
        let dir = tempfile::Builder::new().prefix("wl").tempdir_in("/tmp")?;
        let port = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let said = Arc::default();
        Ok(Self { program: program.to_owned(), dir, port, nodes, up: None, said, network: None })
    }

    /// A cluster of one node that is not isolated, but whose "host" is a network namespace with nothing but
    /// loopback. Not started yet.
    pub fn on_a_host_without_network(program: &Path) -> Result<Self> {
        let mut cluster = Self::new(program, 1)?;
        let mut holder = Command::new("unshare");
        // Says when the namespace is there, then waits for the end of its input.
        holder.args(["--net", "sh", "-c", "ip link set lo up && echo ready && cat"]);
        let mut holder = holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut ready = String::new();
        let out = holder.stdout.take().context("no standard output")?;
        cluster.network = Some(holder);
        BufReader::new(out).read_line(&mut ready)?;
        if ready.trim() != "ready" {
            bail!("failed to make a network namespace");
        }
        Ok(cluster)
    }

    /// Starts a cluster of `nodes` nodes with the binary `program`; returns when it says that it is ready.
    pub fn start(program: &Path, nodes: u32) -> Result<Self> {
        let mut cluster = Self::new(program, nodes)?;
        cluster.up(&[])?;
        Ok(cluster)
    }

    /// The port of the API server on the loopback address.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The data directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir().join("admin.kubeconfig")
    }

    /// A command in the cluster's host network.
    fn command(&self, program: &str) -> Command {
        let Some(holder) = &self.network else { return Command::new(program) };
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", holder.id())).arg(program);
        command
    }

    fn up_command(&self, flags: &[&str]) -> Command {
        let mut command = self.command(&self.program.to_string_lossy());
        command.arg("up").arg("--data-dir").arg(self.dir()).args(["--port", &self.port.to_string()]);
        if self.network.is_none() {
            command.args(["--isolated", "--nodes", &self.nodes.to_string()]);
        }
        command.args(flags);
        command
    }

    /// Runs `up` (again) with further flags; returns when it says that the cluster is ready, and what was applied too.
    pub fn up(&mut self, flags: &[&str]) -> Result<()> {
        let last = if flags.contains(&"--apply") { " answers at " } else { "The cluster is ready" };
        self.up_until(flags, last)
    }

    /// Runs `up`; returns when it prints a line that contains `last`, though it may not be ready yet.
    pub fn up_until(&mut self, flags: &[&str], last: &str) -> Result<()> {
        self.said().clear();
        let mut child =
            self.up_command(flags).stderr(Stdio::piped()).spawn().context("failed to run windlass")?;
        let stderr = child.stderr.take().context("no standard error")?;
        self.up = Some(child);
        let said = self.said.clone();
        let (ready, wait) = std::sync::mpsc::channel();
        let last = last.to_owned();
        // Reads on for as long as the process lives, so that it never blocks on a full pipe.
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                eprintln!("up: {line}");
                let found = line.contains(&last);
                said.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                if found {
                    let _ = ready.send(());
                }
            }
        });
        if wait.recv().is_ok() {
            return Ok(());
        }
        bail!("'windlass up' ended before the cluster was ready:\n{}", self.said().join("\n"))
    }

    /// The lines that the last `up` has printed.
    pub fn said(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs an `up` that must fail; what it says on standard error.
    pub fn up_fails(&self, flags: &[&str]) -> Result<String> {
        let done = self.up_command(flags).output().context("failed to run windlass")?;
        if done.status.success() {
            bail!("'windlass up' was expected to fail");
        }
        Ok(String::from_utf8_lossy(&done.stderr).into_owned())
    }

    /// Runs `down`.
    pub fn down(&self, flags: &[&str]) -> Result<String> {
        let mut down = self.command(&self.program.to_string_lossy());
        down.arg("down").arg("--data-dir").arg(self.dir()).args(flags);
        output(down.output()?, "down")
    }

    /// What the cluster has made on this machine.
    pub fn footprint(&self) -> Result<Footprint> {
        Footprint::take(&self.program, self.dir())
    }

    /// Runs a command in the cluster's host network.
    pub fn on_host(&self, program: &str, arguments: &[&str]) -> Result<String> {
        output(self.command(program).args(arguments).output()?, program)
    }

    /// The process id of `up`, if it runs.
    pub fn process(&self) -> Option<u32> {
        self.up.as_ref().map(Child::id)
    }

    /// Waits for `up`, which somebody else has told to stop.
    pub fn wait(&mut self) -> Result<()> {
        if let Some(mut up) = self.up.take() {
            up.wait()?;
        }
        Ok(())
    }

    /// Kills `up` with SIGKILL, as a crash would.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut up) = self.up.take() {
            up.kill()?;
            up.wait()?;
        }
        Ok(())
    }

    /// Runs `kubectl` from PATH, or the program that `KUBECTL` names; fails with what it says on standard error.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let program = kubectl_program();
        let mut command = self.command(&program);
        command.arg("--kubeconfig").arg(self.kubeconfig()).args(arguments);
        output(command.output().with_context(|| format!("failed to run {program}"))?, &arguments.join(" "))
    }

    /// Applies a manifest.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        let file = self.dir().join("apply.yaml");
        std::fs::write(&file, manifest)?;
        self.kubectl(&["apply", "-f", &file.to_string_lossy()])
    }

    /// Runs `windlass` with these arguments.
    pub fn windlass(&self, arguments: &[&str]) -> Result<String> {
        output(Command::new(&self.program).args(arguments).output()?, &arguments.join(" "))
    }

    /// Runs a command inside the network namespace of a node (`node-1`) or of the `fabric`.
    pub fn inside(&self, place: &str, command: &[&str]) -> Result<String> {
        let netns = self.dir().join("netns").join(place);
        let mut enter = Command::new("nsenter");
        enter.arg(format!("--net={}", netns.display())).args(command);
        output(enter.output().context("failed to run nsenter")?, &command.join(" "))
    }

    /// Cuts a node's link, or heals it.
    pub fn link(&self, node: &str, up: bool) -> Result<()> {
        self.inside("fabric", &["ip", "link", "set", node, if up { "up" } else { "down" }]).map(|_| ())
    }
}

fn output(output: Output, what: &str) -> Result<String> {
    if !output.status.success() {
        bail!("{what}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.dir().exists()
            && let Err(error) = self.down(&[])
        {
            eprintln!("'windlass down' failed: {error}");
        }
        if let Some(mut up) = self.up.take() {
            let _ = up.kill();
            let mut rest = String::new();
            let _ = up.stdout.take().map(|mut out| out.read_to_string(&mut rest));
            let _ = up.wait();
        }
        if let Some(mut holder) = self.network.take() {
            drop(holder.stdin.take());
            let _ = holder.wait();
        }
    }
}
