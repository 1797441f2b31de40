//! What goes wrong before a cluster runs: each has a message that says what is wrong and what to do.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

mod support;

use std::net::TcpListener;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use support::{kubectl, program, usable};
use testkit::cluster::Cluster;

fn says(error: &str, parts: &[&str]) {
    assert!(!error.contains("panicked"), "{error}");
    for part in parts {
        assert!(error.contains(part), "{part:?} is not in:\n{error}");
    }
}

#[test]
fn a_taken_port() {
    if !usable("a_taken_port") {
        return;
    }
    let cluster = Cluster::new(program(), 1).unwrap();
    let taken = TcpListener::bind(("127.0.0.1", cluster.port())).unwrap();
    let error = cluster.up_fails(&[]).unwrap();
    drop(taken);
    let port = cluster.port().to_string();
    says(&error, &["error: port ", &port, "is taken", "ss -ltnp", "--port"]);
    assert_eq!(cluster.footprint().unwrap().remains().unwrap(), [""; 0]);
}

#[test]
fn not_root() {
    if !usable("not_root") {
        return;
    }
    // Where nobody may look: the build directory may be closed to others.
    let dir = tempfile::Builder::new().prefix("wl").tempdir_in("/tmp").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir.path(), mode).unwrap();
    let copy = dir.path().join("windlass");
    std::fs::copy(program(), &copy).unwrap();
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&copy);
    for command in ["up", "down"] {
        let mut run = Command::new(nobody.get_program());
        run.args(nobody.get_args()).arg(command).arg("--data-dir").arg(dir.path());
        let output = match run.output() {
            Ok(output) => output,
            Err(error) => return println!("skipped not_root: setpriv does not run: {error}"),
        };
        assert_eq!(output.status.code(), Some(1));
        says(&String::from_utf8_lossy(&output.stderr), &["root", &format!("sudo windlass {command}")]);
    }
}

#[test]
fn manifests_that_cannot_be_applied() {
    if !usable("manifests_that_cannot_be_applied") {
        return;
    }
    let cluster = Cluster::new(program(), 1).unwrap();
    let file = cluster.dir().join("bad.yaml");
    let path = file.to_string_lossy().into_owned();
    let fails = |text: &str| {
        std::fs::write(&file, text).unwrap();
        cluster.up_fails(&["--apply", &path]).unwrap()
    };
    says(&fails("kind: [unclosed\n"), &["error: ", &path, "cannot be applied", "line"]);
    let second = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\nkind: Pod\n";
    says(&fails(second), &[&path, "document 2", "metadata.name is not set"]);
    says(&fails("apiVersion: v1\nkind: Pot\nmetadata: {name: a}\n"), &[&path, "no matches for kind \"Pot\""]);
    says(&fails(""), &[&path, "holds no objects"]);
    std::fs::remove_file(&file).unwrap();
    says(&cluster.up_fails(&["--apply", &path]).unwrap(), &["failed to read", &path, "No such file"]);
    // Nothing was started for that.
    assert!(!cluster.dir().join("store").exists());
}

fn log_file(cluster: &Cluster) -> PathBuf {
    let store = std::fs::read_dir(cluster.dir().join("store")).unwrap();
    let mut logs: Vec<PathBuf> = store.map(|entry| entry.unwrap().path()).collect();
    logs.retain(|path| path.file_name().unwrap().to_string_lossy().starts_with("wal-"));
    logs.sort();
    logs.remove(0)
}

/// One cluster for what needs one that has run: a second `up`, leftovers, damage.
#[test]
fn what_a_dead_run_leaves() {
    if !usable("what_a_dead_run_leaves") {
        return;
    }
    let mut cluster = Cluster::start(program(), 1).unwrap();
    let holder = cluster.process().unwrap().to_string();
    let dir = cluster.dir().to_string_lossy().into_owned();
    let error = cluster.up_fails(&[]).unwrap();
    says(&error, &[&dir, "is in use by process", &holder, "--data-dir"]);
    kubectl(&cluster, "create configmap kept --from-literal=a=b");

    // Leftovers of a machine that lost its power: pinned namespaces and mounts are gone, files and sockets are not.
    cluster.kill().unwrap();
    cluster.down(&[]).unwrap();
    let netns = cluster.dir().join("netns");
    std::fs::create_dir_all(&netns).unwrap();
    for stale in [netns.join("node-1"), netns.join("fabric"), cluster.dir().join("admin.kubeconfig.new")] {
        std::fs::write(stale, "").unwrap();
    }
    let socket = cluster.dir().join("nodes/node-1/cri.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket));
    assert!(socket.exists());
    cluster.up(&[]).unwrap();
    assert_eq!(kubectl(&cluster, "get configmap kept -o jsonpath={.data.a}"), "b");

    // A bit flips in the middle of the store's log.
    cluster.kill().unwrap();
    let log = log_file(&cluster);
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&log).unwrap();
    let middle = file.metadata().unwrap().len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, middle).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], middle).unwrap();
    let error = cluster.up_fails(&[]).unwrap();
    let name = log.to_string_lossy().into_owned();
    says(&error, &["failed to open the store", &name, "is damaged at offset", "restore", "backup"]);
    // Nothing was changed: mended, it starts as if nothing had been.
    file.write_all_at(&byte, middle).unwrap();
    cluster.up(&[]).unwrap();
    assert_eq!(kubectl(&cluster, "get configmap kept -o jsonpath={.data.a}"), "b");
}
