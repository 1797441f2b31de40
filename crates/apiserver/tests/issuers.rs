//! Tokens of others: an OpenID Connect issuer in this process, a webhook that knows tokens, and files that change.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

mod support;

use apiserver::Config;
use apiserver::authn::{JwtSettings, OidcFlags, TokenWebhook};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use component::serve::{Handler, Limits, Request, Response, full, serve};
use component::{Tasks, tls};
use futures::future::BoxFuture;
use http_body_util::BodyExt;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use support::people::{config, until};
use support::{Answer, Server};

const WHOAMI: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

async fn whoami(server: &Server, token: &str) -> Answer {
    let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    server.by(token, "POST", WHOAMI, &body).await
}

/// A small Dex: discovery, keys, and tokens for whoever asks in this process.
struct Issuer {
    url: String,
    authority: String,
    shown: Arc<Shown>,
    key: parking_lot::Mutex<(String, EncodingKey)>,
}

#[derive(Default)]
struct Shown {
    url: parking_lot::Mutex<String>,
    keys: parking_lot::Mutex<Vec<Value>>,
    asked: AtomicUsize,
}

#[derive(Clone)]
struct Pages(Arc<Shown>);

impl Handler for Pages {
    fn handle(&self, request: Request) -> BoxFuture<'static, Response> {
        let shown = self.0.clone();
        Box::pin(async move {
            shown.asked.fetch_add(1, Ordering::SeqCst);
            let url = shown.url.lock().clone();
            let page = match request.uri().path() {
                "/dex/.well-known/openid-configuration" => {
                    json!({"issuer": url, "jwks_uri": format!("{url}/keys")})
                }
                "/elsewhere" => {
                    json!({"issuer": "https://tokens.example.com", "jwks_uri": format!("{url}/keys")})
                }
                "/dex/keys" => json!({"keys": *shown.keys.lock()}),
                other => panic!("{other} was asked for"),
            };
            http::Response::new(full(page.to_string()))
        })
    }
}

