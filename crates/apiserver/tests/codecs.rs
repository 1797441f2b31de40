//! Protobuf, CBOR, negotiation and watches in every form, through the public door.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

mod support;

use api::protobuf;
use apiserver::Config;
use futures::StreamExt;
use machinery::codec::cbor;
use serde_json::{Value, json};
use std::time::Duration;
use support::{Server, manifests};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "v"}})
}

fn path(row: &api::ResourceDef) -> String {
    let group = if row.gvk.group.is_empty() {
        "/api/v1".to_owned()
    } else {
        format!("/apis/{}", row.gvk.api_version())
    };
    let space = if row.namespaced { "/namespaces/default" } else { "" };
    format!("{group}{space}/{}", row.plural)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_is_written_and_read_in_protobuf() {
    let server = Server::start().await;
    let headers = [("Accept", PROTOBUF), ("Content-Type", PROTOBUF)];
    let mut tried = 0;
    for row in api::ResourceTable::shared().rows() {
        let Some(mut object) = manifests::minimal(&row.gvk.group, &row.gvk.version, &row.gvk.kind) else {
            continue;
        };
        object["apiVersion"] = json!(row.gvk.api_version());
        object["kind"] = json!(row.gvk.kind);
        object["metadata"] = json!({"name": format!("pb-{}", row.gvk.version)});
        if row.plural == "ipaddresses"
            || row.plural == "apiservices"
            || row.plural == "customresourcedefinitions"
        {
            continue; // Their names follow from their contents.
        }
        let body = protobuf::encode(&object).unwrap();
        let made = server.send("POST", &path(row), &headers, &body).await;
        if made.code != 201 {
            assert_eq!(made.header("content-type"), Some(PROTOBUF), "{row:?}: {}", made.text());
            let status = protobuf::decode(&made.body).unwrap();
            panic!("{row:?}: {status}");
        }
        tried += 1;
        assert_eq!(made.header("content-type"), Some(PROTOBUF), "{row:?}");
        let made = protobuf::decode(&made.body).unwrap();
        let name = made["metadata"]["name"].as_str().unwrap();
        let here = format!("{}/{name}", path(row));
        let list = server.request("GET", &path(row), &[("Accept", PROTOBUF)], "").await;
        assert_eq!(list.code, 200, "{row:?}");
        assert!(list.body.starts_with(b"k8s\0") && list.body.ends_with(b"\x1a\0\x22\0"), "{row:?}");
        let json = server.get(&here).await.expect(200);
        let wire = server.request("GET", &here, &[("Accept", PROTOBUF)], "").await;
        assert!(protobuf::encode(&json).unwrap() == wire.body, "{row:?}: {json}");
        let gone = server.request("DELETE", &here, &[("Accept", PROTOBUF)], "").await;
        assert!(matches!(gone.code, 200 | 202), "{row:?}: {}", gone.code);
        assert!(protobuf::decode(&gone.body).is_ok(), "{row:?}");
    }
    assert!(tried > 40, "{tried} kinds");
    server.stop().await;
}

#[tokio::test]
async fn errors_metadata_and_options_have_protobuf_too() {
    let server = Server::start().await;
    server.post(MAPS, &map("a")).await.expect(201);
    let missing = server.request("GET", &format!("{MAPS}/none"), &[("Accept", PROTOBUF)], "").await;
    assert_eq!((missing.code, missing.header("content-type")), (404, Some(PROTOBUF)));
    let status = protobuf::decode(&missing.body).unwrap();
    assert_eq!(status["message"], "configmaps \"none\" not found");
    assert_eq!((&status["code"], &status["details"]["kind"]), (&json!(404), &json!("configmaps")));

    let metadata = format!("{PROTOBUF};as=PartialObjectMetadata;g=meta.k8s.io;v=v1");
    let one = server.request("GET", &format!("{MAPS}/a"), &[("Accept", &metadata)], "").await;
    assert_eq!(one.header("content-type"), Some(PROTOBUF));
    let full = server.get(&format!("{MAPS}/a")).await.expect(200);
    let expected = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": full["metadata"]});
    assert!(one.body == protobuf::encode(&expected).unwrap());
    let list = format!("{PROTOBUF};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");
    let many = server.request("GET", MAPS, &[("Accept", &list)], "").await;
    assert!(many.body.windows(25).any(|w| w == b"PartialObjectMetadataList"), "{}", many.text());

    let table = format!("{PROTOBUF};as=Table;g=meta.k8s.io;v=v1");
    let refused = server.request("GET", MAPS, &[("Accept", &table)], "").await.expect(406);
    assert_eq!(
        refused["message"],
        "only the following media types are accepted: application/json, application/yaml, \
         application/vnd.kubernetes.protobuf"
    );
    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": "other"}});
    let body = protobuf::encode(&options).unwrap();
    let conflict = server.send("DELETE", &format!("{MAPS}/a"), &[("Content-Type", PROTOBUF)], &body).await;
    assert_eq!(conflict.code, 409, "{}", conflict.text());
    server.stop().await;
}

#[tokio::test]
async fn zeros_of_protobuf_writers_are_not_stored() {
    let server = Server::start().await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i"}], "automountServiceAccountToken": false}});
    let body = protobuf::encode(&pod).unwrap();
    let pods = "/api/v1/namespaces/default/pods";
    assert_eq!(server.send("POST", pods, &[("Content-Type", PROTOBUF)], &body).await.code, 201);
    let stored = server.get(&format!("{pods}/p")).await.expect(200);
    let container = stored["spec"]["containers"][0].as_object().unwrap();
    for zero in ["tty", "stdin", "stdinOnce", "workingDir", "args"] {
        assert!(!container.contains_key(zero), "{zero} in {stored}");
    }
    let spec = stored["spec"].as_object().unwrap();
    assert!(!spec.contains_key("hostNetwork") && !spec.contains_key("nodeName"), "{stored}");
    assert_eq!(spec["automountServiceAccountToken"], json!(false), "a pointer's zero is a value");
    server.stop().await;
}

async fn read_some(stream: &mut TcpStream, until: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    let read = async {
        while !until(&seen) {
            let n = stream.read(&mut buffer).await.unwrap();
            assert!(n > 0, "the stream ended: {}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&buffer[..n]);
        }
    };
    tokio::time::timeout(Duration::from_secs(20), read).await.expect("bytes in time");
    seen
}

#[tokio::test]
async fn watches_speak_protobuf() {
    let server = Server::start().await;
    server.post(MAPS, &map("first")).await.expect(201);
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "GET {MAPS}?watch=1 HTTP/1.1\r\nHost: t\r\nAccept: {PROTOBUF};stream=watch\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let object = server.get(&format!("{MAPS}/first")).await.expect(200);
    let frame = protobuf::watch_frame("ADDED", &protobuf::encode(&object).unwrap());
    let contains = |seen: &[u8], frame: &[u8]| seen.windows(frame.len()).any(|w| w == frame);
    let seen = read_some(&mut stream, |seen| contains(seen, &frame)).await;
    let text = String::from_utf8_lossy(&seen).to_lowercase();
    assert!(text.contains("content-type: application/vnd.kubernetes.protobuf;stream=watch\r\n"), "{text}");
    let refused =
        server.request("GET", &format!("{MAPS}?watch=1"), &[("Accept", "application/yaml")], "").await;
    assert_eq!((refused.code, refused.header("content-type")), (406, Some("application/yaml")));
    assert!(
        refused
            .text()
            .contains("application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch")
    );
    server.stop().await;
}

#[tokio::test]
async fn watches_speak_websocket() {
    let server = Server::start().await;
    server.post(MAPS, &map("first")).await.expect(201);
    for (accept, old) in [("application/json", false), (PROTOBUF, true)] {
        let path = if old { MAPS.replace("/v1/", "/v1/watch/") } else { format!("{MAPS}?watch=true") };
        let mut request = format!("ws://{}{path}", server.address).into_client_request().unwrap();
        request.headers_mut().insert("accept", accept.parse().unwrap());
        request.headers_mut().insert("sec-websocket-protocol", "base64.binary.k8s.io".parse().unwrap());
        let (mut socket, response) = tokio_tungstenite::connect_async(request).await.unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], "base64.binary.k8s.io");
        let object = server.get(&format!("{MAPS}/first")).await.expect(200);
        let next = tokio::time::timeout(Duration::from_secs(20), async {
            loop {
                let message = socket.next().await.expect("an event").unwrap();
                let bytes = message.clone().into_data();
                if String::from_utf8_lossy(&bytes).contains("first") {
                    return message;
                }
            }
        });
        let message = next.await.expect("an event in time");
        assert_eq!(message.is_text(), !old);
        if old {
            let frame = protobuf::watch_frame("ADDED", &protobuf::encode(&object).unwrap());
            assert!(message.into_data()[..] == frame[4..]);
        } else {
            let event: Value = serde_json::from_slice(&message.into_data()).unwrap();
            assert_eq!(event, json!({"type": "ADDED", "object": object}));
        }
        socket.close(None).await.unwrap();
    }
    let mut request = format!("ws://{}{MAPS}?watch=true", server.address).into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "a, b".parse().unwrap());
    assert!(tokio_tungstenite::connect_async(request).await.is_err(), "one subprotocol at most");
    server.stop().await;
}

