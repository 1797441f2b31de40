//! A real server on loopback, and kubectl run against it in this process, or the stock one beside it.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]

use apiserver::{ApiServer, Config, Listen};
use component::Tasks;
use component::clock::SystemClock;
use kubectl::{Input, Streams};
use std::ffi::OsString;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::embedded::{Embedded, Options};

/// The stock kubectl.
pub const STOCK: &str = "/usr/bin/kubectl";

pub struct Server {
    pub address: SocketAddr,
    api: ApiServer,
    tasks: Tasks,
    home: tempfile::TempDir,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub code: u8,
    pub out: String,
    pub err: String,
}

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Memory {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Server {
    pub async fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let store = Arc::new(Embedded::open(&home.path().join("store"), Options::default()).unwrap());
        let tasks = Tasks::new();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let config = Config {
            authorization_modes: vec!["AlwaysAllow".to_owned()],
            advertise: "192.0.2.10:6443".parse().unwrap(),
            ..Config::default()
        };
        let listeners = vec![Listen { listener, tls: None }];
        let api = ApiServer::start(config, listeners, store, SystemClock::shared(), &tasks).await.unwrap();
        let address = api.addresses()[0];
        Self { address, api, tasks, home }
    }

    pub async fn stop(self) {
        assert!(self.tasks.stop_and_wait(Duration::from_secs(10)).await, "the server stops");
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Runs ours.
    pub async fn ours_with(&self, line: &[&str], input: &str) -> Ended {
        let (out, err) = (Memory::default(), Memory::default());
        let server = format!("--server=http://{}", self.address);
        // No kubeconfig of whoever runs the tests may be read.
        let fixed = ["kubectl", &server, "--kubeconfig=/dev/null"];
        let arguments: Vec<OsString> = fixed.iter().chain(line).map(OsString::from).collect();
        let streams = Streams::new(Input::Bytes(input.to_owned().into()), out.clone(), err.clone());
        let run = tokio::time::timeout(Duration::from_secs(60), kubectl::run(arguments, streams));
        let code = run.await.unwrap_or_else(|_| panic!("kubectl {line:?} does not end"));
        Ended { code, out: out.text(), err: err.text() }
    }

    /// Runs the stock one.
    pub async fn stock_with(&self, line: &[&str], input: &str) -> Ended {
        use tokio::io::AsyncWriteExt;
        let mut child = tokio::process::Command::new(STOCK)
            .arg(format!("--server=http://{}", self.address))
            .args(line)
            .env_clear()
            .env("HOME", self.home())
            .env("KUBECONFIG", "/dev/null")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
        let output = tokio::time::timeout(Duration::from_secs(60), child.wait_with_output()).await;
        let output = output.unwrap_or_else(|_| panic!("stock kubectl {line:?} does not end")).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = u8::try_from(output.status.code().unwrap_or(255)).unwrap_or(255);
        Ended { code, out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Runs ours, which must succeed; answers what it printed.
    pub async fn ok_with(&self, line: &[&str], input: &str) -> String {
        let ended = self.ours_with(line, input).await;
        assert_eq!(ended.code, 0, "kubectl {line:?}: {ended:?}");
        ended.out
    }

    /// Runs ours from words with spaces in between.
    pub async fn ok(&self, line: &str) -> String {
        self.ok_with(&line.split(' ').collect::<Vec<_>>(), "").await
    }

    /// Runs ours, which must fail; answers what it said.
    pub async fn fails(&self, line: &str) -> String {
        let ended = self.ours_with(&line.split(' ').collect::<Vec<_>>(), "").await;
        assert_eq!(ended.code, 1, "kubectl {line}: {ended:?}");
        ended.err
    }
}

/// Whether the stock kubectl is here; says so when it is not.
pub fn stock_is_here(test: &str) -> bool {
    let here = Path::new(STOCK).exists();
    if !here {
        println!("skipped {test}: {STOCK} is not installed");
    }
    here
}
