//! The checker: resolves names, picks overloads and gives every node a type (CEL specification, "Gradual Type
//! Checking"). Messages are upstream's engine's.

mod calls;
mod folds;
mod unify;

use crate::ast::{Ast, Expr, Id, Literal};
use crate::env::Env;
use crate::error::Issue;
use crate::signature::{OPAQUE, REGISTRY};
use crate::types::{Field, Type};
use unify::Unifier;

/// An expression whose names and types are known.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    pub(crate) ast: Ast,
    /// By node.
    pub(crate) types: Vec<Type>,
    /// Declared variables that are used.
    pub(crate) globals: Vec<String>,
}

/// Findings reported for one expression.
const MAX_ISSUES: usize = 20;

/// Names of types as values.
const TYPES: &[&str] = &[
    "int",
    "uint",
    "double",
    "bool",
    "string",
    "bytes",
    "list",
    "map",
    "null_type",
    "type",
    "dyn",
    "optional_type",
    "google.protobuf.Timestamp",
    "google.protobuf.Duration",
];

/// Checks a parsed expression.
pub(crate) fn check(env: &Env, ast: Ast) -> Result<Checked, Vec<Issue>> {
    let types = vec![Type::Dyn; ast.nodes.len()];
    let root = ast.root;
    let mut checker = Checker {
        env,
        ast,
        types,
        scope: Vec::new(),
        globals: Vec::new(),
        issues: Vec::new(),
        unifier: Unifier::default(),
    };
    checker.visit(root);
    if !checker.issues.is_empty() {
        checker.issues.truncate(MAX_ISSUES);
        return Err(checker.issues);
    }
    let Checker { ast, mut types, globals, unifier, .. } = checker;
    for ty in &mut types {
        *ty = unifier.resolve(ty);
    }
    Ok(Checked { ast, types, globals })
}

struct Checker<'e> {
    env: &'e Env,
    ast: Ast,
    types: Vec<Type>,
    /// Variables of macros around the node, innermost last.
    scope: Vec<(Box<str>, Type)>,
    globals: Vec<String>,
    issues: Vec<Issue>,
    unifier: Unifier,
}

