//! Costs: what an evaluation will cost at least and at most, judged by the declared sizes, and the constants that
//! evaluation counts with. Source: cel-go's and Kubernetes' cost models, whose limits users know.

use crate::ast::{Expr, Fold, FoldKind, Id, Literal};
use crate::check::Checked;
use crate::signature::{Cost, REGISTRY};
use crate::types::{Size, Type};

/// Reading a variable or a field.
pub(crate) const READ: u64 = 1;
/// Making a list.
pub(crate) const LIST: u64 = 10;
/// Making a map.
pub(crate) const MAP: u64 = 30;
/// Making an object.
pub(crate) const STRUCT: u64 = 40;

/// What macros cost beside their operands, as if they were written out as comprehensions.
pub(crate) struct FoldCost {
    /// Once.
    pub(crate) once: u64,
    /// For each item.
    pub(crate) each: u64,
    /// For each item that is taken.
    pub(crate) taken: u64,
    /// For each item that is not.
    pub(crate) left: u64,
}

pub(crate) fn fold_cost(fold: &Fold) -> FoldCost {
    let (once, each, taken, left) = match fold.kind {
        FoldKind::All => (1, 3, 0, 0),
        FoldKind::Exists => (1, 4, 0, 0),
        FoldKind::ExistsOne => (2, 0, 2, 1),
        FoldKind::Map => (LIST + 1, 0, LIST + 2, 1),
        FoldKind::Filter => (LIST + 1, 0, LIST + 3, 1),
        FoldKind::TransformMap | FoldKind::TransformEntry => (MAP + 1, 0, 3, 1),
        FoldKind::SortBy => (LIST + 2, 0, LIST + 3, 0),
    };
    FoldCost { once, each, taken, left }
}

/// Tenths of a size, rounded up.
pub(crate) fn tenths(size: u64, factor: u64) -> u64 {
    let whole = (size / 10).saturating_mul(factor);
    whole.saturating_add(((size % 10) * factor).div_ceil(10))
}

/// Quarters of a pattern's length, rounded up.
pub(crate) fn quarters(size: u64) -> u64 {
    size.div_ceil(4)
}

/// Cost at least and at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    /// At least.
    pub min: u64,
    /// At most; `u64::MAX` when nothing bounds it.
    pub max: u64,
}

impl Estimate {
    const fn fixed(cost: u64) -> Self {
        Self { min: cost, max: cost }
    }

