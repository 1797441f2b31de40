//! A real etcd under the same workload and the same checker: what the checker demands is what etcd promises.

use crate::model::workload::{Plan, tasks};
use crate::model::{Recorder, check};
use crate::threads::Real;
use futures::future::join_all;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use store::etcd::{Etcd, Options};

/// A member of its own, gone when dropped.
struct Member {
    child: Child,
    _dir: tempfile::TempDir,
    endpoint: String,
}

impl Member {
    /// Starts one; `None` when there is no etcd here.
    fn start() -> Option<Self> {
        // In memory where possible: its syncs are not what is tested.
        let memory = Path::new("/dev/shm");
        let dir =
            tempfile::tempdir_in(if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() })
                .unwrap();
        // Both at once, so that they differ.
        let ports = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [client, peer] =
            ports.map(|port| format!("http://127.0.0.1:{}", port.local_addr().unwrap().port()));
        let child = Command::new("etcd")
            .arg("--data-dir")
            .arg(dir.path().join("data"))
            .args([
                "--name",
                "reference",
                "--listen-client-urls",
                &client,
                "--advertise-client-urls",
                &client,
            ])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("reference={peer}"), "--logger", "zap"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        Some(Self { child, _dir: dir, endpoint: client })
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_keeps_the_promises() {
    let Some(member) = Member::start() else {
        println!(
            "skipped etcd_keeps_the_promises: there is no etcd in PATH (Debian's package etcd-server has it)"
        );
        return;
    };
    let store =
        Etcd::connect(Options::new([member.endpoint.clone()]), Duration::from_secs(30)).await.unwrap();
    let store: Arc<dyn Store> = Arc::new(store);
    let recorder = Rc::new(Recorder::new(|history| {
        history.forgets_removals = true;
        history.asks_afterwards = true;
    }));
    let plan = Plan {
        seed: 1,
        clients: 8,
        operations: 120,
        watchers: 6,
        think: Duration::from_millis(5),
        ttl: (2, 5),
        abandon: 25,
        ..Plan::default()
    };
    let work = join_all(tasks(Real::new(store), recorder.clone(), plan));
    tokio::time::timeout(Duration::from_secs(60), work).await.expect("comes to an end");
    match check(&recorder.history()) {
        Ok(summary) => {
            println!("{summary:?}");
            assert!(summary.operations > 900 && summary.events > 500, "{summary:?}");
        }
        Err(violations) => panic!("{}", violations[0]),
    }
}
