//! Patches and server-side apply over HTTP, and as the stock kubectl uses them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use serde_json::{Value, json};
use std::path::Path;
use std::process::Stdio;
use support::Server;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn deployment(replicas: Option<i32>, image: &str) -> Value {
    let mut object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": image}]}},
        },
    });
    if let Some(replicas) = replicas {
        object["spec"]["replicas"] = json!(replicas);
    }
    object
}

fn managers(object: &Value) -> Vec<(String, String, String)> {
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    entries.iter().map(|e| (text(e, "manager"), text(e, "operation"), text(e, "subresource"))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_side_apply() {
    let server = Server::start().await;
    let path = |manager: &str, more: &str| format!("{DEPLOYMENTS}/web?fieldManager={manager}{more}");

    // The first apply creates, the second of the same changes nothing.
    let first = server.patch(&path("me", ""), "apply", &deployment(Some(2), "a")).await.expect(201);
    assert_eq!(first["spec"]["template"]["spec"]["dnsPolicy"], "ClusterFirst");
    assert_eq!(managers(&first), [("me".to_owned(), "Apply".to_owned(), String::new())]);
    let same = server.patch(&path("me", ""), "apply", &deployment(Some(2), "a")).await.expect(200);
    assert_eq!(same["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);

    // Another manager may own the same value, not another one.
    server.patch(&path("you", ""), "apply", &deployment(None, "a")).await.expect(200);
    let conflict = server.patch(&path("you", ""), "apply", &deployment(None, "b")).await.expect(409);
    assert_eq!(
        conflict["message"],
        "Apply failed with 1 conflict: conflict with \"me\": \
         .spec.template.spec.containers[name=\"web\"].image"
    );
    assert_eq!(conflict["details"]["causes"][0]["reason"], "FieldManagerConflict");
    let forced = server.patch(&path("you", "&force=true"), "apply", &deployment(None, "b")).await.expect(200);
    assert_eq!(forced["spec"]["template"]["spec"]["containers"][0]["image"], "b");
    assert_eq!(forced["metadata"]["generation"], 2);

    // What its only owner no longer applies goes back to its default.
    let mut less = deployment(None, "b");
    less["spec"]["minReadySeconds"] = json!(7);
    let owned = server.patch(&path("me", ""), "apply", &less).await.expect(200);
    assert_eq!((&owned["spec"]["minReadySeconds"], &owned["spec"]["replicas"]), (&json!(7), &json!(1)));
    let given_up = server.patch(&path("me", ""), "apply", &deployment(None, "b")).await.expect(200);
    assert_eq!(given_up["spec"].get("minReadySeconds"), None);

    // Status has owners of its own.
    let status = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "status": {"conditions": [{"type": "Available", "status": "True", "reason": "r", "message": "m"}]}});
    let path = format!("{DEPLOYMENTS}/web/status?fieldManager=watcher");
    let reported = server.patch(&path, "apply", &status).await.expect(200);
    assert_eq!(reported["status"]["conditions"][0]["type"], "Available");
    let last = managers(&reported).into_iter().find(|(manager, ..)| manager == "watcher");
    assert_eq!(last, Some(("watcher".to_owned(), "Apply".to_owned(), "status".to_owned())));

    // Mistakes.
    let anonymous = server.patch(&format!("{DEPLOYMENTS}/web"), "apply", &less).await;
    assert_eq!(anonymous.code, 422, "{}", anonymous.text());
    let mut typo = deployment(None, "b");
    typo["spec"]["replica"] = json!(1);
    let refused = server.patch(&format!("{DEPLOYMENTS}/web?fieldManager=me"), "apply", &typo).await;
    assert!(refused.text().contains(".spec.replica: field not declared in schema"), "{}", refused.text());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_patch() {
    let server = Server::start().await;
    server.post(DEPLOYMENTS, &deployment(Some(1), "a")).await.expect(201);
    let web = format!("{DEPLOYMENTS}/web");

    let strategic = json!({"spec": {"template": {"spec": {
        "$setElementOrder/containers": [{"name": "side"}, {"name": "web"}],
        "containers": [{"name": "side", "image": "s"}]}},
        "strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    let patched = server.patch(&web, "strategic-merge", &strategic).await.expect(200);
    let containers = patched["spec"]["template"]["spec"]["containers"].as_array().unwrap();
    assert_eq!(containers.iter().map(|c| c["name"].as_str().unwrap()).collect::<Vec<_>>(), ["side", "web"]);
    assert_eq!(patched["spec"]["strategy"], json!({"type": "Recreate"}));

    let merge = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"replicas": null}});
    let patched = server.patch(&web, "merge", &merge).await.expect(200);
    assert_eq!((&patched["metadata"]["labels"]["a"], &patched["spec"]["replicas"]), (&json!("b"), &json!(1)));

    let operations = json!([{"op": "test", "path": "/spec/replicas", "value": 1},
                            {"op": "replace", "path": "/spec/replicas", "value": 3}]);
    let patched = server.patch(&web, "json", &operations).await.expect(200);
    assert_eq!(patched["spec"]["replicas"], 3);
    let stale = server.patch(&web, "json", &operations).await.expect(422);
    assert_eq!(stale["message"], "the server rejected our request due to an error in our request");
    let many = vec![json!({"op": "test", "path": "/spec/replicas", "value": 3}); 10_001];
    assert_eq!(server.patch(&web, "json", &json!(many)).await.code, 413);
    let strict =
        server.patch(&format!("{web}?fieldValidation=Strict"), "merge", &json!({"spec": {"x": 1}})).await;
    assert_eq!(strict.code, 400, "{}", strict.text());
    assert!(strict.text().contains("unknown field \\\"spec.x\\\""), "{}", strict.text());
    server.stop().await;
}

const KUBECTL: &str = "/usr/bin/kubectl";

async fn kubectl(server: &Server, home: &Path, arguments: &[&str], input: &str) -> (bool, String) {
    let mut child = Command::new(KUBECTL)
        .arg(format!("--server=http://{}", server.address))
        .args(arguments)
        .env_clear()
        .env("HOME", home)
        .env("PATH", "/usr/bin:/bin")
        .env("KUBECONFIG", "/nonexistent")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let output = tokio::time::timeout(std::time::Duration::from_secs(60), child.wait_with_output()).await;
    let output = output.expect("kubectl ends in time").unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text.into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_moves_to_server_side_apply() {
    if !Path::new(KUBECTL).exists() {
        println!("skipped kubectl_moves_to_server_side_apply: {KUBECTL} is not installed");
        return;
    }
    let server = Server::start().await;
    let home = tempfile::tempdir().unwrap();
    let run = async |arguments: &[&str], input: &str| kubectl(&server, home.path(), arguments, input).await;
    let manifest = deployment(Some(2), "a").to_string();
    let (ok, text) = run(&["apply", "-f", "-"], &manifest).await;
    assert!(ok, "{text}");
    let changed = deployment(Some(3), "a").to_string();

    // A different manager conflicts with the client-side one.
    let other = ["apply", "--server-side", "--field-manager=other", "-f", "-"];
    let (ok, text) = run(&other, &changed).await;
    assert!(!ok, "{text}");
    assert!(
        text.contains("Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using apps/v1: .spec.replicas"),
        "{text}"
    );
    // kubectl itself takes over.
    let (ok, text) = run(&["apply", "--server-side", "-f", "-"], &changed).await;
    assert!(ok, "{text}");
    let object = server.get(&format!("{DEPLOYMENTS}/web")).await.expect(200);
    assert_eq!(object["spec"]["replicas"], 3);
    // kubectl keeps its annotation under a name of its own; the client-side manager is gone.
    let names: Vec<String> = managers(&object).into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, ["kubectl", "kubectl-last-applied"]);
    // And back: the manifest applied last is known.
    let (ok, text) = run(&["diff", "--server-side", "-f", "-"], &changed).await;
    assert!(ok, "{text}");
    let (_, text) = run(&["diff", "-f", "-"], &deployment(Some(4), "a").to_string()).await;
    assert!(text.contains("-  replicas: 3") && text.contains("+  replicas: 4"), "{text}");
    let (ok, text) = run(&["explain", "deployment.spec.strategy", "--recursive"], "").await;
    assert!(ok && text.contains("rollingUpdate\t<RollingUpdateDeployment>"), "{text}");
    server.stop().await;
}

#[tokio::test]
async fn an_apply_that_changes_nothing_leaves_the_times_alone() {
    let server = Server::start().await;
    // Much of it is left to defaults, which the applied lists are without.
    let budget = json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "again"}, "spec": {"limits": [
        {"type": "Container", "default": {"cpu": "1"}}]}});
    let path = "/api/v1/namespaces/default/limitranges/again?fieldManager=one";
    let made = server.patch(path, "apply", &budget).await.expect(201);
    // The times of managers have whole seconds: only then can they differ.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let again = server.patch(path, "apply", &budget).await.expect(200);
    assert_eq!(again["metadata"], made["metadata"]);
    server.stop().await;
}
