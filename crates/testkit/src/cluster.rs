//! [`Cluster`]: a `windlass up --isolated` with a data directory of its own, taken down when dropped.

use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

/// A running cluster. Its API server answers on a loopback port of the host; everything else is in network
/// namespaces with no route out.
pub struct Cluster {
    program: PathBuf,
    dir: TempDir,
    port: u16,
    nodes: u32,
    up: Option<Child>,
}

/// Why a test that needs a cluster cannot run here; `None` when it can. Print it: a test must not be skipped in
/// silence.
pub fn unsupported() -> Option<&'static str> {
    let root = std::fs::metadata("/proc/self").is_ok_and(|_| is_root());
    (!root).then_some("needs root")
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(1) == Some("0"))
}

impl Cluster {
    /// Starts a cluster of `nodes` nodes with the binary `program`; returns when it says that it is ready.
    pub fn start(program: &Path, nodes: u32) -> Result<Self> {
        // A short path: sockets below it may have 107 bytes.
        let dir = tempfile::Builder::new().prefix("wl").tempdir_in("/tmp")?;
        let port = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let mut cluster = Self { program: program.to_owned(), dir, port, nodes, up: None };
        cluster.up(&[])?;
        Ok(cluster)
    }

    /// The data directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir().join("admin.kubeconfig")
    }

    /// Runs `up` (again) with further flags; returns when it says that the cluster is ready.
    pub fn up(&mut self, flags: &[&str]) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.args(["up", "--isolated"]).arg("--data-dir").arg(self.dir());
        command.args(["--nodes", &self.nodes.to_string(), "--port", &self.port.to_string()]).args(flags);
        let mut child = command.stderr(Stdio::piped()).spawn().context("failed to run windlass")?;
        let stderr = child.stderr.take().context("no standard error")?;
        self.up = Some(child);
        let mut lines = BufReader::new(stderr).lines();
        let mut said = Vec::new();
        for line in &mut lines {
            let line = line?;
            eprintln!("up: {line}");
            if line.contains("The cluster is ready") {
                // Keep reading, so that the process never blocks on a full pipe.
                std::thread::spawn(move || {
                    lines.map_while(Result::ok).for_each(|line| eprintln!("up: {line}"))
                });
                return Ok(());
            }
            said.push(line);
        }
        bail!("'windlass up' ended before the cluster was ready:\n{}", said.join("\n"))
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
        let program = std::env::var("KUBECTL").unwrap_or_else(|_| "kubectl".to_owned());
        let mut command = Command::new(&program);
        command.arg("--kubeconfig").arg(self.kubeconfig()).args(arguments);
        output(command.output().with_context(|| format!("failed to run {program}"))?, &arguments.join(" "))
    }

    /// Runs kubectl with `input` on standard input.
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
        let mut down = Command::new(&self.program);
        down.arg("down").arg("--data-dir").arg(self.dir.path());
        match down.output() {
            Ok(done) if done.status.success() => {}
            Ok(done) => eprintln!("'windlass down' failed: {}", String::from_utf8_lossy(&done.stderr)),
            Err(error) => eprintln!("failed to run 'windlass down': {error}"),
        }
        if let Some(mut up) = self.up.take() {
            let _ = up.kill();
            let mut rest = String::new();
            let _ = up.stdout.take().map(|mut out| out.read_to_string(&mut rest));
            let _ = up.wait();
        }
    }
}
