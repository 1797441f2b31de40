//! Who may call which endpoint, as a table that is committed; and requests that pretend to be someone else's.
//!
//! A new endpoint without a row fails the test; `WINDLASS_UPDATE=1 cargo test -p apiserver --test endpoints` writes the table.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod support;

use apiserver::UserInfo;
use apiserver::contract::{Attributes, Decision};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use support::Server;
use support::people::{config, server};

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/endpoints.txt");
const PODS: &str = "/api/v1/namespaces/default/pods";

/// Name and letter of every verb, in the table's order.
const VERBS: [(&str, char); 8] = [
    ("get", 'g'),
    ("list", 'l'),
    ("watch", 'w'),
    ("create", 'c'),
    ("update", 'u'),
    ("patch", 'p'),
    ("delete", 'd'),
    ("deletecollection", 'D'),
];

fn people() -> Vec<(&'static str, Arc<UserInfo>)> {
    let user = |name: &str, groups: &[&str]| Arc::new(UserInfo::new(name, groups));
    let known = "system:authenticated";
    vec![
        ("anonymous", user("system:anonymous", &["system:unauthenticated"])),
        ("nobody", user("nobody", &[known])),
        ("node", user("system:node:n1", &["system:nodes", known])),
        ("view", user("viewer", &[known])),
        ("edit", user("editor", &[known])),
        ("admin", user("administrator", &[known])),
        ("masters", user("root", &["system:masters", known])),
    ]
}

/// What discovery tells: group/version, resource, whether namespaced, verbs.
async fn resources(server: &Server) -> Vec<(String, String, bool, Vec<String>)> {
    let mut places = vec!["/api/v1".to_owned()];
    let groups = server.root("GET", "/apis", Value::Null).await;
    for group in groups["groups"].as_array().unwrap() {
        for version in group["versions"].as_array().unwrap() {
            places.push(format!("/apis/{}", version["groupVersion"].as_str().unwrap()));
        }
    }
    let mut all = Vec::new();
    for place in places {
        let list = server.root("GET", &place, Value::Null).await;
        for resource in list["resources"].as_array().unwrap() {
            let verbs = resource["verbs"].as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned());
            all.push((
                list["groupVersion"].as_str().unwrap().to_owned(),
                resource["name"].as_str().unwrap().to_owned(),
                resource["namespaced"] == true,
                verbs.collect(),
            ));
        }
    }
    all.sort();
    all
}

async fn allowed(server: &Server, attributes: &Attributes) -> bool {
    server.api.context().authorize(attributes).await == Decision::Allow
}

