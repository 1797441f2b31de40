//! The proxy between a raw client and a raw upstream, both on loopback.

use super::*;
use hyper::body::Incoming;
use hyper::service::service_fn;
use std::net::SocketAddr;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

const PATIENCE: Duration = Duration::from_secs(10);

/// A proxy to `upstream` that serves one connection; answers errors with their code and text.
async fn proxy(upstream: Upstream, tasks: &Tasks) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let group = tasks.clone();
    tasks.spawn_until_stopped("test proxy", async move {
        let (stream, _) = listener.accept().await.unwrap();
        let service = service_fn(move |request: Request<Incoming>| {
            let (upstream, tasks) = (upstream.clone(), group.clone());
            async move {
                Ok::<_, std::convert::Infallible>(match forward(request, &upstream, &tasks).await {
                    Ok(answer) => answer,
                    Err(error) => {
                        let text = http_body_util::Full::from(error.to_string());
                        let body = text.map_err(|never| match never {}).boxed_unsync();
                        Response::builder().status(error.code()).body(body).unwrap()
                    }
                })
            }
        });
        let connection =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        let _ = connection.with_upgrades().await;
    });
    address
}

/// Reads until `stream` ends or `marker` was seen.
async fn read_until(stream: &mut TcpStream, marker: &str) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 1024];
    tokio::time::timeout(PATIENCE, async {
        while !String::from_utf8_lossy(&text).contains(marker) {
            match stream.read(&mut buffer).await.unwrap() {
                0 => break,
                n => text.extend_from_slice(&buffer[..n]),
            }
        }
    })
    .await
    .expect("the stream neither ended nor showed the marker");
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn an_upgrade_becomes_a_pipe() {
    let tasks = Tasks::new();
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = Upstream::Tcp(upstream.local_addr().unwrap().to_string());
    let mut client = TcpStream::connect(proxy(to, &tasks).await).await.unwrap();
    client
        .write_all(
            b"POST /exec?a=b HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, X-Secret\r\nX-Secret: 1\r\n\
              Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\nContent-Length: 0\r\n\r\n",
        )
        .await
        .unwrap();
    let (mut server, _) = upstream.accept().await.unwrap();
    let head = read_until(&mut server, "\r\n\r\n").await.to_lowercase();
    assert!(head.starts_with("post /exec?a=b http/1.1\r\n"), "{head}");
    assert!(head.contains("upgrade: spdy/3.1"), "{head}");
    assert!(head.contains("x-stream-protocol-version: v4.channel.k8s.io"), "{head}");
    assert!(!head.contains("x-secret"), "{head}");
    server
        .write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\nhello",
        )
        .await
        .unwrap();
    let answer = read_until(&mut client, "hello").await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    client.write_all(b"world").await.unwrap();
    assert_eq!(read_until(&mut server, "world").await, "world");
    drop(server);
    assert_eq!(read_until(&mut client, "never").await, "");
    assert!(tasks.stop_and_wait(PATIENCE).await);
}

#[tokio::test]
async fn a_refused_upgrade_ends_the_connection() {
    let tasks = Tasks::new();
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = Upstream::Tcp(upstream.local_addr().unwrap().to_string());
    let mut client = TcpStream::connect(proxy(to, &tasks).await).await.unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .await
        .unwrap();
    let (mut server, _) = upstream.accept().await.unwrap();
    read_until(&mut server, "\r\n\r\n").await;
    server.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno").await.unwrap();
    let answer = read_until(&mut client, "never").await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("no"), "{answer}");
}

#[tokio::test]
async fn bodies_stream() {
    let tasks = Tasks::new();
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = Upstream::Tcp(upstream.local_addr().unwrap().to_string());
    let mut client = TcpStream::connect(proxy(to, &tasks).await).await.unwrap();
    client.write_all(b"GET /logs?follow=true HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    let (mut server, _) = upstream.accept().await.unwrap();
    read_until(&mut server, "\r\n\r\n").await;
    server.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nline 1\r\n").await.unwrap();
    // The first line arrives while the answer is still open.
    assert!(read_until(&mut client, "line 1").await.starts_with("HTTP/1.1 200 "));
    server.write_all(b"6\r\nline 2\r\n").await.unwrap();
    read_until(&mut client, "line 2").await;
    // A client that goes away takes the upstream's request with it.
    drop(client);
    assert_eq!(read_until(&mut server, "never").await, "");
}

#[tokio::test]
async fn nobody_there_is_a_503() {
    let tasks = Tasks::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = listener.local_addr().unwrap();
    drop(listener);
    let mut client = TcpStream::connect(proxy(Upstream::Tcp(gone.to_string()), &tasks).await).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await.unwrap();
    let answer = read_until(&mut client, "never").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.ends_with(&format!("dial tcp {gone}: connect: connection refused")), "{answer}");
}
