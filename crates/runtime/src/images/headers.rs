//! A watch on a tar stream: archives carry long names and attributes in entries of their own, which the reader of
//! archives takes into memory whole. Here such an entry is refused when it is larger than any honest one.

use std::io::{Error, ErrorKind, Read, Result};

/// The most bytes of one such entry.
const MAX_EXTENSION: u64 = 1 << 20;

const BLOCK: usize = 512;

/// Passes a tar stream on while following its headers.
pub(super) struct Watched<R> {
    inner: R,
    block: Vec<u8>,
    state: State,
    /// The size that an extended header gives the next entry.
    size: Option<u64>,
}

#[derive(Debug)]
enum State {
    /// At a header.
    Header,
    /// In a further map of a sparse file, whose content is as long as this.
    SparseMap(u64),
    /// In content with padding, so many bytes before its end.
    Skip(u64),
    /// In an extended header: content, then padding.
    Extended { left: u64, padding: u64, text: Vec<u8> },
}

impl<R: Read> Watched<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, block: Vec::with_capacity(BLOCK), state: State::Header, size: None }
    }

    fn follow(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let taken = match &mut self.state {
                State::Header | State::SparseMap(_) => {
                    let taken = bytes.len().min(BLOCK - self.block.len());
                    self.block.extend_from_slice(&bytes[..taken]);
                    if self.block.len() == BLOCK {
                        self.block_complete()?;
                        self.block.clear();
                    }
                    taken
                }
                State::Skip(left) => {
                    let taken = at_most(bytes.len(), *left);
                    *left -= taken as u64;
                    if *left == 0 {
                        self.state = State::Header;
                    }
                    taken
                }
                State::Extended { left: 0, padding, text } => {
                    self.size = size_of(text).or(self.size);
                    self.state = skip(*padding);
                    0
                }
                State::Extended { left, text, .. } => {
                    let taken = at_most(bytes.len(), *left);
                    text.extend_from_slice(&bytes[..taken]);
                    *left -= taken as u64;
                    taken
                }
            };
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    fn block_complete(&mut self) -> Result<()> {
        if let State::SparseMap(size) = self.state {
            // linux's and GNU's layout: a flag behind the map says that there is another.
            self.state = if self.block[504] == 1 { State::SparseMap(size) } else { skip(padded(size)) };
            return Ok(());
        }
        if self.block.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        let kind = self.block[156];
        let own = number(&self.block[124..136]);
        self.state = match kind {
            b'L' | b'K' | b'x' | b'g' if own > MAX_EXTENSION => {
                let why = format!("an entry has more than {MAX_EXTENSION} bytes of names and attributes");
                return Err(Error::new(ErrorKind::InvalidData, why));
            }
            b'x' => State::Extended { left: own, padding: padded(own) - own, text: Vec::new() },
            b'L' | b'K' | b'g' => skip(padded(own)),
            b'S' if self.block[482] == 1 => State::SparseMap(self.size.take().unwrap_or(own)),
            // Links, devices, directories: no content, whatever they say.
            b'1'..=b'6' => {
                let size = self.size.take().unwrap_or(own);
                if kind == b'1' || size == 0 { State::Header } else { skip(padded(size)) }
            }
            _ => skip(padded(self.size.take().unwrap_or(own))),
        };
        Ok(())
    }
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let length = self.inner.read(buffer)?;
        self.follow(&buffer[..length])?;
        Ok(length)
    }
}

fn at_most(have: usize, left: u64) -> usize {
    usize::try_from(left).map_or(have, |left| left.min(have))
}

fn skip(left: u64) -> State {
    if left == 0 { State::Header } else { State::Skip(left) }
}

fn padded(size: u64) -> u64 {
    size.saturating_add(BLOCK as u64 - 1) / BLOCK as u64 * BLOCK as u64
}

// Octal digits, or with the first bit set, base 256.
fn number(field: &[u8]) -> u64 {
    if field[0] & 0x80 != 0 {
        return field[4..].iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
    }
    let digits = field.iter().filter(|byte| byte.is_ascii_digit());
    digits.fold(0, |value, digit| value << 3 | u64::from(digit - b'0'))
}

// Records "<length> <key>=<value>\n".
fn size_of(text: &[u8]) -> Option<u64> {
    let records = text.split(|byte| *byte == b'\n').filter_map(|record| std::str::from_utf8(record).ok());
    records.filter_map(|record| record.split_once(" size=")).next_back()?.1.parse().ok()
}
