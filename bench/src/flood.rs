//! [`Flood`]: many watches on one HTTP/2 connection, for as little CPU time as can be.
//!
//! A thousand watchers in one process would measure that process: a general HTTP/2 client takes longer to hand an event
//! to its stream than the server takes to send it. This one reads frames and counts lines. It speaks as much HTTP/2 as
//! that takes (RFC 9113): it opens streams, answers SETTINGS and PING, gives windows back. Deliberately absent: all else,
//! such as padding, header blocks in several frames and compressed headers of its own.

use crate::wire::{Endpoint, Stream};
use anyhow::{Context, Result, bail, ensure};
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The largest window there is, and how much of it is used before it is given back.
const WINDOW: u32 = (1 << 31) - 1;
const GIVE_BACK: u32 = 1 << 30;
const DEFAULT_WINDOW: u32 = 65_535;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

/// Counts the modifications in a stream of events, which may be cut anywhere.
#[derive(Default)]
pub(crate) struct Counter {
    /// Bytes of the current line that were seen.
    column: usize,
    is_modification: bool,
}

impl Counter {
    /// How many modifications end in `data`. Other events are not ours (controllers put ConfigMaps into every
    /// namespace), but an error is.
    pub(crate) fn feed(&mut self, mut data: &[u8]) -> Result<usize> {
        /// Where the type of an event starts: `{"type":"MODIFIED"`.
        const TYPE: usize = 9;
        let mut found = 0;
        while !data.is_empty() {
            if let Some(first) = TYPE.checked_sub(self.column).and_then(|skip| data.get(skip)) {
                ensure!(*first != b'E', "a watch failed: {}", String::from_utf8_lossy(data));
                self.is_modification = *first == b'M';
            }
            let Some(end) = memchr::memchr(b'\n', data) else {
                self.column += data.len();
                break;
            };
            found += usize::from(self.is_modification);
            self.column = 0;
            data = &data[end + 1..];
        }
        Ok(found)
    }
}

/// One watch.
#[derive(Default)]
struct Watch {
    counter: Counter,
    arrivals: Vec<Instant>,
    /// Bytes since the window was given back.
    used: u32,
}

/// A frame that is being read.
#[derive(Clone, Copy)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    /// Bytes of its payload that are still to come.
    left: usize,
}

