//! TLS, client certificates and HTTP/2.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

mod support;

use apiserver::{ApiServer, Config, Listen};
use bytes::Bytes;
use component::clock::SystemClock;
use component::{Tasks, tls};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use store::embedded::{Embedded, Options};
use tokio::net::TcpStream;

struct Pki {
    ca: Vec<u8>,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Pki {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "ca");
        let ca = params.self_signed(&key).unwrap().pem().into_bytes();
        Self { ca, issuer: rcgen::Issuer::new(params, key) }
    }

    fn pair(&self, name: &str, group: &str) -> tls::KeyPair {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.distinguished_name.push(rcgen::DnType::OrganizationName, group);
        params.extended_key_usages =
            vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth, rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem().into_bytes();
        tls::KeyPair { certificate, key: key.serialize_pem().into_bytes() }
    }
}

async fn get(address: SocketAddr, config: rustls::ClientConfig, path: &str) -> (u16, Value) {
    let stream = TcpStream::connect(address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
    let stream = connector.connect(name, stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let request = http::Request::get(format!("https://127.0.0.1{path}")).body(Empty::<Bytes>::new()).unwrap();
    let exchange = async {
        let response = sender.send_request(request).await.unwrap();
        let code = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (code, serde_json::from_slice(&body).unwrap())
    };
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    tokio::time::timeout(Duration::from_secs(20), async {
        tokio::select! {
            answer = &mut exchange => answer,
            ended = &mut connection => panic!("the connection ended: {ended:?}"),
        }
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn certificates_are_identities() {
    let pki = Pki::new();
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Embedded::open(dir.path(), Options::default()).unwrap());
    let tasks = Tasks::new();
    let config = Config { client_ca: Some(pki.ca.clone()), ..Config::default() };
    let serving = tls::server(&pki.pair("server", "x"), Some(&pki.ca)).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listeners = vec![Listen { listener, tls: Some(Arc::new(serving)) }];
    let api = ApiServer::start(config, listeners, store, SystemClock::shared(), &tasks).await.unwrap();
    let address = api.addresses()[0];

    let admin = tls::client(&pki.ca, Some(&pki.pair("admin", "system:masters")), &["h2"]).unwrap();
    let (code, list) = get(address, admin, "/api/v1/namespaces").await;
    assert_eq!((code, list["kind"].as_str()), (200, Some("NamespaceList")));
    let nobody = tls::client(&pki.ca, Some(&pki.pair("jane", "dev")), &["h2"]).unwrap();
    let (code, refused) = get(address, nobody, "/api/v1/namespaces").await;
    assert_eq!(code, 403);
    assert_eq!(
        refused["message"],
        "namespaces is forbidden: User \"jane\" cannot list resource \"namespaces\" in API group \"\" at the cluster scope"
    );
    let anonymous = tls::client(&pki.ca, None, &["h2"]).unwrap();
    let (code, refused) = get(address, anonymous, "/api/v1/nodes").await;
    assert_eq!(code, 403);
    assert!(refused["message"].as_str().unwrap().contains("User \"system:anonymous\""), "{refused}");
    let anonymous = tls::client(&pki.ca, None, &["h2"]).unwrap();
    let (code, version) = get(address, anonymous, "/version").await;
    assert_eq!(code, 200, "everyone may see the version: {version}");
    assert!(tasks.stop_and_wait(Duration::from_secs(10)).await);
}
