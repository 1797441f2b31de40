//! Snapshots over etcd's API, in both directions.

use super::server::{Server, run, windlass};
use super::usable;
use std::path::Path;
use std::process::Command;

fn etcdctl(args: &[&str], file: &Path) -> String {
    let outcome = run(Command::new("etcdctl").env("ETCDCTL_API", "3").args(args).arg(file), "");
    assert_eq!(outcome.code, 0, "{args:?}: {outcome:?}");
    outcome.stdout
}

#[test]
fn etcd_goes_on_with_what_windlass_had() {
    if !usable("etcd_goes_on_with_what_windlass_had") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("snapshot.db");
    let ours = Server::windlass();
    for number in 1..=60 {
        ours.etcdctl(&format!("put key{number:02} {}", "value".repeat(number * 10)));
    }
    ours.etcdctl("put key05 again");
    let lease = ours.etcdctl("lease grant 1000").stdout;
    let lease = lease.split_whitespace().nth(1).unwrap();
    ours.etcdctl(&format!("put leased v --lease={lease}"));
    ours.etcdctl("del key07");
    let saved = ours.etcdctl(&format!("snapshot save {}", file.display()));
    assert!(saved.stdout.contains("Snapshot saved at"), "{saved:?}");

    let status = etcdctl(&["snapshot", "status", "-w", "json"], &file);
    assert!(status.contains("\"revision\":64,"), "{status}");

    let data = dir.path().join("restored");
    etcdctl(&["snapshot", "restore", "--data-dir", data.to_str().unwrap()], &file);
    let etcd = Server::etcd_in(tempfile::tempdir().unwrap(), Some(&data));
    let all = |server: &Server| {
        let outcome = server.etcdctl("get --prefix '' -w json");
        outcome.stdout.split_once("\"kvs\"").expect("keys").1.to_owned()
    };
    assert_eq!(all(&etcd), all(&ours), "keys, values, versions and leases");
    assert!(etcd.etcdctl("lease list").stdout.contains(lease));
    assert_eq!(etcd.etcdctl("put after 1").stdout, "OK\n");
    let after = etcd.etcdctl("get after -w json").stdout;
    assert!(after.contains("\"mod_revision\":65"), "it counts on: {after}");
}

#[test]
fn windlass_goes_on_with_what_either_had() {
    if !usable("windlass_goes_on_with_what_either_had") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for (name, before) in [("etcd", Server::etcd()), ("windlass", Server::windlass())] {
        for number in 1..=30 {
            before.etcdctl(&format!("put key{:02} value{number}", number % 10));
        }
        before.etcdctl("del key3 key5");
        before.etcdctl("del --prefix key09");
        let file = dir.path().join(format!("{name}.db"));
        before.etcdctl(&format!("snapshot save {}", file.display()));
        let data = tempfile::tempdir().unwrap();
        let restored = run(
            Command::new(windlass())
                .args(["store", "snapshot", "restore"])
                .arg(&file)
                .arg("--data-dir")
                .arg(data.path()),
            "",
        );
        assert_eq!(restored.code, 0, "{name}: {restored:?}");
        let after = Server::windlass_in(data, &[]);
        // The revision itself is set ahead, so that nobody takes what comes for what was seen before.
        let all = |server: &Server| {
            let outcome = server.etcdctl("get --prefix '' -w json");
            outcome.stdout.split_once("\"kvs\"").expect("keys").1.to_owned()
        };
        assert_eq!(all(&after), all(&before), "{name}");
    }
}