/// Many watches on one connection.
pub(crate) struct Flood {
    stream: Stream,
    watches: Vec<Watch>,
    input: Vec<u8>,
    /// What of `input` is filled.
    filled: usize,
    frame: Option<Frame>,
    output: Vec<u8>,
    answered: usize,
    used: u32,
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    // Payloads of ours are far below 16 MiB.
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    out.extend_from_slice(&length[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// An integer behind `bits` other bits (RFC 7541, 5.1).
fn integer(out: &mut Vec<u8>, first: u8, bits: u32, mut value: usize) {
    let most = (1_usize << bits) - 1;
    if value < most {
        out.push(first | u8::try_from(value).unwrap_or(0));
        return;
    }
    out.push(first | u8::try_from(most).unwrap_or(0));
    value -= most;
    while value >= 128 {
        out.push(0x80 | (value & 0x7f) as u8);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A field whose name has a number in the static table, not to be remembered.
fn field(out: &mut Vec<u8>, name: usize, value: &[u8]) {
    integer(out, 0, 4, name);
    integer(out, 0, 7, value.len());
    out.extend_from_slice(value);
}

fn request(endpoint: &Endpoint, path: &str) -> Vec<u8> {
    // GET and https, by their numbers; then the path, the authority, who asks.
    let mut block = vec![0x82, 0x87];
    field(&mut block, 4, path.as_bytes());
    field(&mut block, 1, endpoint.authority().as_bytes());
    field(&mut block, 58, b"bench");
    if let Some(authorization) = endpoint.authorization() {
        field(&mut block, 23, authorization.as_bytes());
    }
    block
}

impl Flood {
    /// Opens `count` watches of `path`; returns when each was answered.
    pub(crate) async fn open(endpoint: &Endpoint, path: &str, count: usize) -> Result<Self> {
        let mut output = PREFACE.to_vec();
        // No table of headers, no pushes, the largest window for each stream.
        let settings = [[0, 1, 0, 0, 0, 0], [0, 2, 0, 0, 0, 0], [0, 4, 0x7f, 0xff, 0xff, 0xff]].concat();
        frame(&mut output, SETTINGS, 0, 0, &settings);
        frame(&mut output, WINDOW_UPDATE, 0, 0, &(WINDOW - DEFAULT_WINDOW).to_be_bytes());
        let block = request(endpoint, path);
        for number in 0..count {
            let stream = u32::try_from(2 * number + 1)?;
            frame(&mut output, HEADERS, END_STREAM | END_HEADERS, stream, &block);
        }
        let watches = (0..count).map(|_| Watch::default()).collect();
        let (input, stream) = (vec![0; 64 * 1024], endpoint.stream().await?);
        let mut flood = Self { stream, watches, input, filled: 0, frame: None, output, answered: 0, used: 0 };
        while flood.answered < count {
            flood.turn().await?;
        }
        Ok(flood)
    }

    /// The times at which each watch got `expected` modifications.
    pub(crate) async fn count(mut self, expected: usize) -> Result<Vec<Vec<Instant>>> {
        while self.watches.iter().any(|watch| watch.arrivals.len() < expected) {
            self.turn().await?;
        }
        let right = self.watches.iter().all(|watch| watch.arrivals.len() == expected);
        ensure!(right, "a watcher got too many events");
        Ok(self.watches.into_iter().map(|watch| watch.arrivals).collect())
    }

    /// Sends what waits and takes what comes.
    async fn turn(&mut self) -> Result<()> {
        if !self.output.is_empty() {
            self.stream.write_all(&self.output).await?;
            self.stream.flush().await?;
            self.output.clear();
        }
        let read = self.stream.read(&mut self.input[self.filled..]).await?;
        ensure!(read > 0, "a connection with watches ended early");
        self.filled += read;
        let mut at = 0;
        let now = Instant::now();
        while self.step(&mut at, now)? {}
        self.input.copy_within(at..self.filled, 0);
        self.filled -= at;
        Ok(())
    }

    /// Takes a frame, or what there is of it; `false` when more has to come first.
    fn step(&mut self, at: &mut usize, now: Instant) -> Result<bool> {
        let Some(mut current) = self.frame else {
            let Some([a, b, c, kind, flags, stream @ ..]) =
                self.input[*at..self.filled].first_chunk::<9>().copied()
            else {
                return Ok(false);
            };
            let left = u32::from_be_bytes([0, a, b, c]) as usize;
            let stream = u32::from_be_bytes(stream) & WINDOW;
            self.frame = Some(Frame { kind, flags, stream, left });
            *at += 9;
            return Ok(true);
        };
        let there = (self.filled - *at).min(current.left);
        // Events are counted as they come; all other frames are short and taken whole.
        if there < current.left && (current.kind != DATA || there == 0) {
            ensure!(current.kind == DATA || current.left < self.input.len(), "a frame is too long");
            return Ok(false);
        }
        let range = *at..*at + there;
        *at += there;
        current.left -= there;
        self.frame = (current.left > 0).then_some(current);
        match current.kind {
            DATA => self.data(current, range, now)?,
            HEADERS => self.headers(current, range)?,
            SETTINGS if current.flags & ACK == 0 => frame(&mut self.output, SETTINGS, ACK, 0, &[]),
            PING if current.flags & ACK == 0 => {
                frame(&mut self.output, PING, ACK, 0, &self.input[range]);
            }
            RST_STREAM | GOAWAY => bail!("the server ended a watch"),
            _ => {}
        }
        Ok(true)
    }

    fn watch(&mut self, stream: u32) -> Result<&mut Watch> {
        self.watches.get_mut(stream as usize / 2).context("a frame for no stream of ours")
    }

    fn data(&mut self, current: Frame, range: std::ops::Range<usize>, now: Instant) -> Result<()> {
        ensure!(current.flags & PADDED == 0, "a padded frame");
        let length = u32::try_from(range.len())?;
        let watch =
            self.watches.get_mut(current.stream as usize / 2).context("data for no stream of ours")?;
        let found = watch.counter.feed(&self.input[range])?;
        watch.arrivals.extend(std::iter::repeat_n(now, found));
        watch.used += length;
        self.used += length;
        if watch.used >= GIVE_BACK {
            frame(&mut self.output, WINDOW_UPDATE, 0, current.stream, &watch.used.to_be_bytes());
            watch.used = 0;
        }
        if self.used >= GIVE_BACK {
            frame(&mut self.output, WINDOW_UPDATE, 0, 0, &self.used.to_be_bytes());
            self.used = 0;
        }
        ensure!(current.flags & END_STREAM == 0 || current.left > 0, "a watch ended early");
        Ok(())
    }

    fn headers(&mut self, current: Frame, range: std::ops::Range<usize>) -> Result<()> {
        self.watch(current.stream)?;
        // Changes of the table's size come first, then the status; 200 is number 8.
        let status = self.input[range].iter().find(|byte| **byte & 0xe0 != 0x20);
        ensure!(status == Some(&0x88), "a watch was refused");
        self.answered += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modifications_are_counted_wherever_the_stream_is_cut() -> Result<()> {
        let text = b"{\"type\":\"MODIFIED\",\"o\":1}\n{\"type\":\"ADDED\"}\n{\"type\":\"MODIFIED\"}\n";
        for cut in 0..text.len() {
            let mut counter = Counter::default();
            assert_eq!(counter.feed(&text[..cut])? + counter.feed(&text[cut..])?, 2, "cut at {cut}");
        }
        assert!(Counter::default().feed(b"{\"type\":\"ERROR\"}\n").is_err());
        Ok(())
    }

    #[test]
    fn integers_are_those_of_the_specification() {
        let encode = |first, bits, value| {
            let mut out = Vec::new();
            integer(&mut out, first, bits, value);
            out
        };
        // RFC 7541, C.1.
        assert_eq!(encode(0, 5, 10), [10]);
        assert_eq!(encode(0, 5, 1337), [31, 154, 10]);
        assert_eq!(encode(0, 8, 42), [42]);
    }
}
