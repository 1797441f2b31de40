//! Exec, attach and port-forward through their URLs, over both carriers.

use crate::fixture::{Fixture, Pod};
use cri::v1;
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

pub(crate) async fn websocket(url: &str, protocol: &str) -> Socket {
    let mut request = url.replace("http://", "ws://").into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", protocol.parse().unwrap());
    let (socket, response) = tokio_tungstenite::connect_async(request).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], protocol);
    socket
}

/// Reads until the error channel speaks; returns what every channel said.
pub(crate) async fn drain(socket: &mut Socket) -> [String; 4] {
    let mut said: [String; 4] = Default::default();
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Binary(data) = message {
            said[usize::from(data[0])].push_str(&String::from_utf8_lossy(&data[1..]));
            if data[0] == 3 && data.len() > 1 {
                break;
            }
        }
    }
    said
}

pub(crate) async fn type_in(socket: &mut Socket, text: &str) {
    socket.send(Message::Binary(format!("\0{text}").into_bytes().into())).await.unwrap();
}

async fn exec_url(pod: &mut Pod<'_>, request: v1::ExecRequest) -> String {
    pod.clients.runtime.exec(request).await.unwrap().into_inner().url
}

fn shell(id: &str, script: &str) -> v1::ExecRequest {
    v1::ExecRequest {
        container_id: id.into(),
        cmd: vec!["/bin/sh".into(), "-c".into(), script.into()],
        stdout: true,
        stderr: true,
        ..Default::default()
    }
}

pub(crate) async fn exec_over_websocket(fixture: &Fixture) {
    let mut pod = Pod::run(fixture, fixture.sandbox("w")).await;
    let id = pod.script("main", "sleep 1000").await;
    let mut request = shell(&id, "cat; echo err >&2; exit 4");
    request.stdin = true;
    let url = exec_url(&mut pod, request).await;
    let mut socket = websocket(&url, "v5.channel.k8s.io").await;
    socket.send(Message::Binary(b"\x00typed\n"[..].into())).await.unwrap();
    socket.send(Message::Binary(b"\xff\x00"[..].into())).await.unwrap();
    let said = drain(&mut socket).await;
    assert_eq!((said[1].as_str(), said[2].as_str()), ("typed\n", "err\n"));
    let status: serde_json::Value = serde_json::from_str(&said[3]).unwrap();
    assert_eq!(status["reason"], "NonZeroExitCode");
    assert_eq!(status["details"]["causes"][0], serde_json::json!({"reason": "ExitCode", "message": "4"}));
    // A URL works once.
    let again = url.replace("http://", "ws://").into_client_request().unwrap();
    assert!(tokio_tungstenite::connect_async(again).await.unwrap_err().to_string().contains("404"));
    // A terminal: what is typed is echoed, its size is the client's, its end ends the session.
    let mut request = shell(&id, "read go; stty size; tty; exit 0");
    (request.stdin, request.tty, request.stderr) = (true, true, false);
    let url = exec_url(&mut pod, request).await;
    let mut socket = websocket(&url, "v4.channel.k8s.io").await;
    socket.send(Message::Binary(b"\x04{\"Width\":97,\"Height\":31}"[..].into())).await.unwrap();
    socket.send(Message::Binary(b"\x00go\n"[..].into())).await.unwrap();
    let said = drain(&mut socket).await;
    assert!(said[1].contains("31 97") && said[1].contains("/dev/pts/"), "{}", said[1]);
    assert!(said[3].contains("\"Success\""), "{}", said[3]);
    let url = exec_url(&mut pod, v1::ExecRequest { cmd: vec!["nothing".into()], ..shell(&id, "") }).await;
    let said = drain(&mut websocket(&url, "v4.channel.k8s.io").await).await;
    assert!(
        said[3].contains("executable file not found in $PATH") && said[3].contains("InternalError"),
        "{}",
        said[3]
    );
    // A client that leaves takes its terminal with it, and so the shell on it.
    let mut request = shell(&id, "echo $$; exec sleep 5555");
    (request.stdin, request.tty, request.stderr) = (true, true, false);
    let url = exec_url(&mut pod, request).await;
    let mut socket = websocket(&url, "v4.channel.k8s.io").await;
    socket.next().await.unwrap().unwrap();
    socket.next().await.unwrap().unwrap();
    drop(socket);
    while pod.exec(&id, "ps").await.0.contains("sleep 5555") {}
    pod.remove().await;
}