    fn plus(self, other: Self) -> Self {
        Self { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    fn times(self, other: Self) -> Self {
        Self { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    fn or(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }

    fn map(self, f: impl Fn(u64) -> u64) -> Self {
        Self { min: f(self.min), max: f(self.max) }
    }

    fn unknown() -> Self {
        Self { min: 0, max: u64::MAX }
    }
}

/// Estimates a checked expression.
pub(crate) fn estimate(checked: &Checked) -> Estimate {
    let mut sizes = vec![None; checked.ast.nodes.len()];
    Estimator { checked, sizes: &mut sizes }.cost(checked.ast.root)
}

struct Estimator<'c> {
    checked: &'c Checked,
    /// Sizes that follow from operands, by node.
    sizes: &'c mut Vec<Option<Estimate>>,
}

fn declared(size: Size) -> Estimate {
    Estimate { min: 0, max: size.unwrap_or(u64::MAX) }
}

/// Size of what an int-or-string may hold.
const INT_OR_STRING: u64 = 3 * 1024 * 1024 - 2;

impl Estimator<'_> {
    fn size(&self, id: Id) -> Estimate {
        if let Some(known) = self.sizes[id as usize] {
            return known;
        }
        let mut ty = &self.checked.types[id as usize];
        while let Type::Optional(inner) = ty {
            ty = inner;
        }
        match ty {
            Type::String(size) | Type::Bytes(size) => declared(*size),
            Type::List(list) => declared(list.max),
            Type::Map(map) => declared(map.max),
            Type::IntOrString => declared(Some(INT_OR_STRING)),
            Type::Dyn | Type::Var(_) | Type::Object(_) => Estimate::unknown(),
            Type::Opaque(name) if name.starts_with("net.") => Estimate { min: 4, max: 16 },
            _ => Estimate::fixed(1),
        }
    }

    fn cost(&mut self, id: Id) -> Estimate {
        let checked = self.checked;
        match checked.ast.expr(id) {
            Expr::Literal(literal) => {
                let size = match literal {
                    Literal::String(text) => Some(text.chars().count() as u64),
                    Literal::Bytes(bytes) => Some(bytes.len() as u64),
                    _ => None,
                };
                self.sizes[id as usize] = size.map(Estimate::fixed);
                Estimate::default()
            }
            Expr::Ident(_) | Expr::Local(_) | Expr::Global(_) => Estimate::fixed(READ),
            Expr::TypeName(_) => Estimate::default(),
            Expr::Select { operand, test, .. } => {
                let below = self.cost(*operand);
                if *test { below } else { below.plus(Estimate::fixed(READ)) }
            }
            Expr::Index { operand, index, .. } => {
                let below = self.cost(*operand).plus(self.cost(*index));
                below.plus(Estimate::fixed(READ))
            }
            Expr::Call { args, .. } => self.sum(args),
            Expr::Invoke { function, args } => self.invoke(id, *function, args),
            Expr::And(terms) | Expr::Or(terms) => {
                let mut all = Estimate::default();
                for (at, term) in terms.iter().enumerate() {
                    let cost = self.cost(*term);
                    // Whatever stands behind the first may not be looked at.
                    let min = if at == 0 { cost.min } else { 0 };
                    all = all.plus(Estimate { min, max: cost.max });
                }
                all
            }
            Expr::Ternary(condition, yes, no) => {
                let condition = self.cost(*condition);
                let branches = self.cost(*yes).or(self.cost(*no));
                self.sizes[id as usize] = Some(self.size(*yes).or(self.size(*no)));
                condition.plus(branches)
            }
            Expr::List(items) => {
                self.sizes[id as usize] = Some(Estimate::fixed(items.len() as u64));
                items.iter().fold(Estimate::fixed(LIST), |all, (item, _)| all.plus(self.cost(*item)))
            }
            Expr::Map(entries) => {
                self.sizes[id as usize] = Some(Estimate::fixed(entries.len() as u64));
                entries.iter().fold(Estimate::fixed(MAP), |all, (key, value, _)| {
                    all.plus(self.cost(*key)).plus(self.cost(*value))
                })
            }
            Expr::Struct { fields, .. } => {
                fields.iter().fold(Estimate::fixed(STRUCT), |all, (_, value, _)| all.plus(self.cost(*value)))
            }
            Expr::Fold(fold) => self.fold(id, fold),
            Expr::Bind { init, body, .. } => {
                let cost = Estimate::fixed(LIST).plus(self.cost(*init)).plus(self.cost(*body));
                self.sizes[id as usize] = self.sizes[*body as usize];
                cost
            }
            Expr::OptMap { target, body, .. } => {
                let target = self.cost(*target).plus(Estimate::fixed(1));
                let body = self.cost(*body);
                target.plus(Estimate { min: 0, max: body.max.saturating_add(LIST + 2) })
            }
        }
    }

    fn sum(&mut self, ids: &[Id]) -> Estimate {
        ids.iter().fold(Estimate::default(), |all, id| all.plus(self.cost(*id)))
    }

    fn fold(&mut self, id: Id, fold: &Fold) -> Estimate {
        let range = self.cost(fold.range);
        let count = self.size(fold.range);
        let own = fold_cost(fold);
        let step = self.cost(fold.step);
        let taken = Estimate::fixed(own.taken);
        let mut each = match (fold.kind, fold.filter) {
            (FoldKind::All | FoldKind::Exists, _) => Estimate { min: 0, max: step.max },
            (FoldKind::Filter | FoldKind::ExistsOne, _) => step.plus(taken.or(Estimate::fixed(own.left))),
            (_, None) => step.plus(taken),
            (_, Some(filter)) => self.cost(filter).plus(step.plus(taken).or(Estimate::fixed(own.left))),
        };
        each = each.plus(Estimate::fixed(own.each));
        if !matches!(fold.kind, FoldKind::All | FoldKind::Exists | FoldKind::ExistsOne) {
            let least = if fold.kind == FoldKind::Filter || fold.filter.is_some() { 0 } else { count.min };
            self.sizes[id as usize] = Some(Estimate { min: least, max: count.max });
        }
        range.plus(Estimate::fixed(own.once)).plus(count.times(each))
    }

    fn invoke(&mut self, id: Id, function: u16, args: &[Id]) -> Estimate {
        let operands = self.sum(args);
        let entry = REGISTRY.entry(function);
        let size = |at: usize| args.get(at).map_or(Estimate::fixed(1), |id| self.size(*id));
        let own = match entry.def.cost {
            Cost::Fixed(cost) => Estimate::fixed(cost),
            Cost::Text(at, factor) => size(at).map(|size| tenths(size, factor)),
            Cost::Items(at) => size(at),
            Cost::Least => {
                let most = size(0).max.min(size(1).max);
                Estimate { min: u64::from(most > 0), max: most }.map(|size| tenths(size, 1))
            }
            Cost::Concat => match &self.checked.types[id as usize] {
                Type::String(_) | Type::Bytes(_) => size(0).plus(size(1)).map(|size| tenths(size, 1)),
                _ => Estimate::fixed(1),
            },
            Cost::Regex => {
                let text = size(0).plus(Estimate::fixed(1)).map(|size| tenths(size, 1));
                text.times(size(1).map(quarters))
            }
            Cost::Search => size(0).map(|size| tenths(size, 1)).times(size(1).map(|size| tenths(size, 1))),
            Cost::Product(factor) => size(0).times(size(1)).times(Estimate::fixed(factor)),
            Cost::Result(factor) => size(0).map(|size| tenths(size, factor)),
        };
        let result = match (entry.def.name, &self.checked.types[id as usize]) {
            ("_+_", Type::String(_) | Type::Bytes(_) | Type::List(_)) => Some(size(0).plus(size(1))),
            ("lowerAscii" | "upperAscii" | "reverse" | "sort" | "distinct", _) => Some(size(0)),
            (
                "substring" | "trim" | "charAt" | "find" | "slice" | "strings.quote",
                Type::String(_) | Type::List(_),
            ) => Some(Estimate { min: 0, max: size(0).max }),
            ("findAll" | "split", _) => Some(Estimate { min: 0, max: size(0).max }),
            ("replace", _) => {
                let most = size(0).max.saturating_mul(size(2).max.max(1));
                Some(Estimate { min: 0, max: most })
            }
            ("string", Type::String(_)) => {
                let of = args.first().map(|id| &self.checked.types[*id as usize]);
                match of {
                    Some(Type::String(_) | Type::Bytes(_)) => Some(size(0)),
                    // No number, time or truth is longer.
                    Some(ty) if !ty.is_dyn() => Some(Estimate { min: 1, max: 40 }),
                    _ => None,
                }
            }
            ("bytes", _) => Some(Estimate { min: size(0).min, max: size(0).max.saturating_mul(4) }),
            _ => None,
        };
        if result.is_some() {
            self.sizes[id as usize] = result;
        }
        operands.plus(own)
    }
}
