//! Macros over ranges. Their cost is that of the comprehensions that they stand for.

use super::equal::order;
use super::{Eval, Res};
use crate::ast::{Fold, FoldKind, Id};
use crate::cost::{FoldCost, fold_cost};
use crate::error::EvalError;
use crate::value::{Key, List, Map, Val};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// What a step yields.
enum Step {
    Go,
    Stop,
}

/// What a macro has gathered.
struct Gathered<'a> {
    items: Vec<Val<'a>>,
    keys: Vec<Val<'a>>,
    entries: BTreeMap<Key<'a>, Val<'a>>,
    count: u64,
    decided: bool,
    error: Option<EvalError>,
}

impl<'a> Eval<'a, '_> {
    pub(super) fn fold(&mut self, fold: &'a Fold) -> Res<'a> {
        let own = fold_cost(fold);
        let range = self.eval(fold.range)?;
        self.pay(own.once)?;
        let mut gathered = Gathered {
            items: Vec::new(),
            keys: Vec::new(),
            entries: BTreeMap::new(),
            count: 0,
            decided: false,
            error: None,
        };
        let depth = self.locals.len();
        let walked = self.walk(fold, &own, &range, &mut gathered);
        self.locals.truncate(depth);
        walked?;
        finish(fold.kind, gathered)
    }

    fn walk(
        &mut self,
        fold: &'a Fold,
        own: &FoldCost,
        range: &Val<'a>,
        gathered: &mut Gathered<'a>,
    ) -> Result<(), EvalError> {
        match range {
            Val::List(list) => self.walk_list(fold, own, list, gathered),
            Val::Map(map) => self.walk_map(fold, own, map, gathered),
            _ => Err(EvalError::no_such_overload()),
        }
    }

    fn walk_list(
        &mut self,
        fold: &'a Fold,
        own: &FoldCost,
        list: &List<'a>,
        gathered: &mut Gathered<'a>,
    ) -> Result<(), EvalError> {
        for (at, item) in list.iter().enumerate() {
            let variables = match fold.second {
                Some(_) => (Val::Int(i64::try_from(at).unwrap_or(i64::MAX)), Some(item)),
                None => (item, None),
            };
            if let Step::Stop = self.step(fold, own, variables, gathered)? {
                break;
            }
        }
        Ok(())
    }

    fn walk_map(
        &mut self,
        fold: &'a Fold,
        own: &FoldCost,
        map: &Map<'a>,
        gathered: &mut Gathered<'a>,
    ) -> Result<(), EvalError> {
        self.call.work(map.len())?;
        for (key, value) in map.entries() {
            let value = fold.second.as_ref().map(|_| value);
            if let Step::Stop = self.step(fold, own, (key, value), gathered)? {
                break;
            }
        }
        Ok(())
    }

    fn step(
        &mut self,
        fold: &'a Fold,
        own: &FoldCost,
        (first, second): (Val<'a>, Option<Val<'a>>),
        gathered: &mut Gathered<'a>,
    ) -> Result<Step, EvalError> {
        self.pay(own.each)?;
        self.call.work(1)?;
        let depth = self.locals.len();
        self.locals.push(first.clone());
        self.locals.extend(second);
        let step = self.inner(fold, own, first, gathered);
        self.locals.truncate(depth);
        step
    }

    fn truth(&mut self, id: Id) -> Result<bool, EvalError> {
        match self.eval(id)? {
            Val::Bool(found) => Ok(found),
            _ => Err(EvalError::no_such_overload()),
        }
    }

    fn inner(
        &mut self,
        fold: &'a Fold,
        own: &FoldCost,
        first: Val<'a>,
        gathered: &mut Gathered<'a>,
    ) -> Result<Step, EvalError> {
        match fold.kind {
            FoldKind::All | FoldKind::Exists => {
                let gives_in = fold.kind == FoldKind::Exists;
                return match self.truth(fold.step) {
                    Ok(found) if found == gives_in => {
                        gathered.decided = true;
                        Ok(Step::Stop)
                    }
                    Ok(_) => Ok(Step::Go),
                    Err(error) if error.is_value_error() => {
                        gathered.error.get_or_insert(error);
                        Ok(Step::Go)
                    }
                    Err(error) => Err(error),
                };
            }
            FoldKind::ExistsOne | FoldKind::Filter => {
                let taken = self.truth(fold.step)?;
                self.pay(if taken { own.taken } else { own.left })?;
                if taken {
                    gathered.count += 1;
                    if fold.kind == FoldKind::Filter {
                        gathered.items.push(first);
                    }
                }
                return Ok(Step::Go);
            }
            _ => {}
        }
        if let Some(filter) = fold.filter
            && !self.truth(filter)?
        {
            self.pay(own.left)?;
            return Ok(Step::Go);
        }
        let made = self.eval(fold.step)?;
        self.pay(own.taken)?;
        match fold.kind {
            FoldKind::SortBy => {
                gathered.keys.push(made);
                gathered.items.push(first);
            }
            FoldKind::TransformMap => insert(&mut gathered.entries, &first, made)?,
            FoldKind::TransformEntry => {
                let Val::Map(entry) = made else { return Err(EvalError::no_such_overload()) };
                for (key, value) in entry.entries() {
                    insert(&mut gathered.entries, &key, value)?;
                }
            }
            _ => gathered.items.push(made),
        }
        Ok(Step::Go)
    }
}

fn insert<'a>(
    entries: &mut BTreeMap<Key<'a>, Val<'a>>,
    key: &Val<'a>,
    value: Val<'a>,
) -> Result<(), EvalError> {
    let Some(key) = Key::of(key) else { return Err(EvalError::no_such_overload()) };
    if entries.contains_key(&key) {
        return Err(EvalError::new("insert failed: key already exists"));
    }
    entries.insert(key, value);
    Ok(())
}

fn finish(kind: FoldKind, gathered: Gathered<'_>) -> Res<'_> {
    match kind {
        FoldKind::All | FoldKind::Exists => {
            let gives_in = kind == FoldKind::Exists;
            match (gathered.decided, gathered.error) {
                (true, _) => Ok(Val::Bool(gives_in)),
                (false, Some(error)) => Err(error),
                (false, None) => Ok(Val::Bool(!gives_in)),
            }
        }
        FoldKind::ExistsOne => Ok(Val::Bool(gathered.count == 1)),
        FoldKind::Map | FoldKind::Filter => Ok(Val::list(gathered.items)),
        FoldKind::TransformMap | FoldKind::TransformEntry => Ok(Val::map(gathered.entries)),
        FoldKind::SortBy => {
            let mut pairs: Vec<(Val<'_>, Val<'_>)> = gathered.keys.into_iter().zip(gathered.items).collect();
            if let [(first, _), rest @ ..] = pairs.as_slice()
                && rest.iter().any(|(key, _)| order(first, key).is_none())
            {
                return Err(EvalError::new("list elements must have the same type"));
            }
            pairs.sort_by(|(a, _), (b, _)| order(a, b).unwrap_or(Ordering::Equal));
            Ok(Val::list(pairs.into_iter().map(|(_, item)| item).collect()))
        }
    }
}
