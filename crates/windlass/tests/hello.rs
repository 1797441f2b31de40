//! What a newcomer does: `up --apply`, open the URL, ask for the status.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

mod support;

use std::path::Path;
use std::process::Command;
use support::{kubectl, program, usable};
use testkit::cluster::Cluster;

/// Exit code, standard output and standard error of `status`.
fn status(cluster: &Cluster, flags: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(program());
    let done = command.arg("status").arg("--data-dir").arg(cluster.dir()).args(flags).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
}

#[test]
fn a_newcomer_gets_an_answer() {
    if !usable("a_newcomer_gets_an_answer") {
        return;
    }
    let mut cluster = Cluster::new(program(), 1).unwrap();
    let (code, _, error) = status(&cluster, &[]);
    assert_eq!(code, 1);
    assert!(error.contains("no cluster runs in") && error.contains("windlass up"), "{error}");

    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/hello.yaml");
    cluster.up(&["--apply", &example.to_string_lossy()]).unwrap();
    let said = cluster.said().clone();
    let url =
        said.iter().find_map(|line| line.split_once(" answers at ").map(|(_, url)| url.to_owned())).unwrap();
    let address =
        url.trim_start_matches("http://").trim_end_matches('/').parse::<std::net::SocketAddr>().unwrap();
    assert!(address.ip().is_loopback(), "{url}");
    let page = testkit::net::http_get(address).unwrap();
    assert!(page.contains("Hello from Windlass"), "{page}");
    let config = cluster.kubeconfig();
    assert!(said.iter().any(|line| line.contains(&*config.to_string_lossy())), "{said:?}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&config).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let warnings: Vec<&String> = said.iter().filter(|line| line.contains(" WARN ")).collect();
    assert!(warnings.is_empty(), "a healthy cluster warns of nothing: {warnings:#?}");

    let (code, out, error) = status(&cluster, &["--wait", "10s"]);
    assert_eq!(code, 0, "{out}{error}");
    for part in ["API server", "node node-1", "deployment kube-dns"] {
        assert!(out.lines().any(|line| line.starts_with(part) && line.ends_with("ready")), "{out}");
    }

    // What is not ready is named, and why.
    kubectl(&cluster, "-n kube-system set image deployment/kube-dns *=127.0.0.1:1/nothing:1");
    kubectl(
        &cluster,
        "-n kube-system wait deployment/kube-dns --for=jsonpath={.status.updatedReplicas}=1 --timeout=20s",
    );
    kubectl(&cluster, "-n kube-system delete pods -l k8s-app=kube-dns --wait=false");
    let (code, out, error) = status(&cluster, &[]);
    assert_eq!(code, 1, "{out}{error}");
    assert!(error.contains("deployment kube-dns: "), "{error}");

    cluster.kill().unwrap();
    let (code, _, error) = status(&cluster, &["--wait", "1s"]);
    assert_eq!(code, 1);
    assert!(error.contains("no cluster runs in"), "{error}");
}
