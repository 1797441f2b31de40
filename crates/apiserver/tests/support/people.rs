//! A server with RBAC and people who show tokens.

use super::{Answer, Server};
use apiserver::{Config, ServiceAccounts};
use serde_json::{Value, json};
use std::future::Future;
use std::io::Write;
use std::time::Duration;

/// Token, user, uid, groups.
const PEOPLE: &str = "root,admin,1,system:masters\nalice,alice,2,\"dev,ops\"\nbob,bob,3\n\
                      n1,system:node:n1,4,system:nodes\nn2,system:node:n2,5,system:nodes\n";
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// A server where `root` may do anything and others what they are given.
pub async fn server() -> Server {
    Server::with(config()).await
}

/// Its configuration.
pub fn config() -> Config {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(PEOPLE.as_bytes()).unwrap();
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem().into_bytes();
    let params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    let authority = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem().into_bytes();
    let (_, path) = file.keep().unwrap();
    Config {
        client_ca: Some(authority.clone()),
        front_proxy_ca: Some(authority),
        front_proxy_names: vec!["front-proxy-client".to_owned()],
        token_file: Some(path),
        service_accounts: ServiceAccounts {
            issuer: ISSUER.to_owned(),
            audiences: vec![ISSUER.to_owned()],
            signing_key: Some(key),
            verification_keys: Vec::new(),
        },
        ..Config::default()
    }
}

impl Server {
    /// A request with a bearer token.
    pub async fn by(&self, token: &str, method: &str, path: &str, body: &Value) -> Answer {
        let bearer = format!("Bearer {token}");
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.request(method, path, &[("Authorization", &bearer), ("Content-Type", kind)], &body).await
    }

    /// A request of the administrator that must succeed.
    pub async fn root(&self, method: &str, path: &str, body: Value) -> Value {
        let answer = self.by("root", method, path, &body).await;
        assert!(answer.code < 300, "{method} {path}: {}", answer.text());
        if answer.body.is_empty() { Value::Null } else { answer.json() }
    }

    /// Makes a namespace and its default service account.
    pub async fn namespace(&self, name: &str, labels: Value) {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        self.root("POST", "/api/v1/namespaces", namespace).await;
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        self.root("POST", &format!("/api/v1/namespaces/{name}/serviceaccounts"), account).await;
    }
}

/// Asks until the answer has this code: caches follow writes a moment later.
pub async fn until<F: Future<Output = Answer>>(code: u16, mut ask: impl FnMut() -> F) -> Answer {
    let patience = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            let answer = ask().await;
            if answer.code == code {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    });
    patience.await.expect("the expected answer in time")
}

/// A pod of one container.
pub fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "a"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]}})
}