async fn table(server: &Server) -> String {
    let people = people();
    let names: Vec<&str> = people.iter().map(|(name, _)| *name).collect();
    let mut out = format!(
        "# Who may do what: {}.\n# view, edit and admin are bound in the namespace of the request. Verbs: {}.\n",
        names.join(", "),
        VERBS.map(|(verb, letter)| format!("{letter} {verb}")).join(", ")
    );
    for (group_version, name, namespaced, verbs) in resources(server).await {
        let (group, version) = group_version.split_once('/').unwrap_or(("", &group_version));
        let (resource, subresource) = name.split_once('/').unwrap_or((&name, ""));
        write!(out, "{group_version} {name}").unwrap();
        for (who, user) in &people {
            let mut letters = String::new();
            for (verb, letter) in VERBS.iter().filter(|(verb, _)| verbs.iter().any(|known| known == verb)) {
                let collective = matches!(*verb, "list" | "watch" | "deletecollection")
                    || (*verb == "create" && subresource.is_empty());
                let attributes = Attributes {
                    user: user.clone(),
                    verb: (*verb).into(),
                    resource_request: true,
                    group: group.to_owned().into(),
                    version: version.to_owned().into(),
                    resource: resource.to_owned().into(),
                    subresource: subresource.to_owned().into(),
                    namespace: if namespaced { "default".to_owned() } else { String::new() },
                    name: if collective { String::new() } else { "x".to_owned() },
                    ..Attributes::default()
                };
                if allowed(server, &attributes).await {
                    letters.push(*letter);
                }
            }
            write!(out, " {who}={}", if letters.is_empty() { "-" } else { &letters }).unwrap();
        }
        out.push('\n');
    }
    let root = server.root("GET", "/", Value::Null).await;
    let mut paths: BTreeSet<&str> =
        root["paths"].as_array().unwrap().iter().map(|p| p.as_str().unwrap()).collect();
    paths.extend(["/", "/openid/v1/jwks", "/.well-known/openid-configuration", "/debug/pprof/", "/nowhere"]);
    for path in paths {
        write!(out, "{path}").unwrap();
        for (who, user) in &people {
            let attributes = Attributes {
                user: user.clone(),
                verb: "get".into(),
                path: path.to_owned(),
                ..Attributes::default()
            };
            write!(out, " {who}={}", if allowed(server, &attributes).await { "get" } else { "-" }).unwrap();
        }
        out.push('\n');
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_of_endpoints_is_what_was_agreed() {
    let server = Server::with(config()).await;
    for (role, user) in [("view", "viewer"), ("edit", "editor"), ("admin", "administrator")] {
        // What the aggregation controller does in a whole cluster: the roles that these are made of.
        let selector = format!("rbac.authorization.k8s.io/aggregate-to-{role}=true");
        let parts = server
            .root(
                "GET",
                &format!("/apis/rbac.authorization.k8s.io/v1/clusterroles?labelSelector={selector}"),
                Value::Null,
            )
            .await;
        let path = format!("/apis/rbac.authorization.k8s.io/v1/clusterroles/{role}");
        let mut whole = server.root("GET", &path, Value::Null).await;
        let rules: Vec<Value> = parts["items"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|part| part["rules"].as_array().unwrap().clone())
            .collect();
        let mut all = whole["rules"].as_array().cloned().unwrap_or_default();
        all.extend(rules);
        whole["rules"] = json!(all);
        server.root("PUT", &path, whole).await;
        let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": role},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]});
        server
            .root("POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings", binding)
            .await;
    }
    // edit and admin aggregate others, which aggregate again; the index follows writes a moment later.
    let table = tokio::time::timeout(Duration::from_secs(60), async {
        let mut before = String::new();
        loop {
            let now = table(&server).await;
            if now == before
                && now.contains("v1 pods anonymous=- nobody=- node=")
                && !now.contains("view=- edit=- admin=- masters=glwcupdD\nv1 pods/")
            {
                return now;
            }
            before = now;
        }
    })
    .await
    .expect("a table that stands still");
    server.stop().await;
    if std::env::var_os("WINDLASS_UPDATE").is_some() {
        std::fs::write(TABLE, &table).unwrap();
    }
    let agreed =
        if Path::new(TABLE).exists() { std::fs::read_to_string(TABLE).unwrap() } else { String::new() };
    let (now, before): (BTreeSet<&str>, BTreeSet<&str>) = (table.lines().collect(), agreed.lines().collect());
    let new: Vec<_> = now.difference(&before).collect();
    let gone: Vec<_> = before.difference(&now).collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "rows that are not in {TABLE}: {new:#?}\nrows that are not true: {gone:#?}"
    );
}

/// Headers that name someone else are believed of nobody who may not set them.
#[tokio::test(flavor = "multi_thread")]
async fn identities_cannot_be_smuggled() {
    let server = server().await;
    let list = async |headers: &[(&str, &str)]| server.request("GET", PODS, headers, "").await;
    // Without a certificate of the front proxy, its headers say nothing.
    let forged =
        [("X-Remote-User", "admin"), ("X-Remote-Group", "system:masters"), ("X-Remote-Extra-a", "b")];
    let refused = list(&forged).await.expect(403);
    assert!(refused["message"].as_str().unwrap().contains("User \"system:anonymous\""), "{refused}");
    let mut with_token = vec![("Authorization", "Bearer alice")];
    with_token.extend(forged);
    let refused = list(&with_token).await.expect(403);
    assert!(refused["message"].as_str().unwrap().contains("User \"alice\""), "{refused}");

    // Nobody may act as others without a rule, whichever header asks and whatever the request does.
    for header in [
        ("Impersonate-User", "admin"),
        ("impersonate-user", "system:serviceaccount:kube-system:default"),
        ("Impersonate-User", "alice"),
    ] {
        for extra in [
            ("Impersonate-Group", "system:masters"),
            ("Impersonate-Uid", "1"),
            ("Impersonate-Extra-scopes", "all"),
        ] {
            let headers = [("Authorization", "Bearer alice"), header, extra];
            assert_eq!(list(&headers).await.code, 403, "{header:?} {extra:?}");
        }
    }
    for header in
        [("Impersonate-Group", "system:masters"), ("Impersonate-Uid", "1"), ("Impersonate-Extra-a", "b")]
    {
        let answer = list(&[("Authorization", "Bearer alice"), header]).await;
        assert!(matches!(answer.code, 400 | 403 | 500), "{header:?} without a user: {}", answer.text());
    }
    let anonymous = list(&[("Impersonate-User", "admin")]).await;
    assert_eq!(anonymous.code, 403);

    // Bad credentials are refused also where everyone is served, and next to good ones.
    assert_eq!(server.request("GET", "/version", &[("Authorization", "Bearer wrong")], "").await.code, 401);
    let both = [("Authorization", "Bearer wrong"), ("Authorization", "Bearer root")];
    assert_ne!(list(&both).await.code, 200, "the first header counts");
    server.stop().await;
}

/// An upgrade that is refused leaves nothing behind on its connection, and grants nothing.
#[tokio::test(flavor = "multi_thread")]
async fn upgrades_need_permission_like_any_request() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = server().await;
    for path in ["pods/p/exec?command=id", "pods/p/attach", "pods/p/portforward", "services/s/proxy/"] {
        for protocol in ["websocket", "SPDY/3.1"] {
            let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
            let head = format!(
                "GET /api/v1/namespaces/default/{path} HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer alice\r\nConnection: \
                 Upgrade\r\nUpgrade: {protocol}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            );
            // What a smuggler hopes will be read by whoever is behind.
            let hidden = "GET /api/v1/namespaces/kube-system/secrets HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer alice\r\nConnection: close\r\n\r\n";
            stream.write_all(format!("{head}{hidden}").as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
            read.expect("the connection ends").unwrap();
            let text = String::from_utf8_lossy(&answer);
            assert!(text.starts_with("HTTP/1.1 403"), "{path} {protocol}: {text}");
            assert!(
                !text.contains("101 Switching") && !text.contains("SecretList"),
                "{path} {protocol}: {text}"
            );
        }
    }
    server.stop().await;
}
