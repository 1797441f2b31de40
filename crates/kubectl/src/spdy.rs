//! The client's side of SPDY/3.1 as Kubernetes speaks it for port-forward: two streams, headers that are never compressed,
//! no flow control (peers of this protocol do without). Replies are not read, so nothing is ever decompressed.
//!
//! Source: the SPDY/3.1 draft, "Framing" and "Name/Value Header Block".

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// `version 3`, with the bit that marks control frames.
const CONTROL: u16 = 0x8003;
const SYN_STREAM: u16 = 1;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
/// The stream ends with this frame.
pub(crate) const FIN: u8 = 1;
/// zlib's header for streams that begin with a known dictionary, and that dictionary's checksum.
const ZLIB_HEADER: [u8; 6] = [0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2];
/// Largest frame that is read.
const MAX_FRAME: usize = 1 << 24;

/// What arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Data { stream: u32, fin: bool, payload: Bytes },
    Reset { stream: u32 },
    Ping(u32),
    GoAway,
    Other,
}

/// Writes headers of successive streams: they share one zlib stream of stored blocks.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    begun: bool,
}

impl Writer {
    /// Opens a stream. Names are in lower case.
    pub(crate) fn open(&mut self, stream: u32, fin: bool, headers: &[(&str, &str)]) -> Bytes {
        let mut block = BytesMut::new();
        block.put_u32(u32::try_from(headers.len()).unwrap_or(0));
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            block.put_u32(u32::try_from(text.len()).unwrap_or(0));
            block.put_slice(text.as_bytes());
        }
        let mut packed = BytesMut::new();
        if !std::mem::replace(&mut self.begun, true) {
            packed.put_slice(&ZLIB_HEADER);
        }
        // A stored block, then an empty one so that the reader sees the end of the first.
        for part in [&block[..], &[]] {
            let length = u16::try_from(part.len()).unwrap_or(0);
            packed.put_u8(0);
            packed.put_u16_le(length);
            packed.put_u16_le(!length);
            packed.put_slice(part);
        }
        let mut out = BytesMut::new();
        out.put_u16(CONTROL);
        out.put_u16(SYN_STREAM);
        out.put_u32(flags_and_length(if fin { FIN } else { 0 }, packed.len() + 10));
        out.put_u32(stream);
        out.put_u32(0);
        out.put_u16(0);
        out.put_slice(&packed);
        out.freeze()
    }
}

fn flags_and_length(flags: u8, length: usize) -> u32 {
    (u32::from(flags) << 24) | (u32::try_from(length).unwrap_or(0) & 0x00ff_ffff)
}

/// A piece of a stream; with [`FIN`] its last.
pub(crate) fn data(stream: u32, flags: u8, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(payload.len() + 8);
    out.put_u32(stream);
    out.put_u32(flags_and_length(flags, payload.len()));
    out.put_slice(payload);
    out.freeze()
}

/// The answer to a ping.
pub(crate) fn pong(id: u32) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u16(CONTROL);
    out.put_u16(PING);
    out.put_u32(4);
    out.put_u32(id);
    out.freeze()
}

/// Takes a whole frame off the buffer, if there is one.
pub(crate) fn decode(buffer: &mut BytesMut) -> Option<Frame> {
    let head: [u8; 8] = buffer.get(..8)?.try_into().ok()?;
    let length = usize::from(head[5]) << 16 | usize::from(head[6]) << 8 | usize::from(head[7]);
    debug_assert!(length < MAX_FRAME);
    if buffer.len() < 8 + length {
        return None;
    }
    buffer.advance(8);
    let payload = buffer.split_to(length).freeze();
    let word = |at: usize| {
        payload.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_be_bytes)
    };
    if head[0] & 0x80 == 0 {
        let stream = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        return Some(Frame::Data { stream, fin: head[4] & FIN != 0, payload });
    }
    Some(match u16::from_be_bytes([head[2], head[3]]) {
        RST_STREAM => Frame::Reset { stream: word(0) },
        PING => Frame::Ping(word(0)),
        GOAWAY => Frame::GoAway,
        _ => Frame::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_stored_blocks_of_one_zlib_stream() {
        let mut writer = Writer::default();
        let first = writer.open(1, true, &[("a", "b")]);
        assert_eq!(first[..8], [0x80, 3, 0, 1, FIN, 0, 0, 40]);
        assert_eq!(first[8..18], [0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(first[18..24], ZLIB_HEADER);
        assert_eq!(first[24..29], [0, 14, 0, 0xf1, 0xff]);
        assert_eq!(first[29..43], [0, 0, 0, 1, 0, 0, 0, 1, b'a', 0, 0, 0, 1, b'b']);
        assert_eq!(first[43..], [0, 0, 0, 0xff, 0xff]);
        assert_eq!(writer.open(3, false, &[("a", "b")]).len(), first.len() - 6);
    }

    #[test]
    fn frames_come_whole() {
        let mut buffer = BytesMut::from(&data(3, FIN, b"hello")[..]);
        let tail = buffer.split_off(10);
        assert_eq!(decode(&mut buffer), None);
        buffer.unsplit(tail);
        let payload = Bytes::from_static(b"hello");
        assert_eq!(decode(&mut buffer), Some(Frame::Data { stream: 3, fin: true, payload }));
        let mut buffer = BytesMut::from(&pong(7)[..]);
        assert_eq!(decode(&mut buffer), Some(Frame::Ping(7)));
    }
}
