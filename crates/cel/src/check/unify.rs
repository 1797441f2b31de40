//! Assignability and type parameters.

use crate::types::{ListType, MapType, Type};
use std::sync::Arc;

/// Levels of nested types that are looked into.
const MAX_DEPTH: usize = 32;

/// What type parameters stand for.
#[derive(Default)]
pub(super) struct Unifier {
    bound: Vec<Option<Type>>,
    /// Parameters in the order in which they were bound, to take bindings back.
    trail: Vec<u16>,
}

impl Unifier {
    pub(super) fn fresh(&mut self) -> Type {
        let number = u16::try_from(self.bound.len()).unwrap_or(u16::MAX);
        if number == u16::MAX {
            return Type::Dyn;
        }
        self.bound.push(None);
        Type::Var(number)
    }

    pub(super) fn mark(&self) -> usize {
        self.trail.len()
    }

    pub(super) fn back_to(&mut self, mark: usize) {
        for number in self.trail.drain(mark..) {
            self.bound[usize::from(number)] = None;
        }
    }

    fn shallow(&self, ty: &Type) -> Type {
        let mut ty = ty.clone();
        while let Type::Var(number) = ty {
            match self.bound.get(usize::from(number)) {
                Some(Some(next)) => ty = next.clone(),
                _ => break,
            }
        }
        ty
    }

    /// The type with every bound parameter replaced; unbound ones are `dyn`.
    pub(super) fn resolve(&self, ty: &Type) -> Type {
        self.resolve_at(ty, 0)
    }

    fn resolve_at(&self, ty: &Type, depth: usize) -> Type {
        if depth > MAX_DEPTH {
            return Type::Dyn;
        }
        match self.shallow(ty) {
            Type::List(list) if has_var(&list.element, 0) => Type::List(Arc::new(ListType {
                element: self.resolve_at(&list.element, depth + 1),
                max: list.max,
                kind: list.kind.clone(),
            })),
            Type::Map(map) if has_var(&map.key, 0) || has_var(&map.value, 0) => {
                Type::Map(Arc::new(MapType {
                    key: self.resolve_at(&map.key, depth + 1),
                    value: self.resolve_at(&map.value, depth + 1),
                    max: map.max,
                }))
            }
            Type::Optional(inner) if has_var(&inner, 0) => {
                Type::Optional(self.resolve_at(&inner, depth + 1).into())
            }
            Type::Var(_) => Type::Dyn,
            other => other,
        }
    }

    /// A signature's type with its parameters renumbered.
    pub(super) fn instantiate(ty: &Type, fresh: &[Type]) -> Type {
        match ty {
            Type::Var(number) => fresh.get(usize::from(*number)).cloned().unwrap_or(Type::Dyn),
            Type::List(list) => Type::list(Self::instantiate(&list.element, fresh)),
            Type::Map(map) => {
                Type::map(Self::instantiate(&map.key, fresh), Self::instantiate(&map.value, fresh))
            }
            Type::Optional(inner) => Type::Optional(Self::instantiate(inner, fresh).into()),
            other => other.clone(),
        }
    }

    fn bind(&mut self, number: u16, ty: &Type) {
        if let Some(slot) = self.bound.get_mut(usize::from(number)) {
            *slot = Some(ty.clone());
            self.trail.push(number);
        }
    }

    /// Whether a value of type `from` may stand where `to` is wanted. Binds parameters; takes bindings back when
    /// the answer is no.
    pub(super) fn assignable(&mut self, to: &Type, from: &Type) -> bool {
        let mark = self.mark();
        let found = self.unify(to, from, 0);
        if !found {
            self.back_to(mark);
        }
        found
    }

    fn unify(&mut self, to: &Type, from: &Type, depth: usize) -> bool {
        if depth > MAX_DEPTH {
            return true;
        }
        let (to, from) = (self.shallow(to), self.shallow(from));
        match (&to, &from) {
            (Type::Var(a), Type::Var(b)) if a == b => true,
            (Type::Var(number), other) | (other, Type::Var(number)) => {
                if self.occurs(*number, other, 0) {
                    return false;
                }
                self.bind(*number, other);
                true
            }
            (to, from) if to.is_dyn() || from.is_dyn() => true,
            (Type::List(a), Type::List(b)) => self.unify(&a.element, &b.element, depth + 1),
            (Type::Map(a), Type::Map(b)) => {
                self.unify(&a.key, &b.key, depth + 1) && self.unify(&a.value, &b.value, depth + 1)
            }
            (Type::Optional(a), Type::Optional(b)) => self.unify(a, b, depth + 1),
            (Type::Object(a), Type::Object(b)) => Arc::ptr_eq(a, b) || a.name() == b.name(),
            (Type::Opaque(a), Type::Opaque(b)) => a == b,
            // Objects, times and values of libraries may be null.
            (
                Type::Object(_) | Type::Opaque(_) | Type::Optional(_) | Type::Duration | Type::Timestamp,
                Type::Null,
            )
            | (
                Type::Null,
                Type::Object(_) | Type::Opaque(_) | Type::Optional(_) | Type::Duration | Type::Timestamp,
            ) => true,
            (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
        }
    }

    fn occurs(&self, number: u16, ty: &Type, depth: usize) -> bool {
        if depth > MAX_DEPTH {
            return true;
        }
        match self.shallow(ty) {
            Type::Var(other) => other == number,
            Type::List(list) => self.occurs(number, &list.element, depth + 1),
            Type::Map(map) => {
                self.occurs(number, &map.key, depth + 1) || self.occurs(number, &map.value, depth + 1)
            }
            Type::Optional(inner) => self.occurs(number, &inner, depth + 1),
            _ => false,
        }
    }
}

fn has_var(ty: &Type, depth: usize) -> bool {
    depth <= MAX_DEPTH
        && match ty {
            Type::Var(_) => true,
            Type::List(list) => has_var(&list.element, depth + 1),
            Type::Map(map) => has_var(&map.key, depth + 1) || has_var(&map.value, depth + 1),
            Type::Optional(inner) => has_var(inner, depth + 1),
            _ => false,
        }
}
