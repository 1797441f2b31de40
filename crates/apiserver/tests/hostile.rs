//! Requests that mean harm: they cost bounded time and memory, and the server goes on.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

mod support;

use serde_json::{Value, json};
use std::time::{Duration, Instant};
use support::{Answer, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const LIMIT: usize = 3 * 1024 * 1024;

/// Sends a body and says how long the answer took; no answer may take longer than ten seconds, even unoptimised.
async fn attack(server: &Server, method: &str, path: &str, media: &str, body: &[u8]) -> Answer {
    let began = Instant::now();
    let answer = server.send(method, path, &[("Content-Type", media)], body).await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(10), "{media}, {} bytes: {took:?}", body.len());
    answer
}

/// The most memory that this process has held, in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
}

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_are_bounded() {
    let server = Server::start().await;
    let json = "application/json";
    let mut large = map("large").to_string().into_bytes();
    large.resize(LIMIT + 1, b' ');
    let refused = attack(&server, "POST", MAPS, json, &large).await.expect(413);
    assert_eq!(
        (&refused["reason"], &refused["message"]),
        (&json!("RequestEntityTooLarge"), &json!("Request entity too large: limit is 3145728"))
    );
    large.truncate(LIMIT);
    attack(&server, "POST", MAPS, json, &large).await.expect(201);

    let deep = |open: &str, close: &str, levels: usize| {
        format!(
            r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"d"}},"data":{{"a":{}{}}}}}"#,
            open.repeat(levels),
            close.repeat(levels)
        )
    };
    attack(&server, "POST", MAPS, json, deep("[", "]", 1_000_000).as_bytes()).await.expect(400);
    attack(&server, "POST", MAPS, json, deep(r#"{"a":"#, "}", 400_000).as_bytes()).await.expect(400);
    attack(&server, "POST", MAPS, "application/yaml", deep("[", "]", 1_000_000).as_bytes()).await.expect(400);

    let before = peak();
    let fields: String = (0..250_000).map(|n| format!(r#""{n:x}":"","#)).collect();
    let small = format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"s"}},"{}":0,{}"z":""}}"#,
        "x", fields
    );
    let answer = attack(&server, "POST", MAPS, json, small.as_bytes()).await;
    assert_eq!(answer.code, 201, "unknown fields are warned about and dropped");
    assert!(answer.all("warning").len() <= 110, "{}", answer.all("warning").len());
    let grown = peak() - before;
    assert!(grown < 1024, "{grown} MiB for a body of 3");
    server.get("/readyz").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aliases_and_patches_do_not_multiply() {
    let server = Server::start().await;
    let mut yaml = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for n in 1..12 {
        let before = n - 1;
        let ten = vec![format!("*a{before}"); 10].join(",");
        yaml.push_str(&format!("a{n}: &a{n} [{ten}]\n"));
    }
    yaml.push_str("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bomb}\ndata: {k: *a11}\n");
    attack(&server, "POST", MAPS, "application/yaml", yaml.as_bytes()).await.expect(400);

    server.post(MAPS, &map("target")).await.expect(201);
    let path = format!("{MAPS}/target");
    let operations = |count: usize| -> Value {
        (0..count)
            .map(|n| json!({"op": "add", "path": "/metadata/labels", "value": {"n": n.to_string()}}))
            .collect()
    };
    let patch = "application/json-patch+json";
    let refused =
        attack(&server, "PATCH", &path, patch, operations(10_001).to_string().as_bytes()).await.expect(413);
    assert_eq!(
        refused["message"],
        "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001"
    );
    let done =
        attack(&server, "PATCH", &path, patch, operations(10_000).to_string().as_bytes()).await.expect(200);
    assert_eq!(done["metadata"]["labels"], json!({"n": "9999"}));
    // Each copy doubles what is there.
    let mut copies = vec![json!({"op": "add", "path": "/data", "value": {"a": "x".repeat(100)}})];
    copies.extend((0..60).map(|n| json!({"op": "copy", "from": "/data", "path": format!("/data/c{n}")})));
    let refused = attack(&server, "PATCH", &path, patch, Value::Array(copies).to_string().as_bytes()).await;
    assert!(refused.code >= 400, "{}", refused.code);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn protobuf_may_lie() {
    let server = Server::start().await;
    let good = api::protobuf::encode(&map("pb")).unwrap();
    let send = |body: Vec<u8>| {
        let server = &server;
        async move { attack(server, "POST", MAPS, api::protobuf::MEDIA_TYPE, &body).await }
    };
    // The object says that it is longer than the body, by a little and by eight exabytes.
    let at =
        good.windows(2).position(|w| w[0] == 0x12 && usize::from(w[1]) + 30 > good.len() - 20).unwrap_or(17);
    let mut lie = good.clone();
    lie[at + 1] = 0x7f;
    send(lie).await.expect(400);
    let huge = [&b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12"[..], &[0xff; 8], &[0x7f]].concat();
    send(huge).await.expect(400);
    let overflow = [&b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12"[..], &[0xff; 12]].concat();
    send(overflow).await.expect(400);
    // A million fields of a number that nobody knows, and as many empty entries of a map.
    for field in [&[0xf8, 0x07, 0x01][..], &[0x12, 0x00][..]] {
        let raw = field.repeat(1_000_000);
        let body = [api::protobuf::envelope_head("v1", "ConfigMap", raw.len()), raw].concat();
        let answer = send(body).await;
        assert!(matches!(answer.code, 400 | 422), "{}", answer.code);
    }
    // Groups in groups, and messages in messages.
    send([&b"k8s\0"[..], &[0x0b; 1000]].concat()).await.expect(400);
    send(b"{}".to_vec()).await.expect(400);
    send(good).await.expect(201);
    server.stop().await;
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&len[1..], &[kind, flags][..], &stream.to_be_bytes(), payload].concat()
}

/// CVE-2023-44487: requests that are taken back at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_are_reset_at_once_end_their_connection() {
    let server = Server::start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    // GET, http, path /, host t.
    let request = [0x82, 0x86, 0x84, 0x41, 0x01, b't'];
    let attack = async {
        for n in 0..200_000_u32 {
            let id = 2 * n + 1;
            let pair = [frame(1, 5, id, &request), frame(3, 0, id, &[0, 0, 0, 8])].concat();
            if stream.write_all(&pair).await.is_err() {
                return true;
            }
        }
        false
    };
    let mut ended = tokio::time::timeout(Duration::from_secs(30), attack).await.expect("no longer than that");
    if !ended {
        // What was written may still be on its way.
        let mut rest = Vec::new();
        ended = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await.is_ok();
    }
    assert!(ended, "the server ends the connection");
    server.get(MAPS).await.expect(200);
    server.stop().await;
}