#[tokio::test]
async fn cbor_is_behind_its_gate() {
    let server = Server::start().await;
    let accept = [("Accept", "application/cbor")];
    assert_eq!(server.request("GET", MAPS, &accept, "").await.code, 406);
    let refused =
        server.send("POST", MAPS, &[("Content-Type", "application/cbor")], b"\xd9\xd9\xf7\xa0").await;
    assert_eq!(
        refused.expect(415)["message"],
        "the body of the request was in an unknown format - accepted media types include: application/json, \
         application/yaml, application/vnd.kubernetes.protobuf"
    );
    server.stop().await;

    let config =
        Config { authorization_modes: vec!["AlwaysAllow".to_owned()], cbor: true, ..Config::default() };
    let server = Server::with(config).await;
    let mut body = Vec::new();
    cbor::encode(&map("c"), &mut body);
    let both = [("Accept", "application/cbor"), ("Content-Type", "application/cbor")];
    let made = server.send("POST", MAPS, &both, &body).await;
    assert_eq!((made.code, made.header("content-type")), (201, Some("application/cbor")), "{}", made.text());
    assert!(made.body.starts_with(cbor::MAGIC));
    assert_eq!(cbor::decode(&made.body).unwrap()["data"], json!({"k": "v"}));
    let list = server.request("GET", MAPS, &accept, "").await;
    let list = cbor::decode(&list.body).unwrap();
    assert_eq!((&list["kind"], list["items"].as_array().unwrap().len()), (&json!("ConfigMapList"), 1));
    assert_eq!(list["items"][0], server.get(&format!("{MAPS}/c")).await.expect(200));
    let table = [("Accept", "application/cbor;as=Table;g=meta.k8s.io;v=v1")];
    let table = cbor::decode(&server.request("GET", MAPS, &table, "").await.body).unwrap();
    assert_eq!((&table["kind"], &table["rows"][0]["cells"][0]), (&json!("Table"), &json!("c")));
    let missing = server.request("GET", &format!("{MAPS}/none"), &accept, "").await;
    assert_eq!(cbor::decode(&missing.body).unwrap()["reason"], "NotFound");

    let mut patch = Vec::new();
    cbor::encode(&json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"z": "1"}}), &mut patch);
    let apply = [("Content-Type", "application/apply-patch+cbor")];
    let applied = server.send("PATCH", &format!("{MAPS}/c?fieldManager=me"), &apply, &patch).await;
    assert_eq!(applied.expect(200)["data"], json!({"k": "v", "z": "1"}));
    let bad = server.send("POST", MAPS, &both, b"\xd9\xd9\xf7\x9b\xff\xff\xff\xff\xff\xff\xff\xff").await;
    assert_eq!(bad.code, 400);

    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!("GET {MAPS}?watch=1 HTTP/1.1\r\nHost: t\r\nAccept: application/cbor-seq\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let begins = [cbor::MAGIC, b"\xa2\x44type\x45ADDED\x46object", cbor::MAGIC].concat();
    let seen = read_some(&mut stream, |seen| seen.windows(begins.len()).any(|w| w == begins)).await;
    assert!(String::from_utf8_lossy(&seen).to_lowercase().contains("content-type: application/cbor-seq"));
    server.stop().await;
}

