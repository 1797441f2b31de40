//! Header blocks of SPDY/3.1: names and values with 32-bit lengths, deflated with one dictionary and one context for
//! each direction of a connection (SPDY draft 3, section 2.6.10).

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use std::io::{Error, ErrorKind, Result};

/// The most bytes a header block may inflate to.
const MAX_BLOCK: usize = 64 * 1024;

/// The most headers of one stream.
const MAX_HEADERS: u32 = 100;

/// The dictionary's words, each preceded by its length in 32 bits.
#[rustfmt::skip]
const WORDS: &[&str] = &[
    "options", "head", "post", "put", "delete", "trace", "accept", "accept-charset", "accept-encoding",
    "accept-language", "accept-ranges", "age", "allow", "authorization", "cache-control", "connection",
    "content-base", "content-encoding", "content-language", "content-length", "content-location", "content-md5",
    "content-range", "content-type", "date", "etag", "expect", "expires", "from", "host", "if-match",
    "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "last-modified", "location",
    "max-forwards", "pragma", "proxy-authenticate", "proxy-authorization", "range", "referer", "retry-after",
    "server", "te", "trailer", "transfer-encoding", "upgrade", "user-agent", "vary", "via", "warning",
    "www-authenticate", "method", "get", "status", "200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie",
    "keep-alive", "origin",
];

/// What follows the words, without lengths.
const TAIL: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505\
    203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized\
    403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable\
    Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT\
    chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,\
    text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

fn dictionary() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1423);
    for word in WORDS {
        bytes.extend((word.len() as u32).to_be_bytes());
        bytes.extend(word.as_bytes());
    }
    bytes.extend(TAIL.as_bytes());
    bytes
}

/// Names (lower-case) and values.
pub(crate) type Headers = Vec<(String, String)>;

fn broken(why: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("a SPDY header block is broken: {why}"))
}

/// Inflates the header blocks of one direction, in order.
pub(super) struct Reader(Decompress);

impl Reader {
    pub(super) fn new() -> Self {
        Self(Decompress::new(true))
    }

    pub(super) fn read(&mut self, block: &[u8]) -> Result<Headers> {
        let mut plain = Vec::with_capacity(1024);
        let mut at = 0;
        loop {
            let before = self.0.total_in();
            let outcome = self.0.decompress_vec(&block[at..], &mut plain, FlushDecompress::Sync);
            at += usize::try_from(self.0.total_in() - before).map_err(|_| broken("it is too long"))?;
            match outcome {
                Ok(Status::Ok | Status::BufError | Status::StreamEnd) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0.set_dictionary(&dictionary()).map_err(|_| broken("another dictionary"))?;
                    continue;
                }
                Err(error) => return Err(broken(&error.to_string())),
            }
            if plain.len() < plain.capacity() && at >= block.len() {
                return parse(&plain);
            }
            if plain.len() == plain.capacity() {
                if plain.len() >= MAX_BLOCK {
                    return Err(broken("it is too long"));
                }
                plain.reserve(plain.len());
            } else if outcome.is_ok_and(|status| status != Status::Ok) {
                return Err(broken("it ends too early"));
            }
        }
    }
}

fn parse(mut bytes: &[u8]) -> Result<Headers> {
    let count = number(&mut bytes)?;
    if count > MAX_HEADERS {
        return Err(broken("it has too many headers"));
    }
    (0..count).map(|_| Ok((text(&mut bytes)?.to_lowercase(), text(&mut bytes)?))).collect()
}

fn number(bytes: &mut &[u8]) -> Result<u32> {
    let (head, rest) = bytes.split_first_chunk::<4>().ok_or_else(|| broken("it ends too early"))?;
    *bytes = rest;
    Ok(u32::from_be_bytes(*head))
}

fn text(bytes: &mut &[u8]) -> Result<String> {
    let length = number(bytes)? as usize;
    let (text, rest) = bytes.split_at_checked(length).ok_or_else(|| broken("it ends too early"))?;
    *bytes = rest;
    String::from_utf8(text.to_vec()).map_err(|_| broken("it is not text"))
}

/// Deflates the header blocks of one direction, in order.
pub(super) struct Writer(Compress);

impl Writer {
    pub(super) fn new() -> Result<Self> {
        let mut compress = Compress::new(Compression::fast(), true);
        compress.set_dictionary(&dictionary()).map_err(|error| Error::other(error.to_string()))?;
        Ok(Self(compress))
    }

    pub(super) fn write(&mut self, headers: &[(String, String)]) -> Result<Vec<u8>> {
        let mut plain = Vec::new();
        plain.extend((headers.len() as u32).to_be_bytes());
        for part in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.extend((part.len() as u32).to_be_bytes());
            plain.extend(part.as_bytes());
        }
        let mut block = Vec::with_capacity(plain.len() + 64);
        let mut at = 0;
        loop {
            let before = self.0.total_in();
            let status = self.0.compress_vec(&plain[at..], &mut block, FlushCompress::Sync);
            status.map_err(|error| Error::other(error.to_string()))?;
            at += usize::try_from(self.0.total_in() - before).unwrap_or(0);
            if at >= plain.len() && block.len() < block.capacity() {
                return Ok(block);
            }
            block.reserve(block.len() + 64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_share_one_context() {
        // The length and checksum that every implementation of SPDY/3 has.
        let bytes = dictionary();
        assert_eq!(bytes.len(), 1423);
        let (mut writer, mut reader) = (Writer::new().unwrap(), Reader::new());
        for round in 0..20 {
            let headers: Headers = vec![
                ("streamtype".into(), "data".into()),
                ("port".into(), "8080".into()),
                ("requestid".into(), round.to_string()),
                ("filler".into(), "x".repeat(round * 300)),
            ];
            let block = writer.write(&headers).unwrap();
            if round == 0 {
                assert_eq!(block[2..6], [0xe3, 0xc6, 0xa7, 0xc2]);
            }
            assert_eq!(reader.read(&block).unwrap(), headers);
        }
    }

    #[test]
    fn bombs_and_nonsense_are_refused() {
        let mut writer = Writer::new().unwrap();
        let bomb = writer.write(&[("a".into(), "\0".repeat(10 << 20))]).unwrap();
        assert!(Reader::new().read(&bomb).unwrap_err().to_string().contains("too long"));
        Reader::new().read(&[1, 2, 3, 4]).unwrap_err();
        assert!(parse(&[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]).is_err());
        assert!(parse(&[0xff; 4]).is_err());
    }
}
