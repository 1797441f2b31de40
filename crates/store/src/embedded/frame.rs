//! Frames: the unit that is checksummed, and written or torn as a whole. One frame is one group commit.
//!
//! Layout, all little-endian: magic (4), length of the payload (4), sequence number (8), CRC-32C of the payload
//! (4), CRC-32C of the 20 bytes before (4), payload, whose last byte is fixed and not passed on. The sequence number rises by one from frame to frame, over
//! all segments, so that a frame which went missing is noticed. What a payload means is not known here.
//!
//! The last byte of the magic says what the payload's bytes were combined with (exclusive or), so that a payload
//! with long stretches of zeros does not look like sectors that were never written.
//!
//! A frame that does not check is *torn* when a crash explains it: it is the last one of the file, and the file
//! ends within it or one of its sectors was never written (it reads as zeros). Everything else is damage.

use super::disk::File;
use std::io;

/// Bytes before the payload.
pub(crate) const HEADER: usize = 24;

/// Longest payload, fixed byte included: what the header's field can say.
pub(crate) const MAX_PAYLOAD: usize = u32::MAX as usize;

/// Last byte of each frame: not zero, so that a last sector that was written never looks unwritten.
const TRAILER: u8 = 0xe5;

pub(crate) const MAGIC: [u8; 3] = *b"WLf";

/// Last byte of the magic of a payload that is written as it is.
const PLAIN: u8 = b'1';

/// A stretch of one byte that matters is at least twice as long.
const STRETCH: usize = 128;

/// What a disk writes as a whole.
const SECTOR: u64 = 512;

/// Bytes that are asked for at once.
const READ: usize = 1 << 20;

/// Appends a frame around what `fill` appends.
pub(crate) fn encode(out: &mut Vec<u8>, sequence: u64, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    fill(out);
    seal(out, start, sequence);
}

