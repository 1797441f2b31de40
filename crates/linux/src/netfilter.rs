//! One request to a subsystem of the kernel's netfilter, and its answer.

use crate::nft::attribute::Attributes;
use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use std::io;

const REQUEST: u16 = 1;
const FAMILY_IPV4: u8 = 2;
/// Flag: answer when it is done.
pub(crate) const ACK: u16 = 4;
/// Flag: answer with all there are.
pub(crate) const DUMP: u16 = 0x300;

/// Sends one request and hands the attributes of each message of its answer to `take`.
pub(crate) fn exchange(
    kind: u16,
    flags: u16,
    body: &Attributes,
    mut take: impl FnMut(&[u8]),
) -> io::Result<()> {
    let length = u32::try_from(20 + body.0.len()).map_err(io::Error::other)?;
    let mut request = length.to_ne_bytes().to_vec();
    request.extend_from_slice(&kind.to_ne_bytes());
    request.extend_from_slice(&(REQUEST | flags).to_ne_bytes());
    // Sequence number and port: one request per socket, numbered by the kernel.
    request.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
    request.extend_from_slice(&[FAMILY_IPV4, 0, 0, 0]);
    request.extend_from_slice(&body.0);
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.send_to(&request, &SocketAddr::new(0, 0), 0)?;
    loop {
        let (answer, _) = socket.recv_from_full()?;
        if over(&answer, &mut take)? {
            return Ok(());
        }
    }
}

/// Reads one datagram; whether it was the last.
fn over(mut bytes: &[u8], take: &mut impl FnMut(&[u8])) -> io::Result<bool> {
    const ERROR: u16 = 2;
    const DONE: u16 = 3;
    let cut = || io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer is cut off");
    while let Some((header, _)) = bytes.split_first_chunk::<16>() {
        let [a, b, c, d, kind @ .., _, _, _, _, _, _, _, _, _, _] = *header;
        let length = usize::try_from(u32::from_ne_bytes([a, b, c, d])).map_err(io::Error::other)?;
        let message = bytes.get(16..length).ok_or_else(cut)?;
        match u16::from_ne_bytes(kind) {
            ERROR => {
                let code = message.first_chunk().map(|code| i32::from_ne_bytes(*code)).ok_or_else(cut)?;
                return if code == 0 { Ok(true) } else { Err(io::Error::from_raw_os_error(-code)) };
            }
            DONE => return Ok(true),
            // Behind the netfilter header.
            _ => take(message.get(4..).ok_or_else(cut)?),
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_are_cut_off_are_refused() {
        let message = [24_u8, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0];
        assert!(over(&message, &mut |_| ()).is_err());
        assert!(over(&message[..16], &mut |_| ()).is_err());
    }
}
