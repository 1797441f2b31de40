//! Evaluation: a walk over the checked tree (CEL specification, "Evaluation"). Errors are values that `&&`, `||`,
//! `all` and `exists` may make up for; a spent budget is none.

pub(crate) mod equal;
mod folds;

use crate::ast::{Expr, Id, Literal};
use crate::cost;
use crate::env::{Program, Variables};
use crate::error::EvalError;
use crate::signature::{Call, Cost, REGISTRY};
use crate::value::{Entries, Key, Map, Shape, Text, Val};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Elements that one evaluation may touch beyond what costs count.
const MAX_WORK: u64 = 10_000_000;

pub(crate) type Res<'a> = Result<Val<'a>, EvalError>;

/// Evaluates a program; the cost is told in any case.
pub(crate) fn run<'a>(program: &'a Program, variables: &dyn Variables<'a>, limit: u64) -> (Res<'a>, u64) {
    let call = Call { work: MAX_WORK, patterns: &program.patterns };
    let mut eval = Eval { program, variables, locals: Vec::new(), cost: 0, limit, call };
    let result = eval.eval(program.ast.root);
    (result, eval.cost)
}

pub(crate) struct Eval<'a, 'v> {
    program: &'a Program,
    variables: &'v dyn Variables<'a>,
    locals: Vec<Val<'a>>,
    cost: u64,
    limit: u64,
    call: Call<'a>,
}