/// Completes the frame whose header starts at `start` (its bytes are still unset) and whose payload is the rest.
pub(crate) fn seal(out: &mut Vec<u8>, start: usize, sequence: u64) {
    let mask = mask(&out[start + HEADER..]);
    if mask != 0 {
        out[start + HEADER..].iter_mut().for_each(|byte| *byte ^= mask);
    }
    out.push(TRAILER);
    let (header, payload) = out[start..].split_at_mut(HEADER);
    header[..3].copy_from_slice(&MAGIC);
    header[3] = PLAIN ^ mask;
    header[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    header[8..16].copy_from_slice(&sequence.to_le_bytes());
    header[16..20].copy_from_slice(&crc32c::crc32c(payload).to_le_bytes());
    let check = crc32c::crc32c(&header[..20]);
    header[20..24].copy_from_slice(&check.to_le_bytes());
}

/// A byte of which `payload` has no sector; 0 if it has one of every byte.
fn mask(payload: &[u8]) -> u8 {
    let mut taken = [false; 256];
    for stretch in payload.chunks_exact(STRETCH) {
        if stretch.iter().all(|byte| *byte == stretch[0]) {
            taken[usize::from(stretch[0])] = true;
        }
    }
    (0..=u8::MAX).find(|byte| !taken[usize::from(*byte)]).unwrap_or(0)
}

#[derive(Clone, Copy)]
struct Header {
    mask: u8,
    len: usize,
    sequence: u64,
    crc: u32,
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn parse_header(bytes: &[u8]) -> Option<Header> {
    if bytes.get(..3)? != MAGIC || u32_at(bytes, 20)? != crc32c::crc32c(bytes.get(..20)?) {
        return None;
    }
    let sequence = u64::from_le_bytes(bytes.get(8..16)?.try_into().ok()?);
    let mask = *bytes.get(3)? ^ PLAIN;
    let header = Header { mask, len: u32_at(bytes, 4)? as usize, sequence, crc: u32_at(bytes, 16)? };
    (header.len > 0).then_some(header)
}

/// What a reader found.
#[derive(Debug)]
pub(crate) enum Next {
    /// A frame that checks.
    Frame {
        /// Its sequence number.
        sequence: u64,
        /// Where it starts in the file.
        offset: u64,
    },
    /// The file ends here, between two frames.
    End,
    /// The last frame is incomplete in a way that a crash explains.
    Torn,
    /// Something else than a crash happened; the text says what.
    Damaged(&'static str),
}

/// Reads the frames of a file in order, with one buffer.
pub(crate) struct Reader<'a> {
    file: &'a dyn File,
    len: u64,
    /// Where the next frame starts.
    offset: u64,
    /// Bytes of the file from `start` on.
    buffer: Vec<u8>,
    start: u64,
    payload: std::ops::Range<usize>,
}

impl<'a> Reader<'a> {
    /// Reads `file` from its beginning.
    pub(crate) fn new(file: &'a dyn File) -> io::Result<Self> {
        let len = file.size()?;
        Ok(Self { file, len, offset: 0, buffer: Vec::new(), start: 0, payload: 0..0 })
    }

    /// Reads only the first `len` bytes of `file`, as if it ended there.
    pub(crate) fn limited(file: &'a dyn File, len: u64) -> io::Result<Self> {
        let len = file.size()?.min(len);
        Ok(Self { file, len, offset: 0, buffer: Vec::new(), start: 0, payload: 0..0 })
    }

    /// Begins at `offset`, where a frame must start.
    pub(crate) fn starting(mut self, offset: u64) -> Self {
        (self.offset, self.start) = (offset, offset);
        self
    }

    /// Where the next frame starts: the end of the last one that checked.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The payload of the frame that [`Reader::next`] found.
    pub(crate) fn payload(&self) -> &[u8] {
        &self.buffer[self.payload.clone()]
    }

    /// Makes the bytes `[offset, offset + want)` available, as far as the file has them.
    fn fill(&mut self, want: usize) -> io::Result<&[u8]> {
        let want = want.min((self.len - self.offset) as usize);
        let mut at = (self.offset - self.start) as usize;
        if self.buffer.len() < at + want {
            self.buffer.drain(..at.min(self.buffer.len()));
            self.start = self.offset;
            at = 0;
            let have = self.buffer.len();
            let target = want.max(READ).min((self.len - self.offset) as usize);
            self.buffer.resize(target, 0);
            let mut done = have;
            while done < target {
                match self.file.read_at(self.start + done as u64, &mut self.buffer[done..]) {
                    Ok(0) => break,
                    Ok(read) => done += read,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            self.buffer.truncate(done);
        }
        let end = (at + want).min(self.buffer.len());
        Ok(&self.buffer[at..end])
    }

    /// Reads the next frame.
    pub(crate) fn next(&mut self) -> io::Result<Next> {
        if self.offset >= self.len {
            return Ok(Next::End);
        }
        let Some(header) = parse_header(self.fill(HEADER)?) else {
            return self.classify("the header of a record is damaged");
        };
        let frame = self.fill(HEADER + header.len)?;
        if frame.len() < HEADER + header.len {
            return Ok(Next::Torn);
        }
        if crc32c::crc32c(&frame[HEADER..]) != header.crc {
            return self.classify("the checksum of a record does not match");
        }
        let from = (self.offset - self.start) as usize + HEADER;
        self.payload = from..from + header.len - 1;
        if header.mask != 0 {
            self.buffer[self.payload.clone()].iter_mut().for_each(|byte| *byte ^= header.mask);
        }
        let offset = self.offset;
        self.offset += (HEADER + header.len) as u64;
        Ok(Next::Frame { sequence: header.sequence, offset })
    }

    /// Torn or damaged? The rest of the file decides.
    fn classify(&mut self, why: &'static str) -> io::Result<Next> {
        let rest = (self.len - self.offset) as usize;
        let (offset, start) = (self.offset, self.start);
        let rest = self.fill(rest)?;
        // A frame is only written when the one before is durable: one that checks after this place proves that
        // this one was complete once.
        let magic = rest.get(1..).unwrap_or_default().windows(MAGIC.len()).enumerate();
        for (at, _) in magic.filter(|(_, window)| *window == MAGIC) {
            let after = &rest[at + 1..];
            let whole = parse_header(after)
                .and_then(|header| Some((header, after.get(HEADER..HEADER + header.len)?)))
                .is_some_and(|(header, payload)| crc32c::crc32c(payload) == header.crc);
            if whole {
                return Ok(Next::Damaged(why));
            }
        }
        debug_assert!(start <= offset);
        if rest.len() < HEADER || has_unwritten_sector(offset, rest) {
            return Ok(Next::Torn);
        }
        Ok(Next::Damaged(why))
    }
}

/// Whether a sector of `bytes`, which start at `offset` of the file, is all zeros. The pieces at both ends count
/// as sectors when they hold at least a header's length.
fn has_unwritten_sector(offset: u64, bytes: &[u8]) -> bool {
    let mut from = 0;
    while from < bytes.len() {
        let room = (SECTOR - (offset + from as u64) % SECTOR) as usize;
        let to = (from + room).min(bytes.len());
        if bytes[from..to].iter().all(|byte| *byte == 0) {
            return true;
        }
        from = to;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::disk::{Disk, memory::MemDisk};
    use super::*;

    fn frames(sizes: &[usize]) -> Vec<u8> {
        let mut out = Vec::new();
        for (sequence, size) in sizes.iter().enumerate() {
            encode(&mut out, sequence as u64, |out| out.extend(std::iter::repeat_n(7, *size)));
        }
        out
    }

    fn read(bytes: &[u8]) -> io::Result<(usize, Next)> {
        let disk = MemDisk::new(0);
        let mut file = disk.create("f")?;
        file.write_at(0, bytes)?;
        let mut reader = Reader::new(file.as_ref())?;
        let mut count = 0;
        loop {
            match reader.next()? {
                Next::Frame { sequence, .. } => {
                    assert_eq!(sequence, count as u64);
                    count += 1;
                }
                end => return Ok((count, end)),
            }
        }
    }

    #[test]
    fn round_trip() -> io::Result<()> {
        assert!(matches!(read(&frames(&[0, 10, 3 << 20, 5]))?, (4, Next::End)));
        assert!(matches!(read(&[])?, (0, Next::End)));
        Ok(())
    }

    #[test]
    fn a_damaged_last_frame_full_of_zeros_is_not_torn() -> io::Result<()> {
        for byte in [0, 1, 0xe5, 0xff] {
            let mut bytes = frames(&[10]);
            encode(&mut bytes, 1, |out| {
                out.extend(std::iter::repeat_n(0, 3000));
                out.extend(std::iter::repeat_n(byte, 3000));
            });
            let disk = MemDisk::new(0);
            let mut file = disk.create("f")?;
            file.write_at(0, &bytes)?;
            let mut reader = Reader::new(file.as_ref())?;
            assert!(matches!(reader.next()?, Next::Frame { .. }));
            assert!(matches!(reader.next()?, Next::Frame { .. }));
            assert!(reader.payload()[..3000].iter().all(|found| *found == 0), "{byte}");
            assert!(reader.payload()[3000..].iter().all(|found| *found == byte), "{byte}");
            for at in [40, 2000, 5000] {
                let mut bad = bytes.clone();
                bad[at] ^= 1;
                assert!(matches!(read(&bad)?, (_, Next::Damaged(_))), "{byte} at {at}");
            }
        }
        Ok(())
    }

    #[test]
    fn every_cut_is_torn() -> io::Result<()> {
        let bytes = frames(&[10, 700]);
        for cut in HEADER + 12..bytes.len() {
            assert!(matches!(read(&bytes[..cut])?, (1, Next::Torn)), "cut at {cut}");
        }
        Ok(())
    }

    #[test]
    fn every_flipped_bit_is_damage() -> io::Result<()> {
        let bytes = frames(&[10, 700, 10]);
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(read(&bad)?, (_, Next::Damaged(_))), "bit {bit}");
        }
        Ok(())
    }

    #[test]
    fn a_sector_never_written_at_the_end_is_torn() -> io::Result<()> {
        let mut bytes = frames(&[10, 2000]);
        bytes[512..1024].fill(0);
        assert!(matches!(read(&bytes)?, (1, Next::Torn)));
        let mut middle = frames(&[10, 2000, 10]);
        middle[512..1024].fill(0);
        assert!(matches!(read(&middle)?, (1, Next::Damaged(_))));
        Ok(())
    }
}
