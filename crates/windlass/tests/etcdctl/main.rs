//! The distribution's `etcdctl` against `windlass store serve`, and the same script against a real etcd beside it:
//! what it prints must be the same, but for ids, times and sizes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

mod script;
mod server;
mod snapshot;
mod words;

use server::Server;

/// Whether the programs are there; says so when not.
fn usable(test: &str) -> bool {
    for program in ["etcd", "etcdctl"] {
        if !server::is_installed(program) {
            println!("skipped {test}: {program} is not installed (packages etcd-server and etcd-client)");
            return false;
        }
    }
    true
}

#[test]
fn what_only_windlass_says() {
    if !usable("what_only_windlass_says") {
        return;
    }
    let server = Server::windlass();
    let members = server.etcdctl("member list");
    assert!(members.stdout.contains(", started, default, , http://127.0.0.1:"), "{members:?}");
    let auth = server.etcdctl("auth enable");
    assert!(auth.stderr.contains("users and roles are not supported") && auth.code != 0, "{auth:?}");
    let user = server.etcdctl("user list");
    assert!(user.stderr.contains("--client-cert-auth"), "{user:?}");
    // As with an etcd that has no users, credentials are not needed and do no harm.
    assert_eq!(server.etcdctl("--user=root:x put a 1").stdout, "OK\n");
    let add = server.etcdctl("member add two --peer-urls=http://127.0.0.1:1");
    assert!(add.stderr.contains("cannot have others"), "{add:?}");
    let status = server.etcdctl("endpoint status -w json");
    for part in [r#""version":"3.5"#, r#""dbSize":"#, r#""leader":"#, r#""revision":2"#] {
        assert!(status.stdout.contains(part), "{part} in {}", status.stdout);
    }
    assert!(server.etcdctl("endpoint hashkv").stdout.contains(", "));
}

/// A minute of puts by 50 clients.
#[test]
fn check_perf() {
    if !usable("check_perf") {
        return;
    }
    if std::env::var_os("WINDLASS_SLOW_TESTS").is_none() {
        println!("skipped check_perf: it takes a minute; set WINDLASS_SLOW_TESTS=1");
        return;
    }
    let server = Server::windlass();
    let check = server.etcdctl("check perf --load=s --auto-compact --auto-defrag");
    assert!(check.stdout.contains("PASS") && !check.stdout.contains("FAIL"), "{check:?}");
    assert_eq!(server.etcdctl("get --prefix / --keys-only").stdout, "", "it cleans up");
}
