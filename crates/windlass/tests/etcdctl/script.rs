//! The script that runs against both.

use super::server::{Outcome, Server};
use super::usable;
use super::words::plain;

/// Commands in order; from the second line on, input.
const SCRIPT: &[&str] = &[
    "put a 1",
    "get a",
    "get a -w json",
    "put a 2 --prev-kv",
    "put b 'several words'",
    "put b1 x",
    "put c 9",
    "get --prefix b",
    "get a c",
    "get --from-key b",
    "get --prefix '' --keys-only",
    "get --prefix '' --count-only -w json",
    "get --prefix '' --limit 2 -w json",
    "get --prefix '' --sort-by=VALUE --order=DESCEND",
    "get --prefix '' --sort-by=MODIFY",
    "get --prefix '' --sort-by=VERSION --order=ASCEND --limit 2 -w json",
    "get a --rev 2 -w json",
    "get a --rev 99",
    "get a --consistency=s --print-value-only",
    "get missing -w json",
    "put '' x",
    "put a --ignore-value",
    "put missing --ignore-value",
    "put a 3 --ignore-lease -w json",
    "del b1 --prev-kv",
    "del missing -w json",
    "del --prefix b -w json",
    "txn\nvalue(\"a\") = \"3\"\nversion(\"c\") > \"0\"\n\nput d 1\nget a\ndel c\n\nget c\n\n",
    "txn -w json\nmod(\"a\") = \"1\"\n\nput d 2\n\nget d\nput e 1\n\n",
    "txn\nvalue(\"a\") != \"4\"\ncreate(\"zz\") < \"1\"\n\nput d 3\n\nput d 4\n\n",
    "txn\n\nput dup 1\nput dup 2\n\n\n",
    "get --prefix '' -w json",
    "get --prefix '' -w fields",
    "compact 5",
    "compact 5",
    "compact 500",
    "compact 6 --physical",
    "get a --rev 3",
    "get a --rev 6",
    "watch a --rev 2",
    "lease list",
    "lease revoke 123456789abcdef",
    "lease timetolive 123456789abcdef",
    "lease keep-alive --once 123456789abcdef",
    "put k v --lease=123456789abcdef",
    "endpoint health",
    "endpoint health -w json",
    "alarm list",
    "alarm disarm",
    "defrag",
    "move-leader 1",
    "user add root --no-password",
];

/// Not compared, because Windlass refuses on purpose.
const DIFFERENT: &[&str] = &["user add"];

/// Lines of it that only say where and when.
fn said(outcome: &Outcome, server: &Server) -> String {
    format!(
        "{}{}exit {}\n",
        plain(&outcome.stdout, &server.endpoint),
        plain(&outcome.stderr, &server.endpoint),
        outcome.code
    )
}

#[test]
fn says_the_same_as_etcd() {
    if !usable("says_the_same_as_etcd") {
        return;
    }
    let (ours, etcds) = (Server::windlass(), Server::etcd());
    let mut different = String::new();
    for entry in SCRIPT {
        let (line, input) = entry.split_once('\n').unwrap_or((entry, ""));
        let [our, etcd] = [&ours, &etcds].map(|server| said(&server.etcdctl_with(line, input), server));
        if our != etcd && !DIFFERENT.iter().any(|start| line.starts_with(start)) {
            different.push_str(&format!("--- {entry}\nwindlass: {our}etcd:     {etcd}"));
        }
    }
    for lease in [leases(&ours), leases(&etcds)].windows(2) {
        if lease[0] != lease[1] {
            different.push_str(&format!("--- leases\nwindlass: {}etcd:     {}", lease[0], lease[1]));
        }
    }
    for (line, count) in WATCHES {
        let [our, etcd] = [&ours, &etcds].map(|server| server.etcdctl_lines(line, *count));
        if our != etcd {
            different.push_str(&format!("--- {line}\nwindlass: {our:?}\netcd:     {etcd:?}\n"));
        }
    }
    assert!(different.is_empty(), "{different}");
}

/// Watches over what the script did, and how many lines they say.
const WATCHES: &[(&str, usize)] = &[("watch --prefix '' --rev 6 --prev-kv", 20), ("watch d --rev 7", 6)];

/// A lease from its grant to its end.
fn leases(server: &Server) -> String {
    let granted = server.etcdctl("lease grant 100");
    let id = granted.stdout.split_whitespace().nth(1).unwrap_or_default().to_owned();
    let mut all = said(&granted, server);
    for line in [
        format!("put leased v --lease={id}"),
        format!("lease timetolive {id} --keys"),
        format!("lease timetolive {id} --keys -w json"),
        "lease list".to_owned(),
        format!("lease keep-alive --once {id}"),
        "get leased".to_owned(),
        format!("lease revoke {id}"),
        "get leased".to_owned(),
        format!("lease revoke {id}"),
        format!("lease timetolive {id}"),
        "lease grant 1".to_owned(),
        "lease grant 9000000001".to_owned(),
    ] {
        all.push_str(&said(&server.etcdctl(&line), server));
    }
    // Seconds pass while it runs.
    all.replace("\"ttl\":99,", "\"ttl\":100,")
}
