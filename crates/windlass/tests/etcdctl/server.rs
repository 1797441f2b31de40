//! Servers under test: `windlass store serve`, and etcd.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// Whether `program` is in PATH.
pub(crate) fn is_installed(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|dir| dir.join(program).is_file())
}

/// The binary under test: the one built with the tests, or what `WINDLASS` names.
pub(crate) fn windlass() -> PathBuf {
    std::env::var_os("WINDLASS").map_or_else(|| env!("CARGO_BIN_EXE_windlass").into(), PathBuf::from)
}

/// A running server; ends with this value.
pub(crate) struct Server {
    pub(crate) endpoint: String,
    child: Child,
    _dir: tempfile::TempDir,
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: i32,
}

fn lines(source: impl Read + Send + 'static) -> Receiver<String> {
    let (send, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(source).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                break;
            }
        }
    });
    lines
}

impl Server {
    /// A new store.
    pub(crate) fn windlass() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::windlass_in(dir, &[])
    }

    /// The store in `dir`, with further flags.
    pub(crate) fn windlass_in(dir: tempfile::TempDir, flags: &[&str]) -> Self {
        let mut child = Command::new(windlass())
            .args(["store", "serve", "--listen-client-urls", "http://127.0.0.1:0", "--data-dir"])
            .arg(dir.path())
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = lines(child.stdout.take().unwrap());
        let ready = said.recv_timeout(PATIENCE).expect("windlass store serve says where it serves");
        let endpoint = ready.rsplit_once("http://").expect("an address").1.to_owned();
        Self { endpoint, child, _dir: dir }
    }

    /// A new etcd.
    pub(crate) fn etcd() -> Self {
        Self::etcd_in(tempfile::tempdir().unwrap(), None)
    }

    /// An etcd whose data is in `data`, or a new one below `dir`.
    pub(crate) fn etcd_in(dir: tempfile::TempDir, data: Option<&Path>) -> Self {
        // Held until just before etcd takes them.
        let ports = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [client, peer] = ports.map(|port| format!("http://{}", port.local_addr().unwrap()));
        let data = data.map_or_else(|| dir.path().join("etcd"), Path::to_owned);
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let child = Command::new("etcd")
            .args(["--name", "default", "--logger", "zap", "--data-dir"])
            .arg(data)
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let server = Self { endpoint: client.replace("http://", ""), child, _dir: dir };
        let start = Instant::now();
        while server.etcdctl("endpoint health").code != 0 {
            assert!(start.elapsed() < PATIENCE, "etcd does not start");
        }
        server
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--endpoints", &self.endpoint]).args(words(line));
        command
    }

    /// Runs etcdctl with words separated by spaces; quotes hold a word together.
    pub(crate) fn etcdctl(&self, line: &str) -> Outcome {
        self.etcdctl_with(line, "")
    }

    /// The same, with input.
    pub(crate) fn etcdctl_with(&self, line: &str, input: &str) -> Outcome {
        run(&mut self.command(line), input)
    }

    /// Runs an etcdctl that does not end by itself until it has said `count` lines, or ends.
    pub(crate) fn etcdctl_lines(&self, line: &str, count: usize) -> Vec<String> {
        let mut child = self.command(line).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let said = lines(child.stdout.take().unwrap());
        let taken = (0..count).map_while(|_| said.recv_timeout(PATIENCE).ok()).collect();
        child.kill().unwrap();
        child.wait().unwrap();
        taken
    }
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command, input: &str) -> Outcome {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // One that does not read its input may end before it has it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    // The client logs what it retries, with times.
    let is_log = |line: &&str| !line.starts_with("{\"level\"");
    let stderr = String::from_utf8_lossy(&output.stderr);
    Outcome {
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: stderr.lines().filter(is_log).map(|line| format!("{line}\n")).collect(),
        code: output.status.code().unwrap_or(-1),
    }
}

/// Words separated by spaces; single quotes hold one together.
fn words(line: &str) -> Vec<String> {
    let quoted = line.split('\'').enumerate();
    quoted
        .flat_map(|(at, part)| match at % 2 {
            1 => vec![part.to_owned()],
            _ => part.split_whitespace().map(str::to_owned).collect(),
        })
        .collect()
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
