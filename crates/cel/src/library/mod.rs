//! The functions: the standard library of CEL, the extensions that Kubernetes turns on, and Kubernetes' own. A
//! library is a file with a table ([`crate::signature::row`]) and a line in [`ALL`].

mod authorizer;
mod convert;
mod encode;
pub(crate) mod format;
mod lists;
mod more_lists;
pub(crate) mod net;
mod operators;
mod optional;
mod quantity;
pub(crate) mod semver;
mod strings;
mod text_format;
mod times;
pub(crate) mod url;

pub(crate) use authorizer::value as authorizer_value;
use convert::print_double as convert_double;

use crate::error::EvalError;
use crate::signature::Function;
use crate::value::Val;

/// Every library.
pub(crate) static ALL: &[&[Function]] = &[
    operators::TABLE,
    convert::TABLE,
    strings::TABLE,
    lists::TABLE,
    more_lists::TABLE,
    times::TABLE,
    optional::TABLE,
    encode::TABLE,
    url::TABLE,
    net::TABLE,
    quantity::TABLE,
    semver::TABLE,
    format::TABLE,
    authorizer::TABLE,
];

/// The answer of a function that was given values of no overload.
pub(crate) fn none<'a>() -> Result<Val<'a>, EvalError> {
    Err(EvalError::no_such_overload())
}

/// The answer of a function that fails for a reason.
pub(crate) fn fail<'a>(why: impl Into<String>) -> Result<Val<'a>, EvalError> {
    Err(EvalError::new(why))
}
