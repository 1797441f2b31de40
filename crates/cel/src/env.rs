//! [`Env`]: what an expression may name. [`Program`]: a compiled expression.

use crate::ast::{Ast, Expr, Literal};
use crate::check;
use crate::cost::{self, Estimate};
use crate::error::{CompileError, EvalError, Issue};
use crate::eval;
use crate::parse;
use crate::types::Type;
use crate::value::Val;
use regex::Regex;
use std::sync::Arc;

/// Finds an object type by the name that expressions construct it with (`Object.spec{…}`).
pub type TypeLookup = Arc<dyn Fn(&str) -> Option<Type> + Send + Sync>;

/// The variables that expressions may use, with their types. Names may be dotted: `variables.foo` is found before a
/// field `foo` of a variable `variables`.
#[derive(Clone, Default)]
pub struct Env {
    variables: Vec<(String, Type)>,
    types: Option<TypeLookup>,
}

impl Env {
    /// No variables; all libraries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares a variable.
    #[must_use]
    pub fn var(mut self, name: impl Into<String>, ty: Type) -> Self {
        self.declare(name, ty);
        self
    }

    /// Declares a variable; an earlier one of the same name is replaced.
    pub fn declare(&mut self, name: impl Into<String>, ty: Type) {
        let name = name.into();
        self.variables.retain(|(known, _)| *known != name);
        self.variables.push((name, ty));
    }

    /// Object types that expressions may construct.
    #[must_use]
    pub fn with_types(mut self, types: TypeLookup) -> Self {
        self.types = Some(types);
        self
    }

    pub(crate) fn variable(&self, name: &str) -> Option<&Type> {
        self.variables.iter().find(|(known, _)| known == name).map(|(_, ty)| ty)
    }

    pub(crate) fn constructible(&self, name: &str) -> Option<Type> {
        self.types.as_ref().and_then(|types| types(name))
    }

    /// Parses, checks and estimates an expression.
    pub fn compile(&self, expression: &str) -> Result<Program, CompileError> {
        let ast = parse::parse(expression)?;
        let checked = check::check(self, ast).map_err(|issues| CompileError::new(expression, issues))?;
        let estimate = cost::estimate(&checked);
        let patterns = patterns(&checked.ast).map_err(|issues| CompileError::new(expression, issues))?;
        let result = checked.types[checked.ast.root as usize].clone();
        Ok(Program { ast: checked.ast, names: checked.globals, result, estimate, patterns })
    }
}

/// Patterns that are written in the expression are compiled, and judged, with it.
fn patterns(ast: &Ast) -> Result<Vec<(String, Regex)>, Vec<Issue>> {
    let (mut found, mut issues) = (Vec::new(), Vec::new());
    for node in &ast.nodes {
        let Expr::Invoke { function, args } = &node.expr else { continue };
        let name = crate::signature::REGISTRY.entry(*function).def.name;
        if !matches!(name, "matches" | "find" | "findAll") || args.len() < 2 {
            continue;
        }
        let Expr::Literal(Literal::String(text)) = ast.expr(args[1]) else { continue };
        if found.iter().any(|(known, _): &(String, Regex)| **known == **text) {
            continue;
        }
        match crate::re2::compile(text) {
            Ok(regex) => found.push((text.to_string(), regex)),
            Err(why) => issues.push(Issue {
                at: ast.node(args[1]).at as usize,
                message: format!("invalid {name} argument: {why}"),
            }),
        }
    }
    if issues.is_empty() { Ok(found) } else { Err(issues) }
}

/// Where an evaluation finds the values of variables. Implementations may compute them when they are asked for.
pub trait Variables<'a> {
    /// The value of a declared variable. `None` is an evaluation error.
    fn get(&self, name: &str) -> Option<Result<Val<'a>, EvalError>>;
}

impl<'a> Variables<'a> for [(&str, Val<'a>)] {
    fn get(&self, name: &str) -> Option<Result<Val<'a>, EvalError>> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| Ok(value.clone()))
    }
}

impl<'a, const N: usize> Variables<'a> for [(&str, Val<'a>); N] {
    fn get(&self, name: &str) -> Option<Result<Val<'a>, EvalError>> {
        Variables::get(self.as_slice(), name)
    }
}

/// Upstream's limit of a single evaluation, in units of cost.
pub const PER_CALL_LIMIT: u64 = 1_000_000;
/// Upstream's limit of all expressions of one run (a policy, the rules of one object).
pub const RUN_LIMIT: u64 = 10_000_000;
/// Upstream's limit of all match conditions of one run.
pub const MATCH_CONDITIONS_LIMIT: u64 = 2_500_000;

/// What evaluations may cost, in upstream's units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Each of them.
    pub per_call: u64,
    /// All that are still to come.
    pub remaining: u64,
}

impl Budget {
    /// Upstream's limits with `remaining` for all evaluations together.
    pub fn new(remaining: u64) -> Self {
        Self { per_call: PER_CALL_LIMIT, remaining }
    }

    /// Whether nothing is left.
    pub fn is_spent(&self) -> bool {
        self.remaining == 0
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(RUN_LIMIT)
    }
}

/// A compiled expression. Shared between threads freely.
#[derive(Clone, Debug)]
pub struct Program {
    pub(crate) ast: Ast,
    pub(crate) names: Vec<String>,
    pub(crate) result: Type,
    pub(crate) estimate: Estimate,
    pub(crate) patterns: Vec<(String, Regex)>,
}

impl Program {
    /// Type of its value.
    pub fn result_type(&self) -> &Type {
        &self.result
    }

    /// What an evaluation costs at least and at most, judged by the declared sizes.
    pub fn estimate(&self) -> Estimate {
        self.estimate
    }

    /// Declared variables that it uses.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Whether it uses a declared variable.
    pub fn uses(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }

    /// Evaluates it. What it costs is taken from the budget, also when it fails; when the budget has less left than
    /// it cost, nothing is left and the answer is [`EvalError::BudgetExceeded`].
    pub fn evaluate<'a>(
        &'a self,
        variables: &dyn Variables<'a>,
        budget: &mut Budget,
    ) -> Result<Val<'a>, EvalError> {
        let (result, cost) = eval::run(self, variables, budget.per_call.min(budget.remaining));
        match budget.remaining.checked_sub(cost) {
            Some(left) => budget.remaining = left,
            None => {
                let within = cost <= budget.per_call;
                budget.remaining = 0;
                return Err(if within { EvalError::BudgetExceeded } else { EvalError::CostExceeded });
            }
        }
        result
    }
}
