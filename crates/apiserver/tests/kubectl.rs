//! The stock kubectl against a real server.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

mod support;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use support::Server;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

const KUBECTL: &str = "/usr/bin/kubectl";

struct Kubectl<'a> {
    binary: &'a str,
    server: &'a Server,
    home: tempfile::TempDir,
}

impl Kubectl<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.binary);
        command
            .arg(format!("--server=http://{}", self.server.address))
            .args(arguments)
            .env_clear()
            .env("HOME", self.home.path())
            .env("KUBECONFIG", "/nonexistent")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    async fn run_with(&self, arguments: &[&str], input: &str) -> (bool, String) {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
        let output = tokio::time::timeout(Duration::from_secs(60), child.wait_with_output()).await;
        let output = output.expect("kubectl ends in time").unwrap();
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        (output.status.success(), text.into_owned())
    }

    #[track_caller]
    fn run<'a>(&'a self, arguments: &'a [&'a str], input: &'a str) -> impl Future<Output = String> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            let (ok, text) = self.run_with(arguments, input).await;
            assert!(ok, "{caller}: kubectl {arguments:?}: {text}");
            text
        }
    }
}

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: nginx, ports: [{containerPort: 80}]}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_works() {
    if !Path::new(KUBECTL).exists() {
        println!("skipped kubectl_works: {KUBECTL} is not installed");
        return;
    }
    let server = Server::start().await;
    let kubectl = Kubectl { binary: KUBECTL, server: &server, home: tempfile::tempdir().unwrap() };

    let namespaces = kubectl.run(&["get", "namespaces"], "").await;
    assert!(namespaces.contains("kube-system") && namespaces.contains("Active"), "{namespaces}");
    let resources = kubectl.run(&["api-resources"], "").await;
    assert!(resources.lines().any(|l| l.starts_with("deployments") && l.contains("deploy")), "{resources}");

    let mut watch = kubectl.command(&["get", "deployments", "--watch", "-o", "name"]).spawn().unwrap();
    let mut events = BufReader::new(watch.stdout.take().unwrap()).lines();

    let applied = kubectl.run(&["apply", "-f", "-"], DEPLOYMENT).await;
    assert_eq!(applied.trim(), "deployment.apps/web created");
    let event = tokio::time::timeout(Duration::from_secs(20), events.next_line()).await;
    assert_eq!(event.expect("an event").unwrap().as_deref(), Some("deployment.apps/web"));
    watch.kill().await.unwrap();

    let again = kubectl.run(&["apply", "-f", "-"], DEPLOYMENT).await;
    assert_eq!(again.trim(), "deployment.apps/web unchanged");
    let more = DEPLOYMENT.replace("replicas: 2", "replicas: 3");
    let changed = kubectl.run(&["apply", "-f", "-"], &more).await;
    assert_eq!(changed.trim(), "deployment.apps/web configured");
    let wide = kubectl.run(&["get", "deployments", "-o", "wide"], "").await;
    assert!(wide.contains("0/3") && wide.contains("nginx"), "{wide}");

    kubectl.run(&["scale", "deployment", "web", "--replicas=5"], "").await;
    let replicas = kubectl.run(&["get", "deployment", "web", "-o", "jsonpath={.spec.replicas}"], "").await;
    assert_eq!(replicas, "5");
    kubectl.run(&["patch", "deployment", "web", "-p", r#"{"metadata":{"labels":{"x":"y"}}}"#], "").await;
    kubectl.run(&["label", "deployment", "web", "a=b"], "").await;
    let labels = kubectl.run(&["get", "deployment", "web", "--show-labels"], "").await;
    assert!(labels.contains("a=b") && labels.contains("x=y"), "{labels}");
    let server_side = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
    let applied = kubectl.run(&server_side, DEPLOYMENT).await;
    assert_eq!(applied.trim(), "deployment.apps/web serverside-applied");

    kubectl.run(&["create", "configmap", "cm", "--from-literal=a=1"], "").await;
    kubectl.run(&["create", "service", "clusterip", "svc", "--tcp=80:80"], "").await;
    let services = kubectl.run(&["get", "services"], "").await;
    assert!(services.contains("svc") && services.contains("10.96.0.1 "), "{services}");
    let all = kubectl.run(&["get", "all"], "").await;
    assert!(all.contains("deployment.apps/web") && all.contains("service/kubernetes"), "{all}");
    let bad = DEPLOYMENT.replace("replicas:", "replica:");
    let (ok, refused) = kubectl.run_with(&["apply", "-f", "-"], &bad).await;
    assert!(!ok && refused.contains("unknown field \"spec.replica\""), "{refused}");
    let explained = kubectl.run(&["explain", "deployment.spec.replicas"], "").await;
    assert!(explained.contains("FIELD: replicas <integer>"), "{explained}");
    kubectl.run(&["run", "one", "--image=nginx"], "").await;
    let pods = kubectl.run(&["get", "pods"], "").await;
    assert!(pods.contains("one") && pods.contains("Pending"), "{pods}");
    kubectl.run(&["describe", "pod", "one"], "").await;
    kubectl.run(&["delete", "pod", "one", "--wait=true"], "").await;
    kubectl.run(&["delete", "deployment", "web", "--wait=true"], "").await;
    let (ok, gone) = kubectl.run_with(&["get", "deployment", "web"], "").await;
    assert!(!ok && gone.contains("deployments.apps \"web\" not found"), "{gone}");
    server.stop().await;
}

/// Kinds with lists that are one value: kubectl sends such a list again unless the server shows it as it was applied.
/// So everything that has a default is written out, and nothing that is zero.
const EXACT: &str = r#"
apiVersion: v1
kind: LimitRange
metadata: {name: limits}
spec: {limits: [{type: Container, default: {cpu: 500m, memory: 1Gi}, defaultRequest: {cpu: 500m, memory: 1Gi}}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: backends}
subsets: [{addresses: [{ip: 192.0.2.7}], ports: [{port: 80, protocol: TCP}]}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: policy}
spec:
  podSelector: {}
  policyTypes: [Ingress, Egress]
  egress: [{to: [{podSelector: {}}], ports: [{port: 53, protocol: UDP}]}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 0
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      containers:
      - name: db
        image: db
        command: [db]
        ports: [{containerPort: 80}]
        livenessProbe: {exec: {command: ["true"]}}
        resources: {requests: {cpu: 100m}}
        volumeMounts: [{name: data, mountPath: /data}]
  volumeClaimTemplates:
  - apiVersion: v1
    kind: PersistentVolumeClaim
    metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], volumeMode: Filesystem, resources: {requests: {storage: 1Gi}}}
    status: {phase: Pending}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: budget}
spec: {minAvailable: 1}
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn applying_again_changes_nothing() {
    if !Path::new(KUBECTL).exists() {
        println!("skipped applying_again_changes_nothing: {KUBECTL} is not installed");
        return;
    }
    let server = Server::start().await;
    let kubectl = Kubectl { binary: KUBECTL, server: &server, home: tempfile::tempdir().unwrap() };
    let first = kubectl.run(&["apply", "-f", "-"], EXACT).await;
    assert_eq!(first.lines().filter(|line| line.ends_with(" created")).count(), 5, "{first}");
    let again = kubectl.run(&["apply", "-f", "-", "-v=8"], EXACT).await;
    let patches: Vec<&str> = again.lines().filter(|line| line.contains("Request Body")).collect();
    assert_eq!(again.lines().filter(|line| line.ends_with(" unchanged")).count(), 5, "{patches:#?}");
    server.stop().await;
}

/// The versions of kubectl that some distributions install side by side.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_and_newer_kubectls_work() {
    let server = Server::start().await;
    let mut tried = 0;
    for minor in 27..=36 {
        let binary = format!("/usr/lib/google-cloud-sdk/bin/kubectl.1.{minor}");
        if !Path::new(&binary).exists() {
            continue;
        }
        tried += 1;
        let kubectl = Kubectl { binary: &binary, server: &server, home: tempfile::tempdir().unwrap() };
        kubectl.run(&["create", "deployment", "d", "--image=nginx", "--replicas=2"], "").await;
        kubectl.run(&["apply", "-f", "-"], DEPLOYMENT).await;
        kubectl.run(&["apply", "-f", "-"], &DEPLOYMENT.replace("replicas: 2", "replicas: 4")).await;
        let listed = kubectl.run(&["get", "deployments"], "").await;
        assert!(listed.contains("0/4") && listed.contains("0/2"), "1.{minor}: {listed}");
        kubectl.run(&["create", "secret", "generic", "s", "--from-literal=k=v"], "").await;
        kubectl.run(&["expose", "deployment", "d", "--port=80"], "").await;
        let explained = kubectl.run(&["explain", "pods.spec.containers"], "").await;
        for part in
            ["List of containers belonging to the pod.", "Entrypoint array. Not executed within a shell."]
        {
            assert!(explained.contains(part), "1.{minor}: {explained}");
        }
        kubectl.run(&["delete", "deployment/d", "deployment/web", "secret/s", "service/d"], "").await;
    }
    if tried == 0 {
        println!("skipped older_and_newer_kubectls_work: no kubectl of another version is installed");
    }
    server.stop().await;
}
