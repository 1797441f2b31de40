//! Health checks over a socket.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

use component::Tasks;
use proxy::health::HealthChecks;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

fn get(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    (!answer.is_empty()).then_some(answer)
}

async fn ask(port: u16) -> Option<String> {
    tokio::task::spawn_blocking(move || get(port)).await.unwrap()
}

#[tokio::test]
async fn balancers_hear_of_the_endpoints_of_this_node() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let tasks = Tasks::new();
    let checks = HealthChecks::new(&tasks);
    checks.set("shop/web", Some(port), 2);
    let before = ask(port).await.unwrap();
    assert!(before.starts_with("HTTP/1.1 503 "), "no rules yet: {before}");
    checks.set_healthy(true);
    let answer = ask(port).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("x-load-balancing-endpoint-weight: 2\r\n"), "{answer}");
    let body = answer.split("\r\n\r\n").nth(1).unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    let expected = serde_json::json!({"service": {"namespace": "shop", "name": "web"},
        "localEndpoints": 2, "serviceProxyHealthy": true});
    assert_eq!(body, expected);
    checks.set("shop/web", Some(port), 0);
    assert!(ask(port).await.unwrap().starts_with("HTTP/1.1 503 "));
    checks.set("shop/web", None, 2);
    tokio::time::timeout(std::time::Duration::from_secs(10), async {
        while ask(port).await.is_some() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}
