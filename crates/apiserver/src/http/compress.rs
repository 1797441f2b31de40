//! gzip for large responses, above upstream's threshold of 128 KiB and at its level.

use bytes::Bytes;
use component::serve::Response;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, VARY};
use http::{HeaderMap, HeaderValue};
use std::io::Write;

/// Smaller responses are sent as they are.
pub(super) const THRESHOLD: usize = 128 * 1024;

/// Whether the client takes gzip. Upstream knows the bare word only, without a quality.
pub(super) fn accepted(headers: &HeaderMap) -> bool {
    let value = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(',').any(|range| range.trim() == "gzip")
}

/// Compresses a stream piece by piece.
pub(super) struct Gzip(GzEncoder<Vec<u8>>);

impl Gzip {
    pub(super) fn new() -> Self {
        Self(GzEncoder::new(Vec::new(), Compression::fast()))
    }

    /// Takes a piece; returns what is ready to be sent, possibly nothing.
    pub(super) fn push(&mut self, piece: &[u8]) -> Bytes {
        // Writing to memory does not fail.
        let _ = self.0.write_all(piece);
        std::mem::take(self.0.get_mut()).into()
    }

    /// The end of the stream.
    pub(super) fn finish(self) -> Bytes {
        self.0.finish().unwrap_or_default().into()
    }
}

/// Compresses a whole document.
fn gzip(bytes: &[u8]) -> Bytes {
    let mut gzip = Gzip::new();
    let mut out = gzip.push(bytes).to_vec();
    out.extend_from_slice(&gzip.finish());
    out.into()
}

/// Compresses a whole body if that is worth it; says whether it did.
pub(super) fn whole(bytes: Vec<u8>, accepted: bool) -> (Bytes, bool) {
    if !accepted || bytes.len() <= THRESHOLD {
        return (bytes.into(), false);
    }
    (gzip(&bytes), true)
}

/// Says in the headers that the body is compressed.
pub(super) fn mark(response: &mut Response, compressed: bool) {
    if compressed {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        response.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
}
