//! The Common Expression Language as Kubernetes uses it: `x-kubernetes-validations`, admission policies, match
//! conditions, authentication and authorization configuration, device selectors.
//!
//! ```
//! use cel::{Budget, Env, Type, Val};
//!
//! let claims = serde_json::json!({"groups": ["dev", "ops"]});
//! let program = Env::new().var("claims", Type::Dyn).compile("claims.groups.exists(g, g == 'ops')")?;
//! assert!(program.result_type().is_dyn() || matches!(program.result_type(), Type::Bool));
//! let variables = [("claims", Val::untyped(&claims))];
//! let found = program.evaluate(&variables, &mut Budget::default())?;
//! assert_eq!(found.as_bool(), Some(true));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Env::compile`] parses and checks against declared types and estimates the cost; [`Program::evaluate`] computes
//! on borrowed JSON trees and counts the cost against a [`Budget`]. Programs are immutable: compile once, evaluate
//! often, from any thread. Evaluation never waits and never panics; what it may touch is bounded beyond its cost, too.
//!
//! Sources: the language definition of CEL, cel-go's extensions, "Common Expression Language in Kubernetes". Why not
//! an existing crate: none has a checker or a cost model, which are half of what upstream promises its users.
//!
//! Deliberately absent: protobuf messages, user-defined functions, the math extension (upstream has it not either).

mod ast;
mod check;
mod cost;
mod env;
mod error;
mod eval;
mod library;
mod opaque;
mod parse;
pub mod re2;
mod signature;
mod time;
pub mod types;
mod value;

pub use cost::Estimate;
pub use env::{
    Budget, Env, MATCH_CONDITIONS_LIMIT, PER_CALL_LIMIT, Program, RUN_LIMIT, TypeLookup, Variables,
};
pub use error::{CompileError, EvalError, Issue};
pub use opaque::{Authorize, Check, Opaque, Verdict};
pub use types::{FieldTable, Fields, ListKind, ListType, MapType, Type};
pub use value::{DYN, Entries, Key, List, Map, Shape, Text, Val};

use std::sync::Arc;

/// The value of the variable `authorizer`; with a check that is half made, that of `authorizer.requestResource`.
pub fn authorizer<'a>(authorizer: Arc<dyn Authorize>, check: Option<Check>) -> Val<'a> {
    library::authorizer_value(authorizer, check)
}

/// The type of `authorizer`.
pub const AUTHORIZER: Type = Type::Opaque("kubernetes.authorization.Authorizer");
/// The type of `authorizer.requestResource`.
pub const RESOURCE_CHECK: Type = Type::Opaque("kubernetes.authorization.ResourceCheck");
