//! Digests: `sha256:` and 64 hexadecimal digits, computed while content passes by.

use super::ImageError;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::io::{Read, Write};

/// A checked SHA-256 digest.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_hash(Sha256::new_with_prefix(bytes))
    }

    fn from_hash(hash: Sha256) -> Self {
        let mut text = String::from("sha256:");
        for byte in hash.finalize() {
            text.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
            text.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
        }
        Self(text)
    }

    /// With `sha256:`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 64 digits.
    pub fn hex(&self) -> &str {
        self.0.trim_start_matches("sha256:")
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl TryFrom<String> for Digest {
    type Error = ImageError;

    fn try_from(text: String) -> Result<Self, ImageError> {
        let hex = text.strip_prefix("sha256:").unwrap_or("");
        if hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Ok(Self(text));
        }
        let text: String = text.chars().take(100).collect();
        Err(ImageError::broken(
            format!("digest {text:?}"),
            "only sha256 with 64 lower-case digits is supported",
        ))
    }
}

/// Hashes and counts what passes through, reading or writing.
pub(super) struct Hashing<I> {
    inner: I,
    hash: Sha256,
    pub(super) count: u64,
}

impl<I> Hashing<I> {
    pub(super) fn new(inner: I) -> Self {
        Self { inner, hash: Sha256::new(), count: 0 }
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.count += bytes.len() as u64;
    }

    pub(super) fn finish(self) -> (I, Digest, u64) {
        (self.inner, Digest::from_hash(self.hash), self.count)
    }
}

impl<I: Read> Read for Hashing<I> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.add(&buffer[..length]);
        Ok(length)
    }
}

impl<I: Write> Write for Hashing<I> {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        let length = self.inner.write(buffer)?;
        self.add(&buffer[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

/// A short name for a layer's directory: 100 bits of its digest in base 32. Short, because the kernel takes all
/// layers of a root filesystem in one page of text.
pub(super) fn short_name(digest: &Digest) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut bits = digest.hex().bytes().flat_map(|digit| {
        let value = char::from(digit).to_digit(16).unwrap_or(0);
        (0..4).rev().map(move |bit| (value >> bit & 1) as usize)
    });
    (0..20)
        .map(|_| {
            let five = (0..5).fold(0, |value, _| value << 1 | bits.next().unwrap_or(0));
            char::from(LETTERS[five])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_checked() {
        let empty = Digest::of(b"");
        assert_eq!(empty.hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(short_name(&empty), "4oymiquy7qobjgx36tej");
        for bad in ["", "sha256:", "sha512:00", "sha256:../../etc", &empty.as_str().to_uppercase()] {
            Digest::try_from(bad.to_owned()).unwrap_err();
        }
    }
}
