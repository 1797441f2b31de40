//! Encryption with keys that stand in the configuration: aescbc, aesgcm, secretbox.

use super::Provider;
use async_trait::async_trait;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockDecryptMut, BlockEncryptMut, KeyIvInit};
use crypto_secretbox::aead::Aead;
use crypto_secretbox::{KeyInit, XSalsa20Poly1305};
use rand::RngCore;
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use std::sync::Arc;

/// Bytes of an initialization vector of AES-CBC.
const IV: usize = 16;
/// Bytes of a nonce of secretbox.
const BOX_NONCE: usize = 24;

/// Random bytes from the operating system.
pub(super) fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    rand::rng().fill_bytes(&mut bytes);
    Ok(bytes)
}

/// A key of one of the ways.
pub(super) enum Key {
    Cbc(Vec<u8>),
    Gcm(Box<LessSafeKey>),
    Box(Box<XSalsa20Poly1305>),
}

/// A key of AES-GCM of 16 or 32 bytes.
pub(super) fn gcm(key: &[u8]) -> Result<LessSafeKey, String> {
    let algorithm = match key.len() {
        16 => &AES_128_GCM,
        32 => &AES_256_GCM,
        other => return Err(format!("a key of aesgcm must have 16 or 32 bytes, not {other}")),
    };
    UnboundKey::new(algorithm, key).map(LessSafeKey::new).map_err(|_| "the key cannot be used".to_owned())
}

/// Nonce, then what it seals.
pub(super) fn gcm_seal(key: &LessSafeKey, plain: &[u8], context: &[u8]) -> Result<Vec<u8>, String> {
    let nonce: [u8; NONCE_LEN] = random()?;
    let mut sealed = plain.to_vec();
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context), &mut sealed)
        .map_err(|_| "failed to encrypt".to_owned())?;
    let mut out = nonce.to_vec();
    out.append(&mut sealed);
    Ok(out)
}

/// The reverse.
pub(super) fn gcm_open(key: &LessSafeKey, data: &[u8], context: &[u8]) -> Result<Vec<u8>, String> {
    let Some((nonce, sealed)) = data.split_at_checked(NONCE_LEN) else {
        return Err("the stored data was shorter than the required size".to_owned());
    };
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| "bad nonce".to_owned())?;
    let mut sealed = sealed.to_vec();
    let plain = key.open_in_place(nonce, Aad::from(context), &mut sealed);
    let length = plain.map_err(|_| "cipher: message authentication failed".to_owned())?.len();
    sealed.truncate(length);
    Ok(sealed)
}

macro_rules! cbc {
    ($cipher:ty, $key:expr, $iv:expr, encrypt $plain:expr) => {
        cbc::Encryptor::<$cipher>::new_from_slices($key, $iv)
            .map(|cipher| cipher.encrypt_padded_vec_mut::<Pkcs7>($plain))
            .map_err(|error| error.to_string())
    };
    ($cipher:ty, $key:expr, $iv:expr, decrypt $data:expr) => {
        cbc::Decryptor::<$cipher>::new_from_slices($key, $iv).map_err(|error| error.to_string()).and_then(
            |cipher| {
                cipher
                    .decrypt_padded_vec_mut::<Pkcs7>($data)
                    .map_err(|_| "invalid padding on input".to_owned())
            },
        )
    };
}

impl Key {
    /// Checks the key's length.
    pub(super) fn new(way: &str, key: &[u8]) -> Result<Self, String> {
        match way {
            "aescbc" if matches!(key.len(), 16 | 24 | 32) => Ok(Self::Cbc(key.to_vec())),
            "aescbc" => Err(format!("a key of aescbc must have 16, 24 or 32 bytes, not {}", key.len())),
            "aesgcm" => gcm(key).map(|key| Self::Gcm(Box::new(key))),
            _ => XSalsa20Poly1305::new_from_slice(key)
                .map(|key| Self::Box(Box::new(key)))
                .map_err(|_| format!("a key of secretbox must have 32 bytes, not {}", key.len())),
        }
    }

