//! The stock kubectl beside ours, against the same server: what they print must be the same.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

mod support;

use support::{Ended, Server, stock_is_here};

const OBJECTS: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web, tier: front}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: 'nginx:1.27', ports: [{containerPort: 80, name: http}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, annotations: {note: 'yes'}}
data:
  text: "two\nlines\n"
  odd: ' leading'
  empty: ''
  number: '012'
  html: '<a & b>'
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Pod
metadata: {name: lone, labels: {app: lone}}
spec:
  serviceAccountName: default
  automountServiceAccountToken: false
  containers:
  - name: main
    image: busybox
    command: [sleep, '1']
    env: [{name: A, value: b}, {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]
    resources: {limits: {cpu: '1', memory: 64Mi}}
    livenessProbe: {httpGet: {path: /, port: 80}}
    volumeMounts: [{name: scratch, mountPath: /scratch}]
  volumes: [{name: scratch, emptyDir: {}}]
"#;

/// Older versions print a time that was never set.
fn without_null_times(text: &str) -> String {
    let lines = text.lines().filter(|line| line.trim() != "creationTimestamp: null");
    lines.map(|line| format!("{line}\n")).collect()
}

/// Ages change while we look.
fn without_ages(text: &str) -> String {
    text.lines()
        .map(|line| {
            let words = line.split(' ').map(|word| {
                let digits = word.trim_end_matches('s');
                let is_age = word.ends_with('s')
                    && !digits.is_empty()
                    && digits.bytes().all(|byte| byte.is_ascii_digit());
                if is_age { "AGE" } else { word }
            });
            words.collect::<Vec<_>>().join(" ") + "\n"
        })
        .collect()
}

fn comparable(ended: Ended) -> Ended {
    let out = without_null_times(&without_ages(&ended.out));
    // With nothing left in it, a template's metadata is an empty map.
    let out = out.replace("    metadata:\n    spec:", "    metadata: {}\n    spec:");
    Ended { code: ended.code, out, err: without_ages(&ended.err) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ours_prints_what_the_stock_kubectl_prints() {
    if !stock_is_here("ours_prints_what_the_stock_kubectl_prints") {
        return;
    }
    let server = Server::start().await;
    // No controller runs here that would make it.
    server.ok("create serviceaccount default").await;
    server.ok_with(&["apply", "-f", "-"], OBJECTS).await;
    let stock = server.stock_with(&["apply", "-f", "-"], OBJECTS).await;
    assert!(
        stock.out.lines().all(|line| line.ends_with(" unchanged")),
        "the stock kubectl sees no difference: {stock:?}"
    );
    let lines = [
        "get pods",
        "get pods -o wide",
        "get all",
        "get deploy,svc,cm --show-labels",
        "get cm -A",
        "get deploy web -L tier",
        "get deploy web -o yaml",
        "get deploy web -o json",
        "get cm settings -o yaml",
        "get cm settings -o json",
        "get cm,svc -o yaml",
        "get pods,svc -o name",
        "get cm -o jsonpath={.items[*].metadata.name}",
        "get cm settings -o jsonpath={.metadata}",
        "get deploy -o custom-columns=NAME:.metadata.name,IMAGE:.spec.template.spec.containers[*].image,NONE:.x",
        "get cm --sort-by=.metadata.name --no-headers",
        "get pod lone --show-kind",
        "get pod missing",
        "get pod lone missing",
        "get nothing",
        "get pods -n empty",
        "get pods -A -l none=such",
        "get pods lone -l app=lone",
        "get pods -o foo",
        "get pods -A lone",
        "describe svc web",
        "describe pod lone",
        "describe deploy web",
        "describe ns default",
        "describe pod missing",
        "api-resources",
        "api-resources -o wide",
        "api-versions",
        "label pod lone app=lone",
        "label pod lone app=other",
        "label pod lone a/b/c=d",
        "scale deploy missing --replicas=1",
        "rollout history deploy/missing",
        "rollout status deploy/web --watch=false",
        "auth can-i create pods",
        "wait --for=condition=Ready pod/lone --timeout=10ms",
        "wait --for=jsonpath={.status.phase}=Pending pod/lone",
        "logs lone",
        "exec lone",
        "create deployment x --image=nginx --dry-run=client -o yaml",
        "create job x --image=busybox --dry-run=client -o yaml -- date",
        "create secret generic x --from-literal=a=b --dry-run=client -o yaml",
        "create service clusterip x --tcp=80:8080 --dry-run=client -o yaml",
        "create role x --verb=get,list --resource=pods,deployments.apps --dry-run=client -o yaml",
        "create clusterrolebinding x --clusterrole=view --user=a --serviceaccount=b:c --dry-run=client -o yaml",
        "create ns default",
        "expose deploy web --name=y --port=81 --dry-run=client -o yaml",
        "set image deploy/web nothing=x",
        "explain pods",
        "explain pods.spec.containers",
        "explain pods.spec.containers.resources.limits",
        "explain pods.metadata.creationTimestamp",
        "explain deploy.spec.strategy --recursive",
        "explain hpa --api-version=autoscaling/v1",
        "explain pods.spec.restartPolicy",
        "explain pods.spec.volumes.hostPath.type",
        "explain pods.spec.nope",
        "explain nothing",
        "delete pod",
        "delete pod missing",
        "apply -f /nonexistent",
        "apply",
    ];
    let mut differences = Vec::new();
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let (ours, stock) = (server.ours_with(&words, "").await, server.stock_with(&words, "").await);
        let (ours, stock) = (comparable(ours), comparable(stock));
        if ours != stock {
            differences.push(format!(
                "== {line}\n-- ours {}\n{}{}-- stock {}\n{}{}",
                ours.code, ours.out, ours.err, stock.code, stock.out, stock.err
            ));
        }
    }
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences.join("\n"));
    server.stop().await;
}