pub(crate) async fn attach_over_websocket(fixture: &Fixture) {
    let mut pod = Pod::run(fixture, fixture.sandbox("a")).await;
    let mut config = fixture.container("main", "cat; echo done >&2; exit 0");
    (config.stdin, config.stdin_once) = (true, true);
    let id = pod.create(config).await.unwrap();
    pod.start(&id).await.unwrap();
    let request = v1::AttachRequest {
        container_id: id.clone(),
        stdin: true,
        stdout: true,
        stderr: true,
        ..Default::default()
    };
    let url = pod.clients.runtime.attach(request).await.unwrap().into_inner().url;
    let mut socket = websocket(&url, "v5.channel.k8s.io").await;
    // The first message says that the session has begun.
    socket.next().await.unwrap().unwrap();
    socket.send(Message::Binary(b"\x00hello\n"[..].into())).await.unwrap();
    let echoed = socket.next().await.unwrap().unwrap().into_data();
    assert_eq!(echoed, &b"\x01hello\n"[..]);
    socket.send(Message::Binary(b"\xff\x00"[..].into())).await.unwrap();
    let said = drain(&mut socket).await;
    assert_eq!(said[2], "done\n");
    assert_eq!(pod.ended(&id).await.exit_code, 0);
    assert_eq!(fixture.log("main"), "stdout F hello\nstderr F done\n");
    pod.remove().await;
}

/// As much of a SPDY client as a test needs. Its header blocks do without the dictionary.
struct Spdy<I> {
    io: I,
    deflate: flate2::Compress,
}

impl<I: AsyncRead + AsyncWrite + Unpin> Spdy<I> {
    fn new(io: I) -> Self {
        Self { io, deflate: flate2::Compress::new(flate2::Compression::fast(), true) }
    }

    async fn open(&mut self, stream: u32, headers: &[(&str, &str)]) {
        let mut plain = u32::try_from(headers.len()).unwrap().to_be_bytes().to_vec();
        for part in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.extend(u32::try_from(part.len()).unwrap().to_be_bytes());
            plain.extend(part.as_bytes());
        }
        let mut block = Vec::with_capacity(1024);
        self.deflate.compress_vec(&plain, &mut block, flate2::FlushCompress::Sync).unwrap();
        let mut frame = vec![0x80, 3, 0, 1];
        frame.extend(u32::try_from(10 + block.len()).unwrap().to_be_bytes());
        frame.extend(stream.to_be_bytes());
        frame.extend([0; 6]);
        frame.extend(block);
        self.io.write_all(&frame).await.unwrap();
    }

    async fn send(&mut self, stream: u32, fin: bool, data: &[u8]) {
        let mut frame = stream.to_be_bytes().to_vec();
        frame.extend((u32::from(fin) << 24 | u32::try_from(data.len()).unwrap()).to_be_bytes());
        frame.extend(data);
        self.io.write_all(&frame).await.unwrap();
    }

    /// Reads until `stream` ends; returns what it said and what the others said.
    async fn until_end(&mut self, stream: u32) -> std::collections::BTreeMap<u32, String> {
        let mut said = std::collections::BTreeMap::<u32, String>::new();
        loop {
            let (word, flags) = (self.io.read_u32().await.unwrap(), self.io.read_u32().await.unwrap());
            let mut body = vec![0; (flags & 0xff_ffff) as usize];
            self.io.read_exact(&mut body).await.unwrap();
            if word >> 31 == 0 {
                said.entry(word).or_default().push_str(&String::from_utf8_lossy(&body));
                if word == stream && flags >> 24 & 1 == 1 {
                    return said;
                }
            }
        }
    }
}

