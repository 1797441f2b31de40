//! Functions, methods and operators: which overload is meant.

use super::{Checker, Unifier, is_function};
use crate::ast::{Expr, Id};
use crate::signature::REGISTRY;
use crate::types::Type;

impl Checker<'_> {
    pub(super) fn call(&mut self, id: Id, name: &str, target: Option<Id>, args: Vec<Id>) -> Type {
        // `sets.contains(a, b)` is a function of that name, not a method of `sets`.
        if let Some(target) = target
            && let Some(qualified) = self.qualified(target).map(|target| format!("{target}.{name}"))
            && is_function(&qualified)
        {
            return self.invoke(id, &qualified, None, args);
        }
        self.invoke(id, name, target, args)
    }

    fn invoke(&mut self, id: Id, name: &str, target: Option<Id>, args: Vec<Id>) -> Type {
        let of = target.map(|target| self.visit(target));
        let given: Vec<Type> = args.iter().map(|arg| self.visit(*arg)).collect();
        let Some(number) = REGISTRY.find(name) else {
            return self.undeclared(id, name);
        };
        let mut all: Vec<Type> = of.iter().cloned().collect();
        all.extend(given.iter().cloned());
        let Some(ty) = self.pick(number, of.is_some(), &all) else {
            return self.no_overload(id, name, of.as_ref(), &given);
        };
        let mut operands: Vec<Id> = target.into_iter().collect();
        operands.extend(args);
        self.set(id, Expr::Invoke { function: number, args: operands });
        ty
    }

    /// The result of the overloads that fit: `dyn` when several do and differ.
    fn pick(&mut self, number: u16, member: bool, given: &[Type]) -> Option<Type> {
        let mut found: Option<Type> = None;
        for overload in &REGISTRY.entry(number).overloads {
            if overload.member != member || overload.params.len() != given.len() {
                continue;
            }
            let fresh = [self.unifier.fresh(), self.unifier.fresh()];
            let mark = self.unifier.mark();
            let fits = overload.params.iter().zip(given).all(|(wanted, given)| {
                let wanted = Unifier::instantiate(wanted, &fresh);
                self.unifier.assignable(&wanted, given)
            });
            if !fits {
                self.unifier.back_to(mark);
                continue;
            }
            let result = Unifier::instantiate(&overload.result, &fresh);
            match &found {
                None => found = Some(result),
                Some(before) => {
                    let (a, b) = (self.unifier.resolve(before), self.unifier.resolve(&result));
                    if a.to_string() != b.to_string() {
                        return Some(Type::Dyn);
                    }
                }
            }
        }
        found
    }

    pub(super) fn no_overload(&mut self, id: Id, name: &str, of: Option<&Type>, given: &[Type]) -> Type {
        let list: Vec<String> = given.iter().map(|ty| self.unifier.resolve(ty).to_string()).collect();
        let list = list.join(", ");
        let applied = match of {
            Some(of) => format!("{}.({list})", self.unifier.resolve(of)),
            None => format!("({list})"),
        };
        self.report(id, format!("found no matching overload for '{name}' applied to '{applied}'"))
    }

    pub(super) fn logical(&mut self, name: &str, terms: &[Id]) -> Type {
        for (at, term) in terms.iter().enumerate() {
            let ty = self.visit(*term);
            if !self.unifier.assignable(&Type::Bool, &ty) {
                let ty = self.unifier.resolve(&ty);
                let pair = if at == 0 { [ty, Type::Bool] } else { [Type::Bool, ty] };
                self.no_overload(*term, name, None, &pair);
            }
        }
        Type::Bool
    }

    pub(super) fn ternary(&mut self, id: Id, condition: Id, yes: Id, no: Id) -> Type {
        let types = [self.visit(condition), self.visit(yes), self.visit(no)];
        if !self.unifier.assignable(&Type::Bool, &types[0]) {
            return self.no_overload(id, "_?_:_", None, &types);
        }
        if self.unifier.assignable(&types[1], &types[2]) {
            // The size of the whole is whichever is unbounded, so the estimate adds them up itself.
            if self.unifier.resolve(&types[2]).is_dyn() { types[2].clone() } else { types[1].clone() }
        } else if self.unifier.assignable(&types[2], &types[1]) {
            types[2].clone()
        } else {
            self.no_overload(id, "_?_:_", None, &types)
        }
    }
}
