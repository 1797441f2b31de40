//! Sizes, and who may connect.

use super::*;
use component::tls::{self, KeyPair};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair as Key};

#[tokio::test]
async fn requests_are_bounded() {
    let fixture = Fixture::with(|config| config.max_request_bytes = 10_000).await;
    fixture.put("a", &"v".repeat(9_000)).await;
    let large = fixture.kv().put(put("a", &"v".repeat(10_000))).await;
    assert_eq!(refusal(large), "InvalidArgument: etcdserver: request is too large");
    let huge = fixture.kv().put(put("a", &"v".repeat(2 << 20))).await;
    assert!(huge.is_err(), "refused before it is read");
    assert_eq!(fixture.put("a", "small").await, 3, "the connection goes on");
}

struct Authority {
    pem: Vec<u8>,
    issuer: Issuer<'static, Key>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = Key::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem().into_bytes();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    fn issue(&self) -> KeyPair {
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let key = Key::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem().into_bytes();
        KeyPair { certificate, key: key.serialize_pem().into_bytes() }
    }
}

/// One GET over TLS; what the server says.
async fn get(address: SocketAddr, ca: &[u8], pair: Option<&KeyPair>) -> std::io::Result<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let config = tls::client(ca, pair, &["http/1.1"]).unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = tokio::net::TcpStream::connect(address).await?;
    let mut stream = connector.connect("localhost".try_into().unwrap(), stream).await?;
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn only_clients_with_a_certificate() {
    let (ca, stranger) = (Authority::new(), Authority::new());
    let config = tls::server_for_known_clients(&ca.issue(), &ca.pem).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Embedded::open(dir.path(), Options::default()).unwrap());
    let tasks = Tasks::new();
    let front = Front::new(store, Config::default(), FakeClock::new(SystemTime::UNIX_EPOCH), tasks.clone());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = front.serve(listener, Some(Arc::new(config))).unwrap();
    let known = soon(get(address, &ca.pem, Some(&ca.issue()))).await.unwrap();
    assert!(known.ends_with(r#"{"health":"true"}"#), "{known}");
    assert!(soon(get(address, &ca.pem, None)).await.is_err(), "without a certificate");
    assert!(
        soon(get(address, &ca.pem, Some(&stranger.issue()))).await.is_err(),
        "with one of another authority"
    );
    tasks.stop();
}
