//! The least of HTTP and DNS that asks whether something answers. Blocking; the caller picks the network namespace.

use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);

/// GETs `/` over HTTP/1.1 on a connection of its own; the body, if the answer is a 200.
pub fn http_get(address: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)
        .with_context(|| format!("failed to connect to {address}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).with_context(|| format!("no answer from {address}"))?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
        _ => bail!("{address} answered {answer:?}"),
    }
}

/// Asks `server` over UDP for the IPv4 addresses of `name` (RFC 1035, section 4).
pub fn resolve(server: Ipv4Addr, name: &str) -> Result<Vec<Ipv4Addr>> {
    // Id 1, recursion desired, one question.
    let mut query = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.trim_end_matches('.').split('.') {
        query.push(u8::try_from(label.len()).context("the name's label is too long")?);
        query.extend_from_slice(label.as_bytes());
    }
    // End of the name, type A, class IN.
    query.extend_from_slice(&[0, 0, 1, 0, 1]);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send_to(&query, (server, 53)).with_context(|| format!("failed to ask {server}"))?;
    let mut answer = [0; 1500];
    let length = socket.recv(&mut answer).with_context(|| format!("no answer from {server} for {name}"))?;
    let answer = &answer[..length];
    if answer.get(3).is_none_or(|flags| flags & 0x0f != 0) {
        bail!("{server} refused to answer for {name}: {answer:?}");
    }
    // An address record ends in type A, class IN, a TTL of four bytes, length 4, the address.
    let records = answer.get(query.len()..).unwrap_or_default().windows(14);
    let addresses = records.filter(|w| w[0..4] == [0, 1, 0, 1] && w[8..10] == [0, 4]);
    Ok(addresses.map(|w| Ipv4Addr::new(w[10], w[11], w[12], w[13])).collect())
}
