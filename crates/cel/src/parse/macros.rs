//! Macros: calls whose arguments are no values (CEL specification, "Macros"; cel-go's extensions of bindings,
//! optional values, lists and comprehensions of two variables).

use super::{Parsed, Parser};
use crate::ast::{Expr, Fold, FoldKind, Id};
use crate::error::Issue;

fn fold_kind(name: &str) -> Option<FoldKind> {
    Some(match name {
        "all" => FoldKind::All,
        "exists" => FoldKind::Exists,
        "exists_one" | "existsOne" => FoldKind::ExistsOne,
        "map" | "transformList" => FoldKind::Map,
        "filter" => FoldKind::Filter,
        "transformMap" => FoldKind::TransformMap,
        "transformMapEntry" => FoldKind::TransformEntry,
        "sortBy" => FoldKind::SortBy,
        _ => return None,
    })
}

impl Parser {
    /// A function without a target: `has` is a macro.
    pub(super) fn function(&mut self, name: &str, args: Vec<Id>, at: usize) -> Parsed {
        if name != "has" || args.len() != 1 {
            return self.call(at, name, args);
        }
        match &self.nodes[args[0] as usize].expr {
            Expr::Select { operand, field, test: false, optional } => {
                let (operand, field, optional) = (*operand, field.clone(), *optional);
                if optional {
                    return Err(Issue { at, message: "invalid argument to has() macro".to_owned() });
                }
                self.add(at, Expr::Select { operand, field, test: true, optional }, &[operand])
            }
            _ => Err(Issue { at, message: "invalid argument to has() macro".to_owned() }),
        }
    }

    /// `target.name(…)`, the opening parenthesis being next.
    pub(super) fn method(&mut self, target: Id, name: &str, at: usize, name_at: usize) -> Parsed {
        self.expect("(")?;
        let args = self.args()?;
        if let Some(found) = self.expand(target, name, &args, at, name_at)? {
            return Ok(found);
        }
        let mut below = args.clone();
        below.push(target);
        self.add(at, Expr::Call { function: name.into(), target: Some(target), args }, &below)
    }

    fn expand(
        &mut self,
        target: Id,
        name: &str,
        args: &[Id],
        at: usize,
        name_at: usize,
    ) -> Result<Option<Id>, Issue> {
        let _ = name_at;
        if name == "bind" && args.len() == 3 && self.is_ident(target, "cel") {
            let variable = self.variable(args[0])?;
            let expr = Expr::Bind { name: variable, init: args[1], body: args[2] };
            return self.add(at, expr, &[args[1], args[2]]).map(Some);
        }
        if matches!(name, "optMap" | "optFlatMap") && args.len() == 2 {
            let variable = self.variable(args[0])?;
            let flat = name == "optFlatMap";
            let expr = Expr::OptMap { name: variable, target, body: args[1], flat };
            return self.add(at, expr, &[target, args[1]]).map(Some);
        }
        let Some(kind) = fold_kind(name) else { return Ok(None) };
        // Variables, then perhaps a filter, then what to do.
        let (variables, filter) = match (name, args.len()) {
            ("all" | "exists" | "exists_one" | "existsOne" | "map" | "filter" | "sortBy", 2) => (1, false),
            ("map", 3) => (1, true),
            ("all" | "exists" | "existsOne" | "transformList" | "transformMap" | "transformMapEntry", 3) => {
                (2, false)
            }
            ("transformList" | "transformMap" | "transformMapEntry", 4) => (2, true),
            _ => return Ok(None),
        };
        let first = self.variable(args[0])?;
        let second = if variables == 2 { Some(self.variable(args[1])?) } else { None };
        if second.as_ref() == Some(&first) {
            let message = format!("duplicate variable name: {first}");
            return Err(Issue { at: self.nodes[args[1] as usize].at as usize, message });
        }
        let filter = filter.then(|| args[variables]);
        let step = args[args.len() - 1];
        let mut below = vec![target, step];
        below.extend(filter);
        let fold = Fold { kind, range: target, first, second, filter, step };
        self.add(at, Expr::Fold(Box::new(fold)), &below).map(Some)
    }

    fn is_ident(&self, id: Id, name: &str) -> bool {
        matches!(&self.nodes[id as usize].expr, Expr::Ident(found) if **found == *name)
    }

    fn variable(&self, id: Id) -> Result<Box<str>, Issue> {
        let node = &self.nodes[id as usize];
        match &node.expr {
            Expr::Ident(name) => Ok(name.clone()),
            _ => Err(Issue { at: node.at as usize, message: "argument must be a simple name".to_owned() }),
        }
    }
}
