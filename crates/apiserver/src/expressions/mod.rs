//! Expressions (CEL) of the API: what they may name during admission, and what is wrong with those that somebody
//! writes.
//!
//! Deliberately absent: the language (crate `cel`), rules of custom resources (`crd::schema::rules`).

mod ask;
mod check;
mod mutation;
mod request;
mod types;

pub(crate) use ask::Asker;
pub(crate) use check::validate;
pub(crate) use mutation::mutation_types;
pub(crate) use request::{Admitted, Scope};
pub(crate) use types::admission_env;

use cel::Program;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// A compiled expression, or why it does not compile.
pub(crate) type Compiled = Result<Program, String>;

/// Expressions of match conditions kept compiled.
const KEPT: usize = 1024;

static CONDITIONS: LazyLock<Mutex<HashMap<String, Arc<Compiled>>>> = LazyLock::new(Default::default);

/// A match condition of a webhook, compiled once per text.
pub(crate) fn condition(expression: &str) -> Arc<Compiled> {
    if let Some(known) = CONDITIONS.lock().get(expression) {
        return known.clone();
    }
    let compiled = admission_env(false).compile(expression).map_err(|error| error.to_string());
    let compiled = Arc::new(compiled);
    let mut kept = CONDITIONS.lock();
    if kept.len() >= KEPT {
        kept.clear();
    }
    kept.insert(expression.to_owned(), compiled.clone());
    compiled
}
