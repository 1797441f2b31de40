//! The table of functions: what libraries declare in a compact text, parsed once.
//!
//! A signature is `(int, A) -> bool` for functions and `string.(int) -> string` for methods; `A` and `B` are type
//! parameters, `list(A)`, `map(A, B)` and `optional(A)` are built of them.

use crate::error::EvalError;
use crate::library;
use crate::types::Type;
use crate::value::Val;
use regex::Regex;
use std::collections::HashMap;
use std::sync::LazyLock;

/// What functions may use of the evaluation.
pub(crate) struct Call<'p> {
    /// Elements that may still be touched beyond what costs count, so that no expression works without end.
    pub(crate) work: u64,
    /// Patterns of the expression that were compiled with it.
    pub(crate) patterns: &'p [(String, Regex)],
}

impl Call<'_> {
    /// Counts work that costs do not.
    pub(crate) fn work(&mut self, amount: usize) -> Result<(), EvalError> {
        self.work = self.work.checked_sub(amount as u64).ok_or(EvalError::CostExceeded)?;
        Ok(())
    }

    /// A compiled pattern.
    pub(crate) fn pattern(&self, text: &str) -> Result<Regex, EvalError> {
        match self.patterns.iter().find(|(known, _)| known == text) {
            Some((_, regex)) => Ok(regex.clone()),
            None => crate::re2::compile(text).map_err(EvalError::new),
        }
    }
}

/// A function, of the values of its arguments (a method's target first).
pub(crate) type Run = for<'a> fn(&mut Call<'_>, &[Val<'a>]) -> Result<Val<'a>, EvalError>;

/// What a call costs besides its arguments (upstream's cost model).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Cost {
    /// The same always.
    Fixed(u64),
    /// So many tenths of the size of an argument.
    Text(usize, u64),
    /// The size of an argument.
    Items(usize),
    /// A tenth of the smaller of two sizes.
    Least,
    /// A tenth of both sizes together for text, 1 for lists and numbers.
    Concat,
    /// Text times pattern.
    Regex,
    /// Text times text.
    Search,
    /// Items times items, so often.
    Product(u64),
    /// So many tenths of the size of the result.
    Result(u64),
}

/// One function with its overloads.
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) signatures: &'static [&'static str],
    pub(crate) cost: Cost,
    pub(crate) run: Run,
}

/// A row of a library's table.
pub(crate) const fn row(
    name: &'static str,
    signatures: &'static [&'static str],
    cost: Cost,
    run: Run,
) -> Function {
    Function { name, signatures, cost, run }
}

/// A parsed signature.
#[derive(Clone, Debug)]
pub(crate) struct Overload {
    pub(crate) member: bool,
    /// Target first.
    pub(crate) params: Vec<Type>,
    pub(crate) result: Type,
}

/// A function and its parsed signatures.
pub(crate) struct Entry {
    pub(crate) def: &'static Function,
    pub(crate) overloads: Vec<Overload>,
}

/// Every function.
pub(crate) struct Registry {
    pub(crate) entries: Vec<Entry>,
    names: HashMap<&'static str, u16>,
}

impl Registry {
    pub(crate) fn find(&self, name: &str) -> Option<u16> {
        self.names.get(name).copied()
    }

    pub(crate) fn entry(&self, number: u16) -> &Entry {
        &self.entries[usize::from(number)]
    }
}

pub(crate) static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
    let mut registry = Registry { entries: Vec::new(), names: HashMap::new() };
    for def in library::ALL.iter().copied().flatten() {
        let overloads = def.signatures.iter().filter_map(|text| overload(text)).collect();
        let number = u16::try_from(registry.entries.len()).unwrap_or_default();
        registry.names.insert(def.name, number);
        registry.entries.push(Entry { def, overloads });
    }
    registry
});

fn overload(text: &str) -> Option<Overload> {
    let (left, result) = text.split_once("->")?;
    let left = left.trim().strip_suffix(')')?;
    let (target, args) = match left.find(".(") {
        Some(at) => (Some(&left[..at]), &left[at + 2..]),
        None => (None, left.strip_prefix('(')?),
    };
    let mut params: Vec<Type> = target.into_iter().filter_map(ty).collect();
    let (mut depth, mut start) = (0, 0);
    for (at, letter) in args.char_indices().chain([(args.len(), ',')]) {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                let one = args[start..at].trim();
                if !one.is_empty() {
                    params.push(ty(one)?);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
    Some(Overload { member: target.is_some(), params, result: ty(result)? })
}

/// Names of library types in signatures.
pub(crate) const OPAQUE: &[(&str, &str)] = &[
    ("ip", "net.IP"),
    ("cidr", "net.CIDR"),
    ("url", "kubernetes.URL"),
    ("quantity", "kubernetes.Quantity"),
    ("semver", "kubernetes.Semver"),
    ("format", "kubernetes.NamedFormat"),
    ("authorizer", "kubernetes.authorization.Authorizer"),
    ("path", "kubernetes.authorization.PathCheck"),
    ("group", "kubernetes.authorization.GroupCheck"),
    ("resource", "kubernetes.authorization.ResourceCheck"),
    ("decision", "kubernetes.authorization.Decision"),
];

fn ty(text: &str) -> Option<Type> {
    let text = text.trim();
    if let Some((outer, inner)) = text.strip_suffix(')').and_then(|text| text.split_once('(')) {
        return Some(match outer {
            "list" => Type::list(ty(inner)?),
            "optional" => Type::Optional(ty(inner)?.into()),
            "map" => {
                let (key, value) = inner.split_once(',')?;
                Type::map(ty(key)?, ty(value)?)
            }
            _ => return None,
        });
    }
    Some(match text {
        "dyn" => Type::Dyn,
        "null" => Type::Null,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::STRING,
        "bytes" => Type::Bytes(None),
        "duration" => Type::Duration,
        "timestamp" => Type::Timestamp,
        "type" => Type::Type,
        "A" => Type::Var(0),
        "B" => Type::Var(1),
        name => Type::Opaque(OPAQUE.iter().find(|(short, _)| *short == name)?.1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signature_is_read() {
        for entry in &REGISTRY.entries {
            assert_eq!(entry.overloads.len(), entry.def.signatures.len(), "{}", entry.def.name);
        }
        assert_eq!(REGISTRY.names.len(), REGISTRY.entries.len(), "a name stands twice");
        let found = overload("map(A, B).(A, list(B)) -> optional(B)").unwrap();
        assert!(found.member);
        assert_eq!(found.params.len(), 3);
        assert_eq!(found.result.to_string(), "optional_type(_var1)");
    }
}