#[tokio::test]
async fn people_get_indented_answers_and_large_ones_are_compressed() {
    let server = Server::start().await;
    server.post(MAPS, &map("a")).await.expect(201);
    let one = format!("{MAPS}/a");
    let curl = ("User-Agent", "curl/8.0");
    for (query, headers, indented) in [
        ("", &[curl][..], true),
        ("", &[("User-Agent", "kubectl/v1.36")][..], false),
        ("?pretty=true", &[][..], true),
        ("?pretty=0", &[curl][..], false),
        ("?pretty=perhaps", &[curl][..], false),
    ] {
        let got = server.request("GET", &format!("{one}{query}"), headers, "").await;
        assert_eq!(got.text().contains("\n  \"kind\""), indented, "{query} {headers:?}: {}", got.text());
        assert!(got.header("audit-id").is_some_and(|id| id.len() == 36));
        assert_eq!(got.header("cache-control"), Some("no-cache, private"));
    }
    let error = server.request("GET", &format!("{MAPS}/b"), &[curl], "").await;
    assert!(error.text().starts_with("{\n  \"kind\": \"Status\""), "{}", error.text());

    let mut large = map("large");
    large["data"]["k"] = json!("x".repeat(200_000));
    server.post(MAPS, &large).await.expect(201);
    let path = format!("{MAPS}/large");
    for (encoding, compressed) in [("gzip", true), ("br, gzip", true), ("gzip;q=0", false), ("br", false)] {
        let got = server.request("GET", &path, &[("Accept-Encoding", encoding)], "").await;
        assert_eq!(got.header("content-encoding"), compressed.then_some("gzip"), "{encoding}");
        assert_eq!(got.header("vary"), compressed.then_some("Accept-Encoding"), "{encoding}");
        assert_eq!(got.body.starts_with(&[0x1f, 0x8b]), compressed);
    }
    let small = server.request("GET", &one, &[("Accept-Encoding", "gzip")], "").await;
    assert_eq!(small.header("content-encoding"), None);
    server.stop().await;
}