impl Checker<'_> {
    fn report(&mut self, id: Id, message: String) -> Type {
        let at = self.ast.node(id).at as usize;
        self.issues.push(Issue { at, message });
        Type::Dyn
    }

    fn undeclared(&mut self, id: Id, name: &str) -> Type {
        self.report(id, format!("undeclared reference to '{name}' (in container '')"))
    }

    fn set(&mut self, id: Id, expr: Expr) {
        self.ast.nodes[id as usize].expr = expr;
    }

    /// Checks a node and those below it.
    fn visit(&mut self, id: Id) -> Type {
        if self.issues.len() > MAX_ISSUES {
            return Type::Dyn;
        }
        let ty = match self.ast.expr(id).clone() {
            Expr::Literal(literal) => literal_type(&literal),
            Expr::Ident(name) => self.ident(id, &name),
            Expr::Select { operand, field, test, optional } => {
                self.select(id, operand, &field, test, optional)
            }
            Expr::Index { operand, index, optional } => self.index(id, operand, index, optional),
            Expr::Call { function, target, args } => self.call(id, &function, target, args),
            Expr::And(terms) => self.logical("_&&_", &terms),
            Expr::Or(terms) => self.logical("_||_", &terms),
            Expr::Ternary(condition, yes, no) => self.ternary(id, condition, yes, no),
            Expr::List(items) => self.list(&items),
            Expr::Map(entries) => self.map(&entries),
            Expr::Struct { name, fields } => self.structure(id, &name, &fields),
            Expr::Fold(fold) => self.fold(id, *fold),
            Expr::Bind { name, init, body } => {
                let ty = self.visit(init);
                self.scoped(&[(name, ty)], |checker| checker.visit(body))
            }
            Expr::OptMap { name, target, body, flat } => self.opt_map(target, &name, body, flat),
            // Made by the checker itself, of nodes that it does not visit again.
            Expr::Local(_) | Expr::Global(_) | Expr::TypeName(_) | Expr::Invoke { .. } => Type::Dyn,
        };
        self.types[id as usize] = ty.clone();
        ty
    }

    fn scoped<T>(&mut self, variables: &[(Box<str>, Type)], then: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.scope.len();
        self.scope.extend(variables.iter().cloned());
        let out = then(self);
        self.scope.truncate(before);
        out
    }

    fn is_local(&self, name: &str) -> bool {
        self.scope.iter().any(|(known, _)| **known == *name)
    }

    fn ident(&mut self, id: Id, name: &str) -> Type {
        if let Some(place) = self.scope.iter().rposition(|(known, _)| **known == *name) {
            let ty = self.scope[place].1.clone();
            self.set(id, Expr::Local(u32::try_from(place).unwrap_or_default()));
            return ty;
        }
        match self.global(id, name) {
            Some(ty) => ty,
            None => self.undeclared(id, name),
        }
    }

    /// A declared variable or the name of a type.
    fn global(&mut self, id: Id, name: &str) -> Option<Type> {
        if let Some(ty) = self.env.variable(name).cloned() {
            let place = self.globals.iter().position(|known| known == name).unwrap_or_else(|| {
                self.globals.push(name.to_owned());
                self.globals.len() - 1
            });
            self.set(id, Expr::Global(u16::try_from(place).ok()?));
            return Some(ty);
        }
        if TYPES.contains(&name) || OPAQUE.iter().any(|(_, full)| *full == name) {
            self.set(id, Expr::TypeName(name.into()));
            return Some(Type::Type);
        }
        None
    }

    /// The dotted name that a node spells, unless its first part is a variable of a macro.
    fn qualified(&self, id: Id) -> Option<String> {
        match self.ast.expr(id) {
            Expr::Ident(name) if !self.is_local(name) => Some(name.to_string()),
            Expr::Select { operand, field, test: false, optional: false } => {
                Some(format!("{}.{field}", self.qualified(*operand)?))
            }
            _ => None,
        }
    }

    fn select(&mut self, id: Id, operand: Id, field: &str, test: bool, optional: bool) -> Type {
        if !optional && let Some(name) = self.qualified(operand).map(|operand| format!("{operand}.{field}")) {
            if test && self.env.variable(&name).is_some() {
                self.set(id, Expr::Literal(Literal::Bool(true)));
                return Type::Bool;
            }
            if !test && let Some(ty) = self.global(id, &name) {
                return ty;
            }
        }
        let of = self.visit(operand);
        let ty = self.field_of(id, &of, field);
        match (test, optional) {
            (true, _) => Type::Bool,
            (false, true) if !matches!(ty, Type::Optional(_)) => Type::Optional(ty.into()),
            (false, _) => ty,
        }
    }

    fn field_of(&mut self, id: Id, of: &Type, name: &str) -> Type {
        let of = self.unifier.resolve(of);
        match &of {
            Type::Object(fields) => match fields.field(name) {
                Some(Field { ty, .. }) => ty.clone(),
                None if fields.open() => Type::Dyn,
                None => self.report(id, format!("undefined field '{name}'")),
            },
            Type::Map(map) => {
                if !self.unifier.assignable(&map.key, &Type::STRING) {
                    return self.report(id, format!("type '{of}' does not support field selection"));
                }
                map.value.clone()
            }
            Type::Optional(inner) => {
                let inner = self.field_of(id, inner, name);
                match inner {
                    Type::Optional(_) => inner,
                    plain => Type::Optional(plain.into()),
                }
            }
            Type::Dyn | Type::IntOrString | Type::Var(_) => Type::Dyn,
            other => self.report(id, format!("type '{other}' does not support field selection")),
        }
    }

    fn index(&mut self, id: Id, operand: Id, index: Id, optional: bool) -> Type {
        let (of, by) = (self.visit(operand), self.visit(index));
        let of = self.unifier.resolve(&of);
        let (inner, wrapped) = match &of {
            Type::Optional(inner) => ((**inner).clone(), true),
            other => (other.clone(), false),
        };
        let found = match &inner {
            Type::List(list) => (Type::Int, list.element.clone()),
            Type::Map(map) => (map.key.clone(), map.value.clone()),
            Type::Dyn | Type::IntOrString | Type::Var(_) => (Type::Dyn, Type::Dyn),
            _ => {
                return self.no_overload(
                    id,
                    if optional { "_[?_]" } else { "_[_]" },
                    None,
                    &[of.clone(), by],
                );
            }
        };
        if !self.unifier.assignable(&found.0, &by) {
            return self.no_overload(id, if optional { "_[?_]" } else { "_[_]" }, None, &[of.clone(), by]);
        }
        if optional || wrapped { Type::Optional(found.1.into()) } else { found.1 }
    }

    fn list(&mut self, items: &[(Id, bool)]) -> Type {
        let mut element: Option<Type> = None;
        for (item, optional) in items {
            let mut ty = self.visit(*item);
            if *optional {
                ty = self.unwrap(*item, &ty);
            }
            self.join(&mut element, ty, *item);
        }
        Type::list(element.unwrap_or_else(|| self.unifier.fresh()))
    }

    fn map(&mut self, entries: &[(Id, Id, bool)]) -> Type {
        let (mut keys, mut values) = (None, None);
        for (key, value, optional) in entries {
            let ty = self.visit(*key);
            let resolved = self.unifier.resolve(&ty);
            if !matches!(
                resolved,
                Type::String(_)
                    | Type::Int
                    | Type::Uint
                    | Type::Bool
                    | Type::Dyn
                    | Type::IntOrString
                    | Type::Var(_)
            ) {
                self.report(*key, format!("unsupported key type: {resolved}"));
            }
            self.join(&mut keys, ty, *key);
            let mut ty = self.visit(*value);
            if *optional {
                ty = self.unwrap(*value, &ty);
            }
            self.join(&mut values, ty, *value);
        }
        let keys = keys.unwrap_or_else(|| self.unifier.fresh());
        Type::map(keys, values.unwrap_or_else(|| self.unifier.fresh()))
    }

    /// The type of elements that have had `known` so far (all of one type: upstream's aggregates are homogeneous).
    fn join(&mut self, known: &mut Option<Type>, next: Type, id: Id) {
        let Some(before) = known else {
            *known = Some(next);
            return;
        };
        if !self.unifier.assignable(before, &next) {
            if self.unifier.assignable(&next, before) {
                *known = Some(next);
                return;
            }
            let (before, next) = (self.unifier.resolve(before), self.unifier.resolve(&next));
            self.report(id, format!("expected type '{before}' but found '{next}'"));
        }
    }

    fn unwrap(&mut self, id: Id, ty: &Type) -> Type {
        match self.unifier.resolve(ty) {
            Type::Optional(inner) => (*inner).clone(),
            Type::Dyn | Type::IntOrString | Type::Var(_) => Type::Dyn,
            other => self.report(id, format!("expected type 'optional_type({other})' but found '{other}'")),
        }
    }

    fn structure(&mut self, id: Id, name: &str, fields: &[(Box<str>, Id, bool)]) -> Type {
        let Some(ty) = self.env.constructible(name) else {
            for (_, value, _) in fields {
                self.visit(*value);
            }
            return self.undeclared(id, name);
        };
        let known = match &ty {
            Type::Object(known) => Some(known.clone()),
            _ => None,
        };
        for (field, value, optional) in fields {
            let mut given = self.visit(*value);
            if *optional {
                given = self.unwrap(*value, &given);
            }
            let Some(known) = &known else { continue };
            match known.field(field) {
                Some(wanted) if !self.unifier.assignable(&wanted.ty, &given) => {
                    let given = self.unifier.resolve(&given);
                    let message = format!(
                        "expected type of field '{field}' is '{}' but provided type is '{given}'",
                        wanted.ty
                    );
                    self.report(*value, message);
                }
                None if !known.open() => {
                    self.report(*value, format!("undefined field '{field}'"));
                }
                _ => {}
            }
        }
        ty
    }
}

fn literal_type(literal: &Literal) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::String(text) => Type::String(Some(text.chars().count() as u64)),
        Literal::Bytes(bytes) => Type::Bytes(Some(bytes.len() as u64)),
    }
}

/// Whether a function of this (possibly dotted) name exists.
fn is_function(name: &str) -> bool {
    REGISTRY.find(name).is_some()
}
