//! `windlass store` on a live cluster and at rest: what it saves can be restored, what it moves is there, and a full
//! disk loses nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use support::{kubectl, program, usable};
use testkit::cluster::Cluster;

/// `windlass store` with words separated by spaces, on the cluster's directory.
fn store(cluster: &Cluster, line: &str) -> Result<String, String> {
    let dir = cluster.dir().to_string_lossy().into_owned();
    let words = ["store"].into_iter().chain(line.split_whitespace()).chain(["--data-dir", dir.as_str()]);
    let done = Command::new(program()).args(words).output().unwrap();
    match done.status.success() {
        true => Ok(String::from_utf8(done.stdout).unwrap()),
        false => Err(String::from_utf8_lossy(&done.stderr).into_owned()),
    }
}

fn json(cluster: &Cluster, line: &str) -> serde_json::Value {
    serde_json::from_str(&store(cluster, line).unwrap()).unwrap()
}

fn resource_version(cluster: &Cluster, config_map: &str) -> i64 {
    let path = "-o=jsonpath={.metadata.resourceVersion}";
    kubectl(cluster, &format!("get configmap {config_map} {path}")).parse().unwrap()
}

fn value(cluster: &Cluster, config_map: &str) -> String {
    kubectl(cluster, &format!("get configmap {config_map} -o=jsonpath={{.data.v}}"))
}

#[test]
fn a_cluster_is_kept_saved_and_restored() {
    if !usable("a_cluster_is_kept_saved_and_restored") {
        return;
    }
    let mut cluster = Cluster::start(program(), 1).unwrap();
    kubectl(&cluster, "create configmap kept --from-literal=v=1");
    kubectl(&cluster, "create configmap lost --from-literal=v=1");

    let status = json(&cluster, "status -o json");
    assert_eq!((&status["online"], &status["failure"]), (&true.into(), &"".into()), "{status}");
    assert!(status["keys"].as_u64().unwrap() > 100, "{status}");
    assert!(store(&cluster, "status").unwrap().contains("in use by a running cluster"));
    let names = store(&cluster, "ls /registry/configmaps/default/").unwrap();
    assert!(names.lines().any(|line| line == "/registry/configmaps/default/kept"), "{names}");
    let count: usize =
        store(&cluster, "ls --count /registry/configmaps/default/").unwrap().trim().parse().unwrap();
    assert_eq!(count, names.lines().count());
    let kept = json(&cluster, "get --print-value json /registry/configmaps/default/kept");
    assert_eq!(kept["value"]["data"]["v"], "1");
    assert_eq!(kept["modRevision"], resource_version(&cluster, "kept"));
    let error = store(&cluster, "get /registry/configmaps/default/none").unwrap_err();
    assert!(error.contains("there is no key"), "{error}");
    let error = store(&cluster, "ls --revision 999999999 /registry/").unwrap_err();
    assert!(error.contains("future revision") && error.contains("windlass store status"), "{error}");
    assert!(store(&cluster, "check").unwrap().starts_with("ok: "));
    assert!(store(&cluster, "alarm list").unwrap().contains("no alarms"));
    let metrics = kubectl(&cluster, "get --raw /metrics");
    for name in [
        "etcd_disk_wal_fsync_duration_seconds_count",
        "etcd_mvcc_db_total_size_in_bytes",
        "apiserver_storage_size_bytes",
    ] {
        assert!(metrics.lines().any(|line| line.starts_with(name)), "{name} is not in /metrics");
    }

    let file = cluster.dir().join("backup.snapshot");
    let saved = store(&cluster, &format!("snapshot save {}", file.display())).unwrap();
    assert!(saved.contains("sha256"), "{saved}");
    let error = store(&cluster, &format!("snapshot save {}", file.display())).unwrap_err();
    assert!(error.contains("is there already"), "{error}");
    let summary = Command::new(program())
        .args(["store", "snapshot", "status", "-o", "json"])
        .arg(&file)
        .output()
        .unwrap();
    let summary: serde_json::Value = serde_json::from_slice(&summary.stdout).unwrap();
    assert_eq!(summary["format"], "windlass");
    store(&cluster, "compact").unwrap();
    store(&cluster, "defrag").unwrap();
    assert!(store(&cluster, "check").unwrap().starts_with("ok: "));

    kubectl(&cluster, "delete configmap lost");
    kubectl(&cluster, "patch configmap kept --patch={\"data\":{\"v\":\"2\"}}");
    let seen = resource_version(&cluster, "kept");
    let restore = format!("snapshot restore {}", file.display());
    let error = store(&cluster, &restore).unwrap_err();
    assert!(error.contains("a cluster runs in"), "{error}");
    cluster.kill().unwrap();
    assert!(store(&cluster, "check").unwrap().starts_with("ok: "));
    let error = store(&cluster, &restore).unwrap_err();
    assert!(error.contains("is not empty"), "{error}");
    std::fs::rename(cluster.dir().join("store"), cluster.dir().join("store.old")).unwrap();
    damaged_snapshots_are_refused(&cluster, &file);
    store(&cluster, &restore).unwrap();
    cluster.up(&[]).unwrap();
    assert_eq!((value(&cluster, "kept"), value(&cluster, "lost")), ("1".to_owned(), "1".to_owned()));
    kubectl(&cluster, "patch configmap kept --patch={\"data\":{\"v\":\"3\"}}");
    assert!(resource_version(&cluster, "kept") > seen, "resource versions went back");
}

