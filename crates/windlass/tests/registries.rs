//! Registries that are not simple: behind TLS with an authority of their own and a password, mirrors, and one that never
//! answers.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

mod registry;
mod support;

use registry::{Recipe, Registry, Tls};
use std::io::Read;
use std::path::Path;
use std::process::Command;
use support::{kubectl, program, usable};
use testkit::cluster::Cluster;

const OPENSSL: &str = "/usr/bin/openssl";

fn ready(test: &str) -> bool {
    if let Some(why) = registry::missing(&[OPENSSL]) {
        println!("skipped {test}: {why}");
        return false;
    }
    usable(test)
}

fn openssl(dir: &Path, line: &str) {
    let done = Command::new(OPENSSL).current_dir(dir).args(line.split(' ')).output().unwrap();
    assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
}

/// An authority and a certificate of it for `address`.
fn certificates(dir: &Path, address: &str) -> Tls {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(dir, &format!("req -x509 {key} -keyout ca.key -out ca.crt -subj /CN=test-ca -days 2"));
    openssl(dir, &format!("req {key} -keyout tls.key -out tls.csr -subj /CN=registry"));
    std::fs::write(dir.join("extensions"), format!("subjectAltName=IP:{address}\n")).unwrap();
    openssl(
        dir,
        "x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out tls.crt -days 2 -extfile extensions",
    );
    Tls { certificate: dir.join("tls.crt"), key: dir.join("tls.key") }
}

fn reason(reason: &str) -> String {
    format!("--for=jsonpath={{.status.containerStatuses[0].state.waiting.reason}}={reason} --timeout=60s")
}

/// Why the container waits.
fn waits(cluster: &Cluster, pod: &str) -> String {
    kubectl(
        cluster,
        &format!("get pod {pod} -o jsonpath={{.status.containerStatuses[0].state.waiting.message}}"),
    )
}

fn events(cluster: &Cluster, pod: &str) -> String {
    kubectl(cluster, &format!("get events --field-selector involvedObject.name={pod}"))
}

fn runs(cluster: &Cluster, pod: &str, image: &str, flags: &str) {
    kubectl(cluster, &format!("run {pod} --image={image} --restart=Never {flags} -- cat /word"));
    kubectl(cluster, &format!("wait pod/{pod} --for=jsonpath={{.status.phase}}=Succeeded --timeout=60s"));
    assert_eq!(kubectl(cluster, &format!("logs {pod}")).trim(), "private");
}

// What "htpasswd -B" makes of the password "secret".
const USERS: &str = "puller:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