    fn seal(&self, plain: &[u8], context: &[u8]) -> Result<Vec<u8>, String> {
        match self {
            Self::Gcm(key) => gcm_seal(key, plain, context),
            Self::Cbc(key) => {
                let iv: [u8; IV] = random()?;
                let sealed = match key.len() {
                    16 => cbc!(aes::Aes128, key, &iv, encrypt plain)?,
                    24 => cbc!(aes::Aes192, key, &iv, encrypt plain)?,
                    _ => cbc!(aes::Aes256, key, &iv, encrypt plain)?,
                };
                Ok([iv.as_slice(), &sealed].concat())
            }
            Self::Box(key) => {
                let nonce: [u8; BOX_NONCE] = random()?;
                let sealed = key.encrypt(&nonce.into(), plain).map_err(|_| "failed to encrypt".to_owned())?;
                Ok([nonce.as_slice(), &sealed].concat())
            }
        }
    }

    fn open(&self, data: &[u8], context: &[u8]) -> Result<Vec<u8>, String> {
        let short = || "the stored data was shorter than the required size".to_owned();
        match self {
            Self::Gcm(key) => gcm_open(key, data, context),
            Self::Cbc(key) => {
                let (iv, sealed) = data.split_at_checked(IV).ok_or_else(short)?;
                match key.len() {
                    16 => cbc!(aes::Aes128, key, iv, decrypt sealed),
                    24 => cbc!(aes::Aes192, key, iv, decrypt sealed),
                    _ => cbc!(aes::Aes256, key, iv, decrypt sealed),
                }
            }
            Self::Box(key) => {
                let (nonce, sealed) = data.split_at_checked(BOX_NONCE).ok_or_else(short)?;
                let nonce: [u8; BOX_NONCE] = nonce.try_into().map_err(|_| short())?;
                key.decrypt(&nonce.into(), sealed)
                    .map_err(|_| "output array was not large enough for encryption".to_owned())
            }
        }
    }
}

/// A key with its name.
pub(super) struct Local {
    prefix: Vec<u8>,
    id: Arc<str>,
    key: Key,
}

impl Local {
    pub(super) fn new(way: &str, name: &str, key: Key) -> Self {
        let prefix = format!("k8s:enc:{way}:v1:{name}:");
        Self { id: prefix.as_str().into(), prefix: prefix.into_bytes(), key }
    }
}

#[async_trait]
impl Provider for Local {
    fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    fn id(&self) -> Arc<str> {
        self.id.clone()
    }

    async fn encrypt(&self, plain: &[u8], context: &[u8]) -> Result<Vec<u8>, String> {
        self.key.seal(plain, context)
    }

    async fn decrypt(&self, data: &[u8], context: &[u8]) -> Result<(Vec<u8>, Arc<str>), String> {
        self.key.open(data, context).map(|plain| (plain, self.id.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_opens_what_it_sealed_and_nothing_else() {
        for (way, size) in [
            ("aescbc", 16),
            ("aescbc", 24),
            ("aescbc", 32),
            ("aesgcm", 16),
            ("aesgcm", 32),
            ("secretbox", 32),
        ] {
            let key = Key::new(way, &vec![7; size]).unwrap();
            for plain in [&b""[..], b"x", &[1; 1000]] {
                let sealed = key.seal(plain, b"/registry/a").unwrap();
                assert_eq!(key.open(&sealed, b"/registry/a").unwrap(), plain, "{way}");
                assert_ne!(key.seal(plain, b"/registry/a").unwrap(), sealed, "{way}: fresh randomness");
                if way == "aesgcm" {
                    assert!(key.open(&sealed, b"/registry/b").is_err(), "bound to its place");
                }
                if way != "aescbc" {
                    let mut bad = sealed.clone();
                    *bad.last_mut().unwrap() ^= 1;
                    assert!(key.open(&bad, b"/registry/a").is_err(), "{way}");
                }
            }
            assert!(key.open(b"short", b"").is_err(), "{way}");
        }
        assert!(Key::new("aesgcm", &[0; 24]).is_err());
        assert!(Key::new("secretbox", &[0; 31]).is_err());
    }
}