fn new_key(id: &str) -> (Value, EncodingKey) {
    let pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let key = EncodingKey::from_ec_pem(pem.as_bytes()).unwrap();
    let mut jwk = Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap();
    jwk.common.key_id = Some(id.to_owned());
    (serde_json::to_value(jwk).unwrap(), key)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

impl Issuer {
    fn start(tasks: &Tasks) -> Self {
        let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let authority = certified.cert.pem();
        let pair = tls::KeyPair {
            certificate: authority.clone().into_bytes(),
            key: certified.signing_key.serialize_pem().into_bytes(),
        };
        let shown = Arc::new(Shown::default());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let serving = Some(Arc::new(tls::server(&pair, None).unwrap()));
        let address =
            serve(listener, serving, Limits::default(), tasks, Arc::new(Pages(shown.clone()))).unwrap();
        let url = format!("https://{address}/dex");
        shown.url.lock().clone_from(&url);
        let (jwk, key) = new_key("first");
        shown.keys.lock().push(jwk);
        Self { url, authority, shown, key: parking_lot::Mutex::new(("first".to_owned(), key)) }
    }

    /// Signs with a new key from now on, and shows only that.
    fn rotate(&self, id: &str) {
        let (jwk, key) = new_key(id);
        *self.shown.keys.lock() = vec![jwk];
        *self.key.lock() = (id.to_owned(), key);
    }

    fn token(&self, change: Value) -> String {
        let mut claims = json!({"iss": self.url, "aud": "kubernetes", "sub": "u-1", "exp": now() + 3600, "iat": now(),
            "email": "jane@example.com", "email_verified": true, "groups": ["dev", "ops"], "jti": "t-1"});
        for (name, value) in change.as_object().unwrap() {
            if value.is_null() {
                claims.as_object_mut().unwrap().shift_remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
        let (id, key) = &*self.key.lock();
        let header = Header { kid: Some(id.clone()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, &claims, key).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openid_connect_by_flags() {
    let dir = tempfile::tempdir().unwrap();
    let tasks = Tasks::new();
    let issuer = Issuer::start(&tasks);
    let authority = dir.path().join("ca.crt");
    std::fs::write(&authority, &issuer.authority).unwrap();
    let oidc = OidcFlags {
        issuer_url: issuer.url.clone(),
        client_id: "kubernetes".to_owned(),
        ca_file: Some(authority),
        username_claim: "email".to_owned(),
        groups_claim: Some("groups".to_owned()),
        groups_prefix: "oidc:".to_owned(),
        required_claims: vec![("hd".to_owned(), "example.com".to_owned())],
        signing_algs: vec!["ES256".to_owned()],
        ..OidcFlags::default()
    };
    let server = Server::with(Config { jwt: JwtSettings { oidc: Some(oidc), file: None }, ..config() }).await;
    let good = issuer.token(json!({"hd": "example.com"}));
    let me = whoami(&server, &good).await.expect(201);
    let user = &me["status"]["userInfo"];
    assert_eq!(user["username"], "jane@example.com");
    assert_eq!(user["groups"], json!(["oidc:dev", "oidc:ops", "system:authenticated"]));
    assert_eq!(user["extra"]["authentication.kubernetes.io/credential-id"], json!(["JTI=t-1"]));

    for (what, change) in [
        ("another audience", json!({"aud": "other"})),
        ("expired", json!({"exp": now() - 10})),
        ("no expiry", json!({"exp": null})),
        ("too early", json!({"nbf": now() + 1000})),
        ("unverified address", json!({"email_verified": false})),
        ("without the required claim", json!({"hd": null})),
        ("groups that are no list", json!({"groups": {"a": 1}})),
        ("another issuer", json!({"iss": "https://evil.example.com"})),
    ] {
        let mut claims = json!({"hd": "example.com"});
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let refused = whoami(&server, &issuer.token(claims)).await;
        assert_eq!(refused.code, 401, "{what}");
        assert_eq!(refused.json()["message"], "Unauthorized", "{what}: nothing is told");
    }
    // A signature of a key that is not the issuer's, under the issuer's name for its key.
    let (_, stranger) = new_key("x");
    let header = Header { kid: Some("first".to_owned()), ..Header::new(Algorithm::ES256) };
    let claims = json!({"iss": issuer.url, "aud": "kubernetes", "email": "root@example.com", "exp": now() + 60, "hd": "example.com"});
    let forged = jsonwebtoken::encode(&header, &claims, &stranger).unwrap();
    assert_eq!(whoami(&server, &forged).await.code, 401);
    // Nor one of a public key used as a secret, nor none at all.
    let secret = EncodingKey::from_secret(issuer.authority.as_bytes());
    let confused = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &secret).unwrap();
    assert_eq!(whoami(&server, &confused).await.code, 401);
    let none = format!("eyJhbGciOiJub25lIn0.{}.", good.split('.').nth(1).unwrap());
    assert_eq!(whoami(&server, &none).await.code, 401);

    // The issuer's key changes: its keys are fetched anew for a token that names another.
    issuer.rotate("second");
    let fresh = issuer.token(json!({"hd": "example.com", "email": "joe@example.com"}));
    let me = until(201, || whoami(&server, &fresh)).await.json();
    assert_eq!(me["status"]["userInfo"]["username"], "joe@example.com");
    server.stop().await;
    tasks.stop_and_wait(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn issuers_by_file_with_expressions() {
    let dir = tempfile::tempdir().unwrap();
    let tasks = Tasks::new();
    let issuer = Issuer::start(&tasks);
    let file = dir.path().join("authentication.yaml");
    let origin = issuer.url.trim_end_matches("/dex").to_owned();
    let write = |username: &str| {
        let value = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
        "anonymous": {"enabled": true, "conditions": [{"path": "/livez"}]},
        "jwt": [{
            "issuer": {"url": issuer.url, "certificateAuthority": issuer.authority,
                "audiences": ["a", "kubernetes"], "audienceMatchPolicy": "MatchAny"},
            "claimValidationRules": [
                {"expression": "claims.exp - claims.iat <= 86400", "message": "it lives too long"}],
            "claimMappings": {
                "username": {"expression": username},
                "groups": {"expression": "claims.groups.map(g, 'corp:' + g)"},
                "uid": {"claim": "sub"},
                "extra": [{"key": "example.com/tenant", "valueExpression": "claims.?tenant.orValue('none')"}]},
            "userValidationRules": [
                {"expression": "!user.username.startsWith('system:')", "message": "system: is reserved"}],
        }, {
            "issuer": {"url": "https://tokens.example.com", "discoveryURL": format!("{origin}/elsewhere"),
                "certificateAuthority": issuer.authority, "audiences": ["kubernetes"]},
            "claimMappings": {"username": {"claim": "sub", "prefix": "two:"}},
        }]});
        std::fs::write(dir.path().join("new"), value.to_string()).unwrap();
        std::fs::rename(dir.path().join("new"), &file).unwrap();
    };
    write("'corp:' + claims.sub");
    let jwt = JwtSettings { file: Some(file.clone()), oidc: None };
    let server = Server::with(Config { jwt, ..config() }).await;
    let me = whoami(&server, &issuer.token(json!({"aud": ["x", "a"], "tenant": "blue"}))).await.expect(201);
    assert_eq!(
        me["status"]["userInfo"],
        json!({"username": "corp:u-1", "uid": "u-1", "groups": ["corp:dev", "corp:ops", "system:authenticated"],
            "extra": {"authentication.kubernetes.io/credential-id": ["JTI=t-1"], "example.com/tenant": ["blue"]}})
    );
    let second = issuer.token(json!({"iss": "https://tokens.example.com"}));
    assert_eq!(whoami(&server, &second).await.expect(201)["status"]["userInfo"]["username"], "two:u-1");
    assert_eq!(
        whoami(&server, &issuer.token(json!({"iat": now() - 100_000}))).await.code,
        401,
        "the claim rule"
    );

    // Anonymous requests are served on the listed path only.
    assert_eq!(server.get("/livez").await.code, 200);
    assert_eq!(server.get("/readyz").await.code, 401);

    let long = issuer.token(json!({"sub": "again"}));
    write("'other:' + claims.sub");
    let renamed = async {
        loop {
            let me = whoami(&server, &long).await.expect(201);
            if me["status"]["userInfo"]["username"] == "other:again" {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), renamed).await.expect("the new mapping in force");
    write("'system:' + claims.sub");
    until(401, || whoami(&server, &long)).await;
    server.stop().await;
    tasks.stop_and_wait(Duration::from_secs(5)).await;
}

#[derive(Clone, Default)]
struct Known(Arc<AtomicUsize>);

impl Handler for Known {
    fn handle(&self, request: Request) -> BoxFuture<'static, Response> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let review: Value = serde_json::from_slice(&body).unwrap();
            let status = match review["spec"]["token"].as_str().unwrap() {
                "w1" => {
                    json!({"authenticated": true, "user": {"username": "wendy", "uid": "7", "groups": ["dev"],
                    "extra": {"k": ["v"]}}, "audiences": review["spec"]["audiences"]})
                }
                _ => json!({"authenticated": false}),
            };
            let answer = json!({"apiVersion": review["apiVersion"], "kind": "TokenReview", "status": status});
            http::Response::new(full(answer.to_string()))
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_and_files_know_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let tasks = Tasks::new();
    let known = Known::default();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = serve(listener, None, Limits::default(), &tasks, Arc::new(known.clone())).unwrap();
    let kubeconfig = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "s", "cluster": {"server": format!("http://{address}/authenticate")}}],
        "contexts": [{"name": "c", "context": {"cluster": "s", "user": ""}}]});
    let path = dir.path().join("kubeconfig");
    std::fs::write(&path, kubeconfig.to_string()).unwrap();
    let basic = dir.path().join("passwords");
    std::fs::write(&basic, "s3cret,pat,8,ops\n").unwrap();
    let tokens = dir.path().join("tokens");
    std::fs::write(&tokens, "root,admin,1,system:masters\nold,olga,9\n").unwrap();
    let server = Server::with(Config {
        token_webhook: Some(TokenWebhook {
            kubeconfig: path,
            version: "v1".into(),
            ttl: Duration::from_secs(60),
        }),
        basic_file: Some(basic),
        token_file: Some(tokens.clone()),
        ..config()
    })
    .await;
    let me = whoami(&server, "w1").await.expect(201);
    assert_eq!(
        me["status"]["userInfo"],
        json!({"username": "wendy", "uid": "7", "groups": ["dev", "system:authenticated"], "extra": {"k": ["v"]}})
    );
    whoami(&server, "w1").await.expect(201);
    assert_eq!(known.0.load(Ordering::SeqCst), 1, "the answer is remembered");
    assert_eq!(whoami(&server, "w2").await.code, 401);
    let review =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": "w1"}});
    let reviewed = server.by("root", "POST", REVIEWS, &review).await.expect(201);
    assert_eq!(reviewed["status"]["user"]["username"], "wendy");

    let basic = async |pair: &str| {
        let header = format!("Basic {}", STANDARD.encode(pair));
        let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}).to_string();
        let headers = [("Authorization", header.as_str()), ("Content-Type", "application/json")];
        server.request("POST", WHOAMI, &headers, &body).await
    };
    assert_eq!(basic("pat:s3cret").await.expect(201)["status"]["userInfo"]["username"], "pat");
    assert_eq!(basic("pat:wrong").await.code, 401);
    assert_eq!(basic("nobody:s3cret").await.code, 401);

    whoami(&server, "old").await.expect(201);
    std::fs::write(&tokens, "root,admin,1,system:masters\nnew,nora,9\n").unwrap();
    until(201, || whoami(&server, "new")).await;
    assert_eq!(whoami(&server, "old").await.code, 401, "a token that was taken out of the file");
    server.stop().await;
    tasks.stop_and_wait(Duration::from_secs(5)).await;
}
