use super::*;

// A client as far as the server's tests need one.
struct Client<I> {
    io: I,
    headers: headers::Writer,
    replies: headers::Reader,
    buffer: BytesMut,
}

impl<I: AsyncRead + AsyncWrite + Unpin> Client<I> {
    fn new(io: I) -> Self {
        let headers = headers::Writer::new().unwrap();
        Self { io, headers, replies: headers::Reader::new(), buffer: BytesMut::new() }
    }

    async fn send(&mut self, frame: Frame) {
        let mut bytes = BytesMut::new();
        frame::encode(&frame, &mut bytes);
        self.io.write_all(&bytes).await.unwrap();
    }

    async fn open(&mut self, stream: u32, kind: &str) {
        let block = self.headers.write(&[("streamtype".into(), kind.into())]).unwrap().into();
        self.send(Frame::Open { stream, fin: false, block }).await;
        match self.next().await.unwrap() {
            Frame::Reply { stream: replied, block } => {
                assert_eq!(replied, stream);
                assert!(self.replies.read(&block).unwrap().is_empty());
            }
            other => panic!("{other:?}"),
        }
    }

    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = frame::decode(&mut self.buffer).unwrap() {
                return Some(frame);
            }
            if self.io.read_buf(&mut self.buffer).await.unwrap() == 0 {
                return None;
            }
        }
    }
}

#[tokio::test]
async fn streams_open_talk_and_close() {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let tasks = Tasks::new();
    let mut connection = Connection::serve(ours, &tasks).unwrap();
    let mut client = Client::new(theirs);
    client.open(1, "error").await;
    client.open(3, "data").await;
    let error = connection.streams.recv().await.unwrap();
    let mut data = connection.streams.recv().await.unwrap();
    assert_eq!((error.header("streamType"), data.header("streamtype")), (Some("error"), Some("data")));
    client.send(Frame::Data { stream: 3, fin: false, data: Bytes::from_static(b"ping") }).await;
    client.send(Frame::Data { stream: 3, fin: true, data: Bytes::new() }).await;
    assert_eq!(data.incoming.recv().await.unwrap(), "ping");
    assert_eq!(data.incoming.recv().await, None);
    client.send(Frame::Ping(1)).await;
    assert_eq!(client.next().await, Some(Frame::Ping(1)));
    let big = Bytes::from(vec![7; 100_000]);
    let sender = data.outgoing.clone();
    let sending = async {
        assert!(sender.send(big.clone()).await);
        sender.finish().await;
    };
    let receiving = async {
        let mut got = Vec::new();
        loop {
            match client.next().await.unwrap() {
                Frame::Data { stream: 3, fin, data } => {
                    got.extend_from_slice(&data);
                    if fin {
                        return got.len();
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    };
    assert_eq!(tokio::join!(sending, receiving).1, 100_000);
    let closing = tokio::spawn(connection.close());
    assert_eq!(client.next().await, Some(Frame::GoAway));
    assert_eq!(client.next().await, None);
    drop(client);
    closing.await.unwrap();
}

#[tokio::test]
async fn a_client_that_hangs_up_is_noticed() {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let mut connection = Connection::serve(ours, &Tasks::new()).unwrap();
    let mut client = Client::new(theirs);
    client.open(1, "data").await;
    let mut stream = connection.streams.recv().await.unwrap();
    drop(client);
    connection.closed.cancelled().await;
    assert_eq!(stream.incoming.recv().await, None);
}
