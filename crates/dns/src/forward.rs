//! Questions about other zones go to the servers of `resolv.conf`, in order, by UDP and again by TCP when the
//! answer was cut off (RFC 1035 section 4.2, RFC 7766).

use hickory_proto::op::{Message, Query};
use hickory_proto::serialize::binary::BinEncodable;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// How long a server may take before the next one is asked.
const PATIENCE: Duration = Duration::from_secs(2);
/// Largest answer over UDP that is taken (EDNS).
const MAX_UDP: usize = 4096;

/// Servers to ask.
#[derive(Clone, Debug, Default)]
pub struct Forwarder {
    servers: Vec<SocketAddr>,
}

impl Forwarder {
    /// Servers to ask, in order.
    pub fn new(servers: Vec<SocketAddr>) -> Self {
        Self { servers }
    }

    /// The servers that a `resolv.conf` names, except loopback ones: in a pod those would be ourselves.
    pub fn from_resolv_conf(path: &Path) -> io::Result<Self> {
        Ok(Self::new(parse(&std::fs::read_to_string(path)?)))
    }

    /// Whether there is anyone to ask.
    pub fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// Asks the servers in turn until one answers. `None` when none did.
    pub async fn ask(&self, query: &Query) -> Option<Message> {
        for server in &self.servers {
            match tokio::time::timeout(PATIENCE, exchange(*server, query)).await {
                Ok(Ok(answer)) => return Some(answer),
                Ok(Err(error)) => tracing::debug!(%server, "failed to ask a DNS server: {error}"),
                Err(_) => tracing::debug!(%server, "a DNS server did not answer in time"),
            }
        }
        None
    }
}

fn parse(text: &str) -> Vec<SocketAddr> {
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()?.parse::<IpAddr>().ok()).flatten()
    });
    servers.filter(|ip| !ip.is_loopback()).map(|ip| SocketAddr::new(ip, 53)).collect()
}

async fn exchange(server: SocketAddr, query: &Query) -> io::Result<Message> {
    let mut question = Message::query();
    question.add_query(query.clone());
    question.metadata.recursion_desired = true;
    let id = question.metadata.id;
    let bytes = question.to_bytes().map_err(io::Error::other)?;
    let answer = over_udp(server, &bytes, id).await?;
    if !answer.metadata.truncation {
        return Ok(answer);
    }
    over_tcp(server, &bytes).await.and_then(|answer| matching(answer, id))
}

fn matching(answer: Message, id: u16) -> io::Result<Message> {
    if answer.metadata.id == id {
        Ok(answer)
    } else {
        Err(io::Error::other("the answer is to another question"))
    }
}

async fn over_udp(server: SocketAddr, question: &[u8], id: u16) -> io::Result<Message> {
    let any: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut buffer = vec![0; MAX_UDP];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // Strays and forgeries are not an answer; the right one may still come.
        if let Ok(answer) = Message::from_vec(&buffer[..length])
            && answer.metadata.id == id
        {
            return Ok(answer);
        }
    }
}

async fn over_tcp(server: SocketAddr, question: &[u8]) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(question).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    Message::from_vec(&answer).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn loopback_servers_are_left_out() {
        let text = "# comment\nsearch x\nnameserver 127.0.0.53\nnameserver 10.0.0.2\nnameserver nonsense\n";
        assert_eq!(parse(text), ["10.0.0.2:53".parse().unwrap()]);
    }
}