fn damaged_snapshots_are_refused(cluster: &Cluster, file: &Path) {
    let intact = std::fs::read(file).unwrap();
    let bad = cluster.dir().join("bad.snapshot");
    let mut flipped = intact.clone();
    flipped[intact.len() / 2] ^= 1;
    for content in [&flipped[..], &intact[..intact.len() - 100], b"kind: ConfigMap"] {
        std::fs::write(&bad, content).unwrap();
        let error = store(cluster, &format!("snapshot restore {}", bad.display())).unwrap_err();
        assert!(error.contains("nothing was changed"), "{error}");
        assert!(!cluster.dir().join("store").exists());
    }
}

/// An etcd in the network of the cluster's first node.
struct Etcd(Child);

impl Etcd {
    const URL: &str = "http://127.0.0.1:2379";

    fn start(cluster: &Cluster) -> Self {
        let netns = format!("--net={}", cluster.dir().join("netns/node-1").display());
        let mut etcd = Command::new("nsenter");
        etcd.arg(netns).arg("etcd").arg("--data-dir").arg(cluster.dir().join("etcd-data"));
        etcd.args(["--listen-client-urls", Self::URL, "--advertise-client-urls", Self::URL]);
        etcd.args(["--listen-peer-urls", "http://127.0.0.1:2380"]);
        Self(etcd.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn has_etcd() -> bool {
    Command::new("etcd").arg("--version").output().is_ok_and(|done| done.status.success())
}

fn migrate(cluster: &Cluster, from: &str, to: &str) -> Result<String, anyhow::Error> {
    let program = program().to_string_lossy();
    cluster.inside("node-1", &[&program, "store", "migrate", "--from", from, "--to", to])
}

#[test]
fn a_cluster_moves_to_etcd_and_back() {
    if !usable("a_cluster_moves_to_etcd_and_back") {
        return;
    }
    if !has_etcd() {
        println!("skipped a_cluster_moves_to_etcd_and_back: etcd is not installed (Debian: etcd-server)");
        return;
    }
    let mut cluster = Cluster::start(program(), 1).unwrap();
    let dir = cluster.dir().to_string_lossy().into_owned();
    kubectl(&cluster, "create configmap moved --from-literal=v=1");
    let first = resource_version(&cluster, "moved");
    let error = migrate(&cluster, &dir, Etcd::URL).unwrap_err().to_string();
    assert!(error.contains("a cluster runs in"), "{error}");
    cluster.kill().unwrap();
    let _etcd = Etcd::start(&cluster);
    let said = migrate(&cluster, &dir, Etcd::URL).unwrap();
    assert!(said.contains("compared by sha256"), "{said}");
    let error = migrate(&cluster, &dir, Etcd::URL).unwrap_err().to_string();
    assert!(error.contains("is not empty"), "{error}");
    let revision = json(&cluster, "status -o json")["revision"].as_i64().unwrap();

    cluster.up(&["--etcd-servers", Etcd::URL]).unwrap();
    assert_eq!(value(&cluster, "moved"), "1");
    let second = resource_version(&cluster, "moved");
    assert!(second > first && second > revision, "{first}, {revision}, {second}");
    kubectl(&cluster, "create configmap made-on-etcd --from-literal=v=2");
    let third = resource_version(&cluster, "made-on-etcd");
    cluster.kill().unwrap();

    std::fs::rename(cluster.dir().join("store"), cluster.dir().join("store.old")).unwrap();
    migrate(&cluster, Etcd::URL, &dir).unwrap();
    cluster.up(&[]).unwrap();
    assert_eq!((value(&cluster, "moved"), value(&cluster, "made-on-etcd")), ("1".to_owned(), "2".to_owned()));
    assert_eq!(resource_version(&cluster, "made-on-etcd"), third);
    kubectl(&cluster, "create configmap made-at-home --from-literal=v=3");
    assert!(resource_version(&cluster, "made-at-home") > third);
}

/// A small file system in memory; unmounted when dropped.
struct Small(PathBuf);

impl Small {
    fn mount(at: PathBuf) -> Self {
        std::fs::create_dir(&at).unwrap();
        let options = ["-t", "tmpfs", "-o", "size=12m,mode=0700", "none"];
        let mounted = Command::new("mount").args(options).arg(&at).status().unwrap();
        assert!(mounted.success(), "failed to mount {}", at.display());
        Self(at)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // A cluster that was taken down has done it.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

#[test]
fn a_full_disk_stops_writes_and_loses_nothing() {
    if !usable("a_full_disk_stops_writes_and_loses_nothing") {
        return;
    }
    let mut cluster = Cluster::new(program(), 1).unwrap();
    let small = Small::mount(cluster.dir().join("small"));
    std::os::unix::fs::symlink(&small.0, cluster.dir().join("store")).unwrap();
    cluster.up(&[]).unwrap();
    kubectl(&cluster, "create configmap before --from-literal=v=1");
    // Whatever is free, but for what the file system needs itself.
    let ballast = small.0.join("ballast");
    let filled =
        Command::new("dd").args(["if=/dev/zero", "bs=4k"]).arg(format!("of={}", ballast.display())).output();
    assert!(!filled.unwrap().status.success(), "the disk is not full");
    let mut acknowledged = Vec::new();
    let error = loop {
        let name = format!("fill-{}", acknowledged.len());
        let literal = format!("--from-literal=v={}", "x".repeat(4000));
        match cluster.kubectl(&["create", "configmap", &name, &literal]) {
            Ok(_) => acknowledged.push(name),
            Err(error) => break error.to_string(),
        }
        assert!(acknowledged.len() < 100, "writes go on though the disk is full");
    };
    for part in ["read-only", "wal-", "free space, and it goes on by itself"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert_eq!(value(&cluster, "before"), "1");
    assert!(store(&cluster, "status").unwrap().contains("The store is read-only"));
    assert!(store(&cluster, "check").unwrap().starts_with("ok: "));
    assert!(kubectl(&cluster, "get --raw /metrics").contains("etcd_server_is_read_only 1"));
    std::fs::remove_file(&ballast).unwrap();
    // It notices by itself.
    let until = std::time::Instant::now() + Duration::from_secs(30);
    while let Err(error) = cluster.kubectl(&["create", "configmap", "room", "--from-literal=v=1"]) {
        assert!(std::time::Instant::now() < until, "{error}");
    }
    assert!(kubectl(&cluster, "get --raw /metrics").contains("etcd_server_is_read_only 0"));
    cluster.kill().unwrap();
    cluster.up(&[]).unwrap();
    assert_eq!((value(&cluster, "before"), value(&cluster, "room")), ("1".into(), "1".into()));
    for name in &acknowledged {
        assert_eq!(value(&cluster, name).len(), 4000);
    }
    kubectl(&cluster, "create configmap after --from-literal=v=1");
    cluster.kill().unwrap();
    cluster.down(&[]).unwrap();
}

#[test]
fn every_verb_explains_itself_with_examples() {
    for verb in [
        "status",
        "snapshot save",
        "snapshot restore",
        "snapshot status",
        "compact",
        "defrag",
        "check",
        "get",
        "ls",
        "alarm list",
        "alarm disarm",
        "migrate",
        "serve",
    ] {
        let done = Command::new(program()).arg("store").args(verb.split(' ')).arg("--help").output().unwrap();
        let help = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success() && help.contains("Examples:"), "{verb}: {help}");
    }
    let none = tempfile::tempdir().unwrap();
    for verb in ["status", "compact", "defrag", "check", "ls", "alarm list"] {
        let mut command = Command::new(program());
        command.arg("store").args(verb.split(' ')).arg("--data-dir").arg(none.path());
        let done = command.output().unwrap();
        let error = String::from_utf8_lossy(&done.stderr);
        assert!(
            !done.status.success() && error.contains("holds no store; start a cluster"),
            "{verb}: {error}"
        );
        assert!(!none.path().join("store").exists(), "{verb} made a directory");
    }
}
