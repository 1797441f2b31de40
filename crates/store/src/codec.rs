//! The gRPC codec of the messages in [`crate::rpc`]: tonic's, with buffers that fit.
//!
//! Tonic sets 8 KiB aside for each direction of each call and doubles them as a message grows. Here most calls are a
//! few hundred bytes, and an answer may have megabytes: a small buffer first, and once, before encoding, exactly
//! what the message needs.

use prost::Message;
use std::marker::PhantomData;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec as TonicCodec, EncodeBuf, Encoder};
use tonic_prost::ProstDecoder;

/// Bytes of a buffer at first.
const BUFFER: usize = 512;

/// Encoded bytes of a stream that are handed on together at most.
const YIELD: usize = 32 << 10;

fn settings() -> BufferSettings {
    BufferSettings::new(BUFFER, YIELD)
}

/// Encodes `T`, decodes `U`.
#[derive(Debug)]
pub struct Codec<T, U>(PhantomData<fn() -> (T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> TonicCodec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = Writer<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Writer<T> {
        Writer(PhantomData)
    }

    fn decoder(&mut self) -> ProstDecoder<U> {
        ProstDecoder::new(settings())
    }
}

/// Encodes messages.
#[derive(Debug)]
pub struct Writer<T>(PhantomData<fn() -> T>);

impl<T: Message> Encoder for Writer<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(item.encoded_len());
        item.encode(buffer).map_err(|error| Status::internal(format!("failed to encode an answer: {error}")))
    }

    fn buffer_settings(&self) -> BufferSettings {
        settings()
    }
}
