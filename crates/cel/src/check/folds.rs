//! Macros over ranges and optional values.

use super::Checker;
use crate::ast::{Fold, FoldKind, Id};
use crate::types::Type;

impl Checker<'_> {
    /// Types of a macro's variables over a range.
    fn range(&mut self, id: Id, two: bool) -> (Type, Type) {
        let of = self.visit(id);
        match self.unifier.resolve(&of) {
            Type::List(list) if two => (Type::Int, list.element.clone()),
            Type::List(list) => (list.element.clone(), Type::Dyn),
            Type::Map(map) => (map.key.clone(), map.value.clone()),
            Type::Dyn | Type::IntOrString | Type::Var(_) => (Type::Dyn, Type::Dyn),
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                (self.report(id, message), Type::Dyn)
            }
        }
    }

    pub(super) fn fold(&mut self, id: Id, fold: Fold) -> Type {
        let (first, second) = self.range(fold.range, fold.second.is_some());
        let mut variables = vec![(fold.first.clone(), first.clone())];
        if let Some(name) = &fold.second {
            variables.push((name.clone(), second));
        }
        let (filter, step) = self.scoped(&variables, |checker| {
            let filter = fold.filter.map(|filter| checker.visit(filter));
            (filter, checker.visit(fold.step))
        });
        if let Some(filter) = filter {
            self.predicate(id, "_?_:_", filter);
        }
        match fold.kind {
            FoldKind::All => self.predicate(id, "_&&_", step),
            FoldKind::Exists => self.predicate(id, "_||_", step),
            FoldKind::ExistsOne => self.predicate(id, "_?_:_", step),
            FoldKind::Filter => {
                self.predicate(id, "_?_:_", step);
                Type::list(first)
            }
            FoldKind::Map => Type::list(step),
            FoldKind::TransformMap => Type::map(first, step),
            FoldKind::TransformEntry => match self.unifier.resolve(&step) {
                Type::Map(map) => Type::Map(map),
                Type::Dyn | Type::IntOrString => Type::map(Type::Dyn, Type::Dyn),
                other => self.report(fold.step, format!("expected type 'map(_, _)' but found '{other}'")),
            },
            FoldKind::SortBy => {
                let key = self.unifier.resolve(&step);
                let sortable = matches!(
                    key,
                    Type::Int
                        | Type::Uint
                        | Type::Double
                        | Type::Bool
                        | Type::Duration
                        | Type::Timestamp
                        | Type::String(_)
                        | Type::Bytes(_)
                );
                if !sortable && !key.is_dyn() {
                    let range = self.types[fold.range as usize].clone();
                    return self.no_overload(id, "@sortByAssociatedKeys", Some(&range), &[Type::list(key)]);
                }
                Type::list(first)
            }
        }
    }

    fn predicate(&mut self, id: Id, operator: &str, ty: Type) -> Type {
        if !self.unifier.assignable(&Type::Bool, &ty) {
            return self.no_overload(id, operator, None, &[Type::Bool, ty]);
        }
        Type::Bool
    }

    pub(super) fn opt_map(&mut self, target: Id, name: &str, body: Id, flat: bool) -> Type {
        let of = self.visit(target);
        let inner = match self.unifier.resolve(&of) {
            Type::Optional(inner) => (*inner).clone(),
            Type::Dyn | Type::IntOrString => Type::Dyn,
            other => {
                let function = if flat { "optFlatMap" } else { "optMap" };
                return self.no_overload(target, function, Some(&other), &[]);
            }
        };
        let ty = self.scoped(&[(name.into(), inner)], |checker| checker.visit(body));
        if !flat {
            return Type::Optional(ty.into());
        }
        match self.unifier.resolve(&ty) {
            Type::Optional(_) => ty,
            resolved if resolved.is_dyn() => Type::Optional(Type::Dyn.into()),
            resolved => self.report(body, format!("expected type 'optional_type(_)' but found '{resolved}'")),
        }
    }
}
