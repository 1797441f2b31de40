//! Optional values (cel-go's extension).

use super::{fail, none};
use crate::signature::{Cost, Function, row};
use crate::value::Val;

const ONE: Cost = Cost::Fixed(1);

pub(super) static TABLE: &[Function] = &[
    row("optional.of", &["(A) -> optional(A)"], ONE, |_, args| match args {
        [value] => Ok(Val::some(value.clone())),
        _ => none(),
    }),
    row("optional.ofNonZeroValue", &["(A) -> optional(A)"], ONE, |_, args| match args {
        [value] if is_zero(value) => Ok(Val::Optional(None)),
        [value] => Ok(Val::some(value.clone())),
        _ => none(),
    }),
    row("optional.none", &["() -> optional(A)"], ONE, |_, _| Ok(Val::Optional(None))),
    row("value", &["optional(A).() -> A"], ONE, |_, args| match args {
        [Val::Optional(Some(value))] => Ok((**value).clone()),
        [Val::Optional(None)] => fail("optional.none() dereference"),
        _ => none(),
    }),
    row("hasValue", &["optional(A).() -> bool"], ONE, |_, args| match args {
        [Val::Optional(value)] => Ok(Val::Bool(value.is_some())),
        _ => none(),
    }),
    row("or", &["optional(A).(optional(A)) -> optional(A)"], ONE, |_, args| match args {
        [Val::Optional(None), other @ Val::Optional(_)] => Ok(other.clone()),
        [value @ Val::Optional(Some(_)), _] => Ok(value.clone()),
        _ => none(),
    }),
    row("orValue", &["optional(A).(A) -> A"], ONE, |_, args| match args {
        [Val::Optional(None), other] => Ok(other.clone()),
        [Val::Optional(Some(value)), _] => Ok((**value).clone()),
        _ => none(),
    }),
];

fn is_zero(value: &Val<'_>) -> bool {
    match value {
        Val::Null
        | Val::Bool(false)
        | Val::Int(0)
        | Val::Uint(0)
        | Val::Duration(0)
        | Val::Optional(None) => true,
        Val::Double(n) => *n == 0.0,
        Val::String(text) => text.is_empty(),
        Val::Bytes(bytes) => bytes.is_empty(),
        Val::List(list) => list.is_empty(),
        Val::Map(map) => map.is_empty(),
        _ => false,
    }
}