#[test]
fn an_authority_and_a_password_of_its_own() {
    let test = "an_authority_and_a_password_of_its_own";
    if !ready(test) {
        return;
    }
    let cluster = Cluster::start(program(), 1).unwrap();
    let address = kubectl(&cluster, "get node node-1 -o jsonpath={.status.addresses[0].address}");
    let dir = tempfile::tempdir().unwrap();
    let tls = certificates(dir.path(), &address);
    let host = format!("{address}:5000");
    let registry = Registry::serve_tls(&cluster, "node-1", dir.path(), &host, Some(USERS), &tls).unwrap();
    let recipe = Recipe { files: &[("word", "private")], ..Recipe::default() };
    registry.publish("app:1", &recipe, &["--dest-creds=puller:secret"]).unwrap();
    let image = format!("{host}/app:1");

    // Nobody says that the authority is to be trusted.
    kubectl(&cluster, &format!("run distrusted --image={image}"));
    kubectl(&cluster, &format!("wait pod/distrusted {}", reason("ImagePullBackOff")));
    let said = waits(&cluster, "distrusted");
    assert!(said.contains("certificate") && said.contains("UnknownIssuer"), "{said}");

    // As for other runtimes: certs.d/<host>/ca.crt in the cluster's directory. No restart.
    let trusted = cluster.dir().join("certs.d").join(&host);
    std::fs::create_dir_all(&trusted).unwrap();
    std::fs::copy(dir.path().join("ca.crt"), trusted.join("ca.crt")).unwrap();
    kubectl(&cluster, &format!("run denied --image={image}"));
    kubectl(&cluster, &format!("wait pod/denied {}", reason("ImagePullBackOff")));
    let said = waits(&cluster, "denied");
    assert!(said.contains("Not authorized"), "{said}");
    kubectl(
        &cluster,
        &format!(
            "create secret docker-registry pull --docker-server={host} --docker-username=puller \
             --docker-password=secret"
        ),
    );
    let with = r#"--overrides={"spec":{"imagePullSecrets":[{"name":"pull"}]}}"#;
    runs(&cluster, "allowed", &image, with);
    // Also when the secret is the service account's.
    kubectl(&cluster, r#"patch serviceaccount default -p {"imagePullSecrets":[{"name":"pull"}]}"#);
    runs(&cluster, "account", &image, "--image-pull-policy=Always");
    // The pod that had no authority finds it by itself.
    kubectl(&cluster, "delete pod distrusted denied --now");

    // A mirror of a registry that is not there, in containerd's words.
    let settings = cluster.dir().join("certs.d/registry.invalid");
    std::fs::create_dir_all(&settings).unwrap();
    let file = settings.join("hosts.toml");
    std::fs::write(&file, "[host.\"nonsense://x\"]\n").unwrap();
    kubectl(&cluster, "run misread --image=registry.invalid/app:1");
    kubectl(&cluster, &format!("wait pod/misread {}", reason("ImagePullBackOff")));
    let said = waits(&cluster, "misread");
    assert!(said.contains("hosts.toml") && said.contains("neither https nor http"), "{said}");
    drop(registry);
    let open = Registry::serve(&cluster, "node-1", dir.path(), None).unwrap();
    std::fs::write(&file, "server = \"https://registry.invalid\"\n[host.\"http://localhost:5000\"]\n")
        .unwrap();
    runs(&cluster, "mirrored", "registry.invalid/app:1", "--image-pull-policy=Always");
    drop(open);
}

#[test]
fn a_registry_that_never_answers() {
    let test = "a_registry_that_never_answers";
    if !ready(test) {
        return;
    }
    let cluster = Cluster::start(program(), 1).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::serve(&cluster, "node-1", dir.path(), None).unwrap();
    let recipe = Recipe { files: &[("word", "private")], ..Recipe::default() };
    registry.publish("app:1", &recipe, &[]).unwrap();
    let netns = cluster.dir().join("netns/node-1");
    let listener = linux::namespace::inside_network(&netns, || {
        Ok(std::net::TcpListener::bind("127.0.0.1:5001").unwrap())
    })
    .unwrap();
    // Takes every connection, reads what comes and says nothing.
    std::thread::spawn(move || {
        for connection in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut connection = connection;
                let _ = connection.read_to_end(&mut Vec::new());
            });
        }
    });
    let settings = cluster.dir().join("certs.d/localhost:5001");
    std::fs::create_dir_all(&settings).unwrap();
    std::fs::write(settings.join("hosts.toml"), "server = \"http://localhost:5001\"\n").unwrap();
    for pod in ["waiting", "leaving"] {
        kubectl(&cluster, &format!("run {pod} --image=localhost:5001/app:1 --restart=Never"));
    }
    let pulling = "Pulling image \"localhost:5001/app:1\"";
    while !events(&cluster, "leaving").contains(pulling) || !events(&cluster, "waiting").contains(pulling) {}
    // Others are not held up, and who leaves does not wait for the registry.
    runs(&cluster, "other", "localhost:5000/app:1", "");
    kubectl(&cluster, "delete pod leaving --timeout=15s");
    let status = kubectl(&cluster, "get pod waiting");
    assert!(status.contains("ContainerCreating"), "{status}");
    // After a while it says so, and tries again later.
    let reason = "jsonpath={.status.containerStatuses[0].state.waiting.reason}=ImagePullBackOff";
    kubectl(&cluster, &format!("wait pod/waiting --for={reason} --timeout=100s"));
    let said = waits(&cluster, "waiting");
    assert!(said.contains("localhost:5001 did not answer in 60 s"), "{said}");
}