#[tokio::test]
async fn large_protobuf_lists_are_whole() {
    let server = Server::start().await;
    let mut object = map("m");
    object["data"]["k"] = json!("y".repeat(60_000));
    for n in 0..120 {
        object["metadata"]["name"] = json!(format!("m-{n:03}"));
        server.post(MAPS, &object).await.expect(201);
    }
    let json = server.get(MAPS).await.expect(200);
    let list = server.request("GET", MAPS, &[("Accept", PROTOBUF)], "").await;
    assert!(list.body.len() > 7_000_000);
    assert!(list.body == protobuf::encode(&json).unwrap(), "the same list, sent in pieces");
    server.stop().await;
}

#[tokio::test]
async fn the_timeout_of_a_request_is_checked() {
    let server = Server::start().await;
    let refused = server.get(&format!("{MAPS}?timeout=soon")).await.expect(400);
    assert_eq!(
        refused["message"],
        "invalid timeout specified in the request URL - time: invalid duration \"soon\""
    );
    server.get(&format!("{MAPS}?timeout=30s")).await.expect(200);
    // A body that never comes.
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "POST {MAPS}?timeout=300ms HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let end = b"\"code\":504}";
    let late = read_some(&mut stream, |seen| seen.windows(end.len()).any(|w| w == end)).await;
    let late = String::from_utf8_lossy(&late);
    assert!(late.contains("Timeout: request did not complete within the allotted timeout"), "{late}");
    server.stop().await;
}
