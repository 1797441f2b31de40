//! get, apply, create and delete against a real server.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

mod support;

use support::Server;

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
      - {name: side, image: busybox}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apply_creates_changes_and_prunes_fields() {
    let server = Server::start().await;
    let apply = ["apply", "-f", "-"];
    assert_eq!(server.ok_with(&apply, DEPLOYMENT).await, "deployment.apps/web created\n");
    assert_eq!(server.ok_with(&apply, DEPLOYMENT).await, "deployment.apps/web unchanged\n");
    let less = DEPLOYMENT
        .replace("replicas: 2", "replicas: 3")
        .replace("      - {name: side, image: busybox}\n", "");
    assert_eq!(server.ok_with(&apply, &less).await, "deployment.apps/web configured\n");
    let seen = server
        .ok("get deployment web -o jsonpath={.spec.replicas},{.spec.template.spec.containers[*].name}")
        .await;
    assert_eq!(seen, "3,web", "what left the manifest left the object");
    let annotation = server.ok("apply view-last-applied deployment/web -o json").await;
    assert!(annotation.contains("\"replicas\": 3"), "{annotation}");

    let conflict =
        server.ours_with(&["apply", "--server-side", "--field-manager=other", "-f", "-"], DEPLOYMENT).await;
    assert_eq!(conflict.code, 1);
    assert!(conflict.err.contains("conflict with \"kubectl-client-side-apply\""), "{}", conflict.err);
    let forced = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
    assert_eq!(server.ok_with(&forced, DEPLOYMENT).await, "deployment.apps/web serverside-applied\n");

    let dry = ["apply", "--dry-run=server", "-f", "-"];
    let other = DEPLOYMENT.replace("name: web, labels", "name: other, labels");
    assert_eq!(server.ok_with(&dry, &other).await, "deployment.apps/other created (server dry run)\n");
    let gone = server.fails("get deployment other").await;
    assert_eq!(gone, "Error from server (NotFound): deployments.apps \"other\" not found\n");

    let unknown = server.ours_with(&apply, &DEPLOYMENT.replace("replicas: 2", "replicass: 2")).await;
    assert!(unknown.code == 1 && unknown.err.contains("unknown field \"spec.replicass\""), "{unknown:?}");
    let kind = server.ours_with(&apply, "apiVersion: x/v1\nkind: Foo\nmetadata: {name: a}\n").await;
    assert_eq!(
        kind.err,
        "error: resource mapping not found for name: \"a\" namespace: \"\" from \"STDIN\": no matches for kind \"Foo\" in version \"x/v1\"\nensure CRDs are installed first\n"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn create_get_and_delete() {
    let server = Server::start().await;
    assert_eq!(server.ok("create namespace shop").await, "namespace/shop created\n");
    assert_eq!(
        server.ok("create configmap settings -n shop --from-literal=b=2 --from-literal=a=1").await,
        "configmap/settings created\n"
    );
    let again = server.fails("create configmap settings -n shop").await;
    assert_eq!(again, "error: failed to create configmap: configmaps \"settings\" already exists\n");
    assert_eq!(server.ok("get cm settings -n shop -o jsonpath={.data.a}{.data.b}").await, "12");
    assert_eq!(server.ok("get cm/settings -n shop -o name").await, "configmap/settings\n");
    server.ok("create secret generic s -n shop --from-literal=p=hunter2").await;
    assert_eq!(server.ok("get secret s -n shop -o jsonpath={.data.p}").await, "aHVudGVyMg==");
    server.ok("create deployment web -n shop --image=nginx:1.27 --replicas=2 --port=80").await;
    let both = server.ok("get deploy,cm -n shop").await;
    assert!(both.contains("deployment.apps/web   0/2     0            0"), "{both}");
    assert!(both.contains("\n\nNAME"), "tables of several kinds are kept apart: {both}");
    let wide = server.ok("get deploy -A -o wide --show-labels").await;
    assert!(wide.starts_with("NAMESPACE   NAME   READY") && wide.contains("nginx:1.27"), "{wide}");
    assert!(wide.contains("app=web"), "{wide}");
    let columns = server.ok("get deploy -n shop -o custom-columns=N:.metadata.name,R:.spec.replicas").await;
    assert_eq!(columns, "N     R\nweb   2\n");

    let none = server.ours_with(&["get", "pods", "-n", "shop"], "").await;
    assert_eq!((none.code, none.err.as_str()), (0, "No resources found in shop namespace.\n"));
    assert_eq!(server.fails("get foo").await, "error: the server doesn't have a resource type \"foo\"\n");
    assert_eq!(server.ok("get pods x --ignore-not-found").await, "");

    assert_eq!(
        server.ok("delete cm settings -n shop").await,
        "configmap \"settings\" deleted from shop namespace\n"
    );
    let missing = server.fails("delete cm settings -n shop").await;
    assert_eq!(missing, "Error from server (NotFound): configmaps \"settings\" not found\n");
    assert_eq!(
        server.ok("delete deploy -l app=web -n shop").await,
        "deployment.apps \"web\" deleted from shop namespace\n"
    );
    assert_eq!(server.ok("delete deploy -l app=web -n shop").await, "No resources found\n");
    server.stop().await;
}
