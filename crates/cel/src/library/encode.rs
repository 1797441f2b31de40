//! Base64, and keys of JSON patches.

use super::{fail, none};
use crate::signature::{Cost, Function, row};
use crate::value::Val;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

pub(super) static TABLE: &[Function] = &[
    row("base64.encode", &["(bytes) -> string"], Cost::Text(0, 1), |_, args| match args {
        [Val::Bytes(bytes)] => Ok(Val::owned(STANDARD.encode(bytes))),
        _ => none(),
    }),
    row("base64.decode", &["(string) -> bytes"], Cost::Text(0, 1), |_, args| match args {
        [Val::String(text)] => match STANDARD.decode(&**text).or_else(|_| STANDARD_NO_PAD.decode(&**text)) {
            Ok(bytes) => Ok(Val::Bytes(bytes.into())),
            Err(error) => fail(format!("illegal base64 data: {error}")),
        },
        _ => none(),
    }),
    row("jsonpatch.escapeKey", &["(string) -> string"], Cost::Text(0, 1), |_, args| match args {
        [Val::String(text)] => Ok(Val::owned(text.replace('~', "~0").replace('/', "~1"))),
        _ => none(),
    }),
];
