//! Frames of SPDY/3.1 on the wire (SPDY draft 3, section 2). Only what streams need.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::io::{Error, ErrorKind, Result};

/// The longest frame accepted, in bytes. Peers send at most 64 KiB of data in one.
const MAX_FRAME: usize = 1 << 20;

const VERSION: u16 = 3;
const FIN: u8 = 1;

/// A frame. Header blocks are still deflated.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Frame {
    Data {
        stream: u32,
        fin: bool,
        data: Bytes,
    },
    Open {
        stream: u32,
        fin: bool,
        block: Bytes,
    },
    Reply {
        stream: u32,
        block: Bytes,
    },
    Reset {
        stream: u32,
        status: u32,
    },
    Ping(u32),
    GoAway,
    /// More headers: of no use here, but they change the state of the decompressor.
    Headers {
        block: Bytes,
    },
    /// Settings, windows: peers of this protocol do without flow control.
    Other,
}

/// Takes one frame off the front of `buffer`, if all of it is there.
pub(super) fn decode(buffer: &mut BytesMut) -> Result<Option<Frame>> {
    let Some(head) = buffer.first_chunk::<8>().copied() else { return Ok(None) };
    let flags = head[4];
    let length = usize::from(head[5]) << 16 | usize::from(head[6]) << 8 | usize::from(head[7]);
    if length > MAX_FRAME {
        return Err(Error::new(ErrorKind::InvalidData, "a SPDY frame is too long"));
    }
    if buffer.len() < 8 + length {
        return Ok(None);
    }
    buffer.advance(8);
    let mut body = buffer.split_to(length).freeze();
    let word = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    if word >> 31 == 0 {
        return Ok(Some(Frame::Data { stream: word, fin: flags & FIN != 0, data: body }));
    }
    if (word >> 16) as u16 & 0x7fff != VERSION {
        return Err(Error::new(ErrorKind::InvalidData, "the peer speaks another version of SPDY"));
    }
    let kind = word & 0xffff;
    let needed = match kind {
        1 => 10,
        2 | 6 | 8 => 4,
        3 => 8,
        _ => 0,
    };
    if body.len() < needed {
        return Err(Error::new(ErrorKind::InvalidData, "a SPDY frame is too short"));
    }
    let mut number = || body.get_u32() & 0x7fff_ffff;
    Ok(Some(match kind {
        1 => {
            let stream = number();
            number();
            body.advance(2);
            Frame::Open { stream, fin: flags & FIN != 0, block: body }
        }
        2 => Frame::Reply { stream: number(), block: body },
        3 => Frame::Reset { stream: number(), status: number() },
        6 => Frame::Ping(body.get_u32()),
        7 => Frame::GoAway,
        8 => {
            number();
            Frame::Headers { block: body }
        }
        _ => Frame::Other,
    }))
}

/// Appends a frame to `buffer`.
pub(super) fn encode(frame: &Frame, buffer: &mut BytesMut) {
    let control = |buffer: &mut BytesMut, kind: u16, flags: u8, length: usize| {
        buffer.put_u16(0x8000 | VERSION);
        buffer.put_u16(kind);
        buffer.put_u32(u32::from(flags) << 24 | u32::try_from(length).unwrap_or(0) & 0xff_ffff);
    };
    match frame {
        Frame::Data { stream, fin, data } => {
            buffer.put_u32(*stream);
            buffer.put_u32(u32::from(*fin) << 24 | u32::try_from(data.len()).unwrap_or(0) & 0xff_ffff);
            buffer.put_slice(data);
        }
        Frame::Open { stream, fin, block } => {
            control(buffer, 1, u8::from(*fin), 10 + block.len());
            buffer.put_u32(*stream);
            buffer.put_u32(0);
            buffer.put_u16(0);
            buffer.put_slice(block);
        }
        Frame::Reply { stream, block } => {
            control(buffer, 2, 0, 4 + block.len());
            buffer.put_u32(*stream);
            buffer.put_slice(block);
        }
        Frame::Reset { stream, status } => {
            control(buffer, 3, 0, 8);
            buffer.put_u32(*stream);
            buffer.put_u32(*status);
        }
        Frame::Ping(id) => {
            control(buffer, 6, 0, 4);
            buffer.put_u32(*id);
        }
        Frame::GoAway => {
            control(buffer, 7, 0, 8);
            buffer.put_u64(0);
        }
        Frame::Headers { block } => {
            control(buffer, 8, 0, 4 + block.len());
            buffer.put_u32(0);
            buffer.put_slice(block);
        }
        Frame::Other => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_the_wire_in_pieces() {
        let block = Bytes::from_static(b"block");
        let frames = [
            Frame::Open { stream: 1, fin: false, block: block.clone() },
            Frame::Reply { stream: 1, block },
            Frame::Data { stream: 1, fin: true, data: Bytes::from_static(b"data") },
            Frame::Reset { stream: 3, status: 5 },
            Frame::Ping(7),
            Frame::GoAway,
        ];
        let mut wire = BytesMut::new();
        frames.iter().for_each(|frame| encode(frame, &mut wire));
        let (mut buffer, mut seen) = (BytesMut::new(), Vec::new());
        for byte in wire {
            buffer.put_u8(byte);
            seen.extend(decode(&mut buffer).unwrap());
        }
        assert_eq!(seen, frames);
    }

    #[test]
    fn hostile_frames_are_refused() {
        for bytes in [
            &[0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff][..],
            &[0x80, 3, 0, 1, 0, 0, 0, 4, 0, 0, 0, 1],
            &[0x80, 2, 0, 1, 0, 0, 0, 0],
        ] {
            decode(&mut BytesMut::from(bytes)).unwrap_err();
        }
    }
}