async fn spdy(url: &str, protocol: &str) -> Spdy<TcpStream> {
    let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut io = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "POST /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
         X-Stream-Protocol-Version: {protocol}\r\nContent-Length: 0\r\n\r\n"
    );
    io.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(io.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    assert!(head.starts_with("http/1.1 101") && head.contains(&protocol.to_lowercase()), "{head}");
    Spdy::new(io)
}

pub(crate) async fn exec_over_spdy(fixture: &Fixture) {
    let mut pod = Pod::run(fixture, fixture.sandbox("y")).await;
    let id = pod.script("main", "sleep 1000").await;
    let mut request = shell(&id, "cat; echo err >&2; exit 6");
    request.stdin = true;
    let url = exec_url(&mut pod, request).await;
    let mut client = spdy(&url, "v4.channel.k8s.io").await;
    for (stream, kind) in [(1, "error"), (3, "stdin"), (5, "stdout"), (7, "stderr")] {
        client.open(stream, &[("streamType", kind)]).await;
    }
    let big = "0123456789abcdef".repeat(20_000);
    client.send(3, false, big.as_bytes()).await;
    client.send(3, true, b"").await;
    let said = client.until_end(1).await;
    assert_eq!((said[&5].len(), said[&7].as_str()), (big.len(), "err\n"));
    assert!(said[&1].contains("\"ExitCode\"") && said[&1].contains("\"6\""), "{}", said[&1]);
    pod.remove().await;
}

pub(crate) async fn port_forward_over_both(fixture: &Fixture) {
    let mut pod = Pod::run(fixture, fixture.sandbox("pf")).await;
    let id = pod.script("main", "while :; do nc -l -p 8080 -e cat; done").await;
    let listens = "grep -q ':1F90 [0-9A-F]*:0000 0A' /proc/net/tcp /proc/net/tcp6";
    while pod.exec(&id, listens).await.2 != 0 {}
    let sandbox = pod.id.clone();
    let request = || v1::PortForwardRequest { pod_sandbox_id: sandbox.clone(), port: vec![8080] };
    let url = pod.clients.clone().runtime.port_forward(request()).await.unwrap().into_inner().url;
    let mut client = spdy(&url, "portforward.k8s.io").await;
    forward(&mut client, "8080").await;
    // Nobody listens there: the error stream says so, the connection goes on.
    client.open(11, &[("streamType", "error"), ("port", "9"), ("requestID", "7")]).await;
    client.open(13, &[("streamType", "data"), ("port", "9"), ("requestID", "7")]).await;
    let said = client.until_end(11).await;
    assert!(
        said[&11].contains("an error occurred forwarding 9 -> 9") && said[&11].contains("refused"),
        "{}",
        said[&11]
    );
    while pod.exec(&id, listens).await.2 != 0 {}
    let url = pod.clients.clone().runtime.port_forward(request()).await.unwrap().into_inner().url;
    let (sink, stream) = websocket(&url, "SPDY/3.1+portforward.k8s.io").await.split();
    let (near, far) = tokio::io::duplex(1 << 16);
    tokio::spawn(pump(far, sink, stream));
    forward(&mut Spdy::new(near), "8080").await;
    pod.remove().await;
}

async fn forward<I: AsyncRead + AsyncWrite + Unpin>(client: &mut Spdy<I>, port: &str) {
    client.open(1, &[("streamType", "error"), ("port", port), ("requestID", "0")]).await;
    client.open(3, &[("streamType", "data"), ("port", port), ("requestID", "0")]).await;
    client.send(3, false, b"over and ").await;
    client.send(3, true, b"back").await;
    let said = client.until_end(3).await;
    assert_eq!(said[&3], "over and back");
}

async fn pump(
    far: tokio::io::DuplexStream,
    mut sink: futures::stream::SplitSink<Socket, Message>,
    mut stream: futures::stream::SplitStream<Socket>,
) {
    let (mut read, mut write) = tokio::io::split(far);
    let out = async {
        let mut chunk = vec![0; 4096];
        while let Ok(length @ 1..) = read.read(&mut chunk).await {
            sink.send(Message::Binary(chunk[..length].to_vec().into())).await.unwrap();
        }
    };
    let back = async {
        while let Some(Ok(message)) = stream.next().await {
            if write.write_all(&message.into_data()).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(out, back);
}
