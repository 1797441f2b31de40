//! Lists (Kubernetes' library): `isSorted`, `sum`, `min`, `max`, `indexOf`, `lastIndexOf`; the latter two of text as well.

use super::{fail, none};
use crate::error::EvalError;
use crate::eval::equal::{equal, order};
use crate::signature::{Call, Cost, Function, REGISTRY, row};
use crate::value::Val;
use std::cmp::Ordering;

const ITEMS: Cost = Cost::Items(0);

pub(super) static TABLE: &[Function] = &[
    row(
        "isSorted",
        &[
            "list(int).() -> bool",
            "list(uint).() -> bool",
            "list(double).() -> bool",
            "list(bool).() -> bool",
            "list(duration).() -> bool",
            "list(timestamp).() -> bool",
            "list(string).() -> bool",
            "list(bytes).() -> bool",
        ],
        ITEMS,
        |_, args| {
            let [Val::List(list)] = args else { return none() };
            let mut before: Option<Val<'_>> = None;
            for item in list.iter() {
                if let Some(before) = &before {
                    match order(before, &item) {
                        Some(Ordering::Greater) => return Ok(Val::Bool(false)),
                        Some(_) => {}
                        None => return none(),
                    }
                }
                before = Some(item);
            }
            Ok(Val::Bool(true))
        },
    ),
    row(
        "sum",
        &[
            "list(int).() -> int",
            "list(uint).() -> uint",
            "list(double).() -> double",
            "list(duration).() -> duration",
        ],
        ITEMS,
        sum,
    ),
    row(
        "min",
        &[
            "list(int).() -> int",
            "list(uint).() -> uint",
            "list(double).() -> double",
            "list(bool).() -> bool",
            "list(duration).() -> duration",
            "list(timestamp).() -> timestamp",
            "list(string).() -> string",
            "list(bytes).() -> bytes",
        ],
        ITEMS,
        |_, args| extreme(args, Ordering::Less, "min"),
    ),
    row(
        "max",
        &[
            "list(int).() -> int",
            "list(uint).() -> uint",
            "list(double).() -> double",
            "list(bool).() -> bool",
            "list(duration).() -> duration",
            "list(timestamp).() -> timestamp",
            "list(string).() -> string",
            "list(bytes).() -> bytes",
        ],
        ITEMS,
        |_, args| extreme(args, Ordering::Greater, "max"),
    ),
    row(
        "indexOf",
        &["list(A).(A) -> int", "string.(string) -> int", "string.(string, int) -> int"],
        ITEMS,
        |call, args| index_of(call, args, false),
    ),
    row(
        "lastIndexOf",
        &["list(A).(A) -> int", "string.(string) -> int", "string.(string, int) -> int"],
        ITEMS,
        |call, args| index_of(call, args, true),
    ),
];

fn sum<'a>(call: &mut Call<'_>, args: &[Val<'a>]) -> Result<Val<'a>, EvalError> {
    let [Val::List(list)] = args else { return none() };
    let mut items = list.iter();
    let Some(mut total) = items.next() else { return Ok(Val::Int(0)) };
    let Some(number) = REGISTRY.find("_+_") else { return none() };
    let add = REGISTRY.entry(number).def.run;
    for item in items {
        if matches!(item, Val::String(_) | Val::Bytes(_) | Val::List(_)) {
            return none();
        }
        total = add(call, &[total, item])?;
    }
    Ok(total)
}

fn extreme<'a>(args: &[Val<'a>], wanted: Ordering, name: &str) -> Result<Val<'a>, EvalError> {
    let [Val::List(list)] = args else { return none() };
    let mut best: Option<Val<'a>> = None;
    for item in list.iter() {
        let better = match &best {
            None => true,
            Some(best) => match order(&item, best) {
                Some(found) => found == wanted,
                None => return none(),
            },
        };
        if better {
            best = Some(item);
        }
    }
    match best {
        Some(best) => Ok(best),
        None => fail(format!("{name} called on empty list")),
    }
}

fn index_of<'a>(call: &mut Call<'_>, args: &[Val<'a>], last: bool) -> Result<Val<'a>, EvalError> {
    let whole = |at: Option<usize>| Val::Int(at.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1));
    match args {
        [Val::List(list), wanted] => {
            let mut found = None;
            for (at, item) in list.iter().enumerate() {
                if equal(call, &item, wanted)? {
                    found = Some(at);
                    if !last {
                        break;
                    }
                }
            }
            Ok(whole(found))
        }
        [Val::String(text), Val::String(part), rest @ ..] => {
            let letters: Vec<(usize, char)> = text.char_indices().collect();
            let count = letters.len();
            let from = match rest {
                [] => None,
                [Val::Int(at)] => match usize::try_from(*at) {
                    Ok(at) if at <= count => Some(at),
                    _ => return fail(format!("index out of range: {at}")),
                },
                _ => return none(),
            };
            let offset = |at: usize| letters.get(at).map_or(text.len(), |(offset, _)| *offset);
            let place = if last {
                // A match may begin at `from` at the latest.
                let most = from.map_or(text.len(), |from| (offset(from) + part.len()).min(text.len()));
                let most = (most..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
                text[..most].rfind(&**part)
            } else {
                let start = offset(from.unwrap_or(0));
                text[start..].find(&**part).map(|at| at + start)
            };
            Ok(whole(place.map(|place| letters.partition_point(|(offset, _)| *offset < place))))
        }
        _ => none(),
    }
}