impl<'a> Eval<'a, '_> {
    fn pay(&mut self, cost: u64) -> Result<(), EvalError> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost > self.limit { Err(EvalError::CostExceeded) } else { Ok(()) }
    }

    fn eval(&mut self, id: Id) -> Res<'a> {
        let program = self.program;
        match program.ast.expr(id) {
            Expr::Literal(literal) => Ok(constant(literal)),
            Expr::Local(place) => {
                self.pay(cost::READ)?;
                self.locals.get(*place as usize).cloned().ok_or_else(|| EvalError::new("no such attribute"))
            }
            Expr::Global(place) => self.global(usize::from(*place)),
            Expr::TypeName(name) => Ok(Val::Type(Cow::Owned(name.to_string()))),
            Expr::Ident(name) => Err(EvalError::new(format!("no such attribute(s): {name}"))),
            Expr::Call { function, .. } => Err(EvalError::new(format!("no such overload: {function}"))),
            Expr::Select { operand, field, test, optional } => self.select(*operand, field, *test, *optional),
            Expr::Index { operand, index, optional } => self.index(*operand, *index, *optional),
            Expr::Invoke { function, args } => self.invoke(*function, args),
            Expr::And(terms) => self.logical(terms, false),
            Expr::Or(terms) => self.logical(terms, true),
            Expr::Ternary(condition, yes, no) => match self.eval(*condition)? {
                Val::Bool(true) => self.eval(*yes),
                Val::Bool(false) => self.eval(*no),
                _ => Err(EvalError::no_such_overload()),
            },
            Expr::List(items) => self.list(items),
            Expr::Map(entries) => self.map(entries),
            Expr::Struct { name, fields } => self.structure(name, fields),
            Expr::Fold(fold) => self.fold(fold),
            Expr::Bind { init, body, .. } => {
                self.pay(cost::LIST)?;
                let value = self.eval(*init)?;
                self.with(value, *body)
            }
            Expr::OptMap { target, body, flat, .. } => self.opt_map(*target, *body, *flat),
        }
    }

    fn with(&mut self, value: Val<'a>, body: Id) -> Res<'a> {
        self.locals.push(value);
        let result = self.eval(body);
        self.locals.pop();
        result
    }

    fn global(&mut self, place: usize) -> Res<'a> {
        self.pay(cost::READ)?;
        let name = &self.program.names[place];
        match self.variables.get(name) {
            Some(value) => value,
            None => Err(EvalError::new(format!("no such attribute(s): {name}"))),
        }
    }

    /// `&&` gives in to the first `false`, `||` to the first `true`; errors count only when nobody gives in.
    fn logical(&mut self, terms: &'a [Id], gives_in: bool) -> Res<'a> {
        let mut error = None;
        for term in terms {
            match self.eval(*term) {
                Ok(Val::Bool(found)) if found == gives_in => return Ok(Val::Bool(gives_in)),
                Ok(Val::Bool(_)) => {}
                Ok(_) => {
                    error.get_or_insert(EvalError::no_such_overload());
                }
                Err(found) if found.is_value_error() => {
                    error.get_or_insert(found);
                }
                Err(found) => return Err(found),
            }
        }
        error.map_or(Ok(Val::Bool(!gives_in)), Err)
    }

    fn select(&mut self, operand: Id, field: &'a str, test: bool, optional: bool) -> Res<'a> {
        let of = self.eval(operand)?;
        if !test {
            self.pay(cost::READ)?;
        }
        let (of, wrapped) = match of {
            Val::Optional(None) if test => return Ok(Val::Bool(false)),
            Val::Optional(None) => return Ok(Val::Optional(None)),
            Val::Optional(Some(inner)) => ((*inner).clone(), true),
            other => (other, false),
        };
        let found = match &of {
            Val::Map(map @ Map::Json(..)) => map.field(field),
            Val::Map(map) => map.get(&Val::text(field)),
            Val::Null if optional || wrapped => None,
            _ => return Err(EvalError::no_such_overload()),
        };
        match found {
            found if test => Ok(Val::Bool(found.is_some())),
            found if optional || wrapped => Ok(Val::Optional(found.map(flat))),
            Some(found) => Ok(found),
            None => Err(EvalError::new(format!("no such key: {field}"))),
        }
    }

    fn index(&mut self, operand: Id, index: Id, optional: bool) -> Res<'a> {
        let of = self.eval(operand)?;
        let index = self.eval(index)?;
        self.pay(cost::READ)?;
        let (of, wrapped) = match of {
            Val::Optional(None) => return Ok(Val::Optional(None)),
            Val::Optional(Some(inner)) => ((*inner).clone(), true),
            other => (other, false),
        };
        let found = element(&of, &index);
        if optional || wrapped {
            return match found {
                Ok(found) => Ok(Val::Optional(Some(flat(found)))),
                Err(error) if error == EvalError::no_such_overload() => Err(error),
                Err(error) if error.is_value_error() => Ok(Val::Optional(None)),
                Err(error) => Err(error),
            };
        }
        found
    }

    fn invoke(&mut self, function: u16, args: &'a [Id]) -> Res<'a> {
        let entry = REGISTRY.entry(function);
        // Almost every call has one or two operands.
        match args {
            [one] => {
                let values = [self.eval(*one)?];
                self.apply(entry.def.cost, entry.def.run, &values)
            }
            [one, two] => {
                let values = [self.eval(*one)?, self.eval(*two)?];
                self.apply(entry.def.cost, entry.def.run, &values)
            }
            all => {
                let values = all.iter().map(|id| self.eval(*id)).collect::<Result<Vec<_>, _>>()?;
                self.apply(entry.def.cost, entry.def.run, &values)
            }
        }
    }

    fn apply(&mut self, cost: Cost, run: crate::signature::Run, values: &[Val<'a>]) -> Res<'a> {
        // Paid before it is done, so that nothing dear is done in vain.
        if let Some(cost) = call_cost(cost, values) {
            self.pay(cost)?;
        }
        let result = run(&mut self.call, values)?;
        if let Cost::Result(factor) = cost {
            self.pay(cost::tenths(result.size(), factor))?;
        }
        Ok(result)
    }

    fn list(&mut self, items: &'a [(Id, bool)]) -> Res<'a> {
        let mut values = Vec::with_capacity(items.len());
        for (item, optional) in items {
            let value = self.eval(*item)?;
            match (optional, value) {
                (true, Val::Optional(None)) => {}
                (true, Val::Optional(Some(value))) => values.push((*value).clone()),
                (true, _) => return Err(EvalError::no_such_overload()),
                (false, value) => values.push(value),
            }
        }
        self.pay(cost::LIST)?;
        Ok(Val::list(values))
    }

    fn map(&mut self, entries: &'a [(Id, Id, bool)]) -> Res<'a> {
        let mut map = BTreeMap::new();
        for (key, value, optional) in entries {
            let key = self.eval(*key)?;
            let Some(key) = Key::of(&key).filter(|_| !matches!(key, Val::Double(_))) else {
                return Err(EvalError::new(format!("unsupported key type: {}", key.type_name())));
            };
            let value = match (optional, self.eval(*value)?) {
                (true, Val::Optional(None)) => continue,
                (true, Val::Optional(Some(value))) => (*value).clone(),
                (true, _) => return Err(EvalError::no_such_overload()),
                (false, value) => value,
            };
            if map.contains_key(&key) {
                return Err(EvalError::new("Failed with repeated key"));
            }
            map.insert(key, value);
        }
        self.pay(cost::MAP)?;
        Ok(Val::map(map))
    }

    fn structure(&mut self, name: &'a str, fields: &'a [(Box<str>, Id, bool)]) -> Res<'a> {
        let mut map = BTreeMap::new();
        for (field, value, optional) in fields {
            let value = match (optional, self.eval(*value)?) {
                (true, Val::Optional(None)) => continue,
                (true, Val::Optional(Some(value))) => (*value).clone(),
                (true, _) => return Err(EvalError::no_such_overload()),
                (false, value) => value,
            };
            map.insert(Key::String(Text::Borrowed(field)), value);
        }
        self.pay(cost::STRUCT)?;
        Ok(Val::Map(Map::Owned(Arc::new(Entries { name: Some(name), map }))))
    }

    fn opt_map(&mut self, target: Id, body: Id, flat: bool) -> Res<'a> {
        let target = self.eval(target)?;
        self.pay(1)?;
        match target {
            Val::Optional(None) => Ok(Val::Optional(None)),
            Val::Optional(Some(value)) => {
                self.pay(cost::LIST + 2)?;
                let result = self.with((*value).clone(), body)?;
                match (flat, result) {
                    (true, result @ Val::Optional(_)) => Ok(result),
                    (true, _) => Err(EvalError::no_such_overload()),
                    (false, result) => Ok(Val::some(result)),
                }
            }
            _ => Err(EvalError::no_such_overload()),
        }
    }
}

/// What is found through an optional is not wrapped twice.
fn flat(value: Val<'_>) -> Arc<Val<'_>> {
    match value {
        Val::Optional(Some(inner)) => inner,
        other => Arc::new(other),
    }
}

fn constant(literal: &Literal) -> Val<'_> {
    match literal {
        Literal::Null => Val::Null,
        Literal::Bool(b) => Val::Bool(*b),
        Literal::Int(n) => Val::Int(*n),
        Literal::Uint(n) => Val::Uint(*n),
        Literal::Double(n) => Val::Double(*n),
        Literal::String(text) => Val::text(text),
        Literal::Bytes(bytes) => Val::Bytes(bytes.clone()),
    }
}

/// `of[index]`.
fn element<'a>(of: &Val<'a>, index: &Val<'a>) -> Res<'a> {
    match of {
        Val::List(list) => {
            let Some(Key::Int(at)) = Key::of(index).map(|key| match key {
                Key::Uint(n) => i64::try_from(n).map_or(key, Key::Int),
                key => key,
            }) else {
                return Err(EvalError::no_such_overload());
            };
            let found = usize::try_from(at).ok().and_then(|at| list.get(at));
            found.ok_or_else(|| EvalError::new(format!("index out of bounds: {at}")))
        }
        Val::Map(map @ Map::Json(_, _, Shape::Object(_))) => match index {
            Val::String(name) => {
                map.field(name).ok_or_else(|| EvalError::new(format!("no such key: {}", &**name)))
            }
            _ => Err(EvalError::no_such_overload()),
        },
        Val::Map(map) => map.get(index).ok_or_else(|| match index {
            Val::String(name) => EvalError::new(format!("no such key: {}", &**name)),
            Val::Int(n) => EvalError::new(format!("no such key: {n}")),
            Val::Uint(n) => EvalError::new(format!("no such key: {n}")),
            Val::Bool(b) => EvalError::new(format!("no such key: {b}")),
            _ => EvalError::no_such_overload(),
        }),
        _ => Err(EvalError::no_such_overload()),
    }
}

/// What a call costs before its result is known.
fn call_cost(cost: Cost, values: &[Val<'_>]) -> Option<u64> {
    let size = |at: usize| values.get(at).map_or(1, Val::size);
    Some(match cost {
        Cost::Fixed(cost) => cost,
        Cost::Text(at, factor) => cost::tenths(size(at), factor),
        Cost::Items(at) => size(at),
        Cost::Least => cost::tenths(size(0).min(size(1)), 1),
        Cost::Concat => match values.first() {
            Some(Val::String(_) | Val::Bytes(_)) => cost::tenths(size(0).saturating_add(size(1)), 1),
            _ => 1,
        },
        Cost::Regex => cost::tenths(size(0).saturating_add(1), 1).saturating_mul(cost::quarters(size(1))),
        Cost::Search => cost::tenths(size(0), 1).saturating_mul(cost::tenths(size(1), 1)),
        Cost::Product(factor) => size(0).saturating_mul(size(1)).saturating_mul(factor),
        Cost::Result(_) => return None,
    })
}
