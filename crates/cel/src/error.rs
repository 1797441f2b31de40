//! What can be wrong with an expression, and with an evaluation.

use std::fmt;

/// One finding of the parser or the checker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// Byte offset in the expression.
    pub at: usize,
    /// What is wrong.
    pub message: String,
}

/// Why an expression does not compile. Prints as upstream's engine prints it, with the line and a pointer into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError {
    /// Findings in the order of the text; never empty.
    pub issues: Vec<Issue>,
    source: String,
}

impl CompileError {
    pub(crate) fn new(source: &str, mut issues: Vec<Issue>) -> Self {
        issues.sort_by_key(|issue| issue.at);
        Self { issues, source: source.to_owned() }
    }
}

impl std::error::Error for CompileError {}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (count, issue) in self.issues.iter().enumerate() {
            let mut at = issue.at.min(self.source.len());
            while !self.source.is_char_boundary(at) {
                at -= 1;
            }
            let start = self.source[..at].rfind('\n').map_or(0, |newline| newline + 1);
            let line = self.source[..at].matches('\n').count() + 1;
            let column = self.source[start..at].chars().count();
            let text = self.source[start..].lines().next().unwrap_or_default();
            if count > 0 {
                f.write_str("\n")?;
            }
            let message = &issue.message;
            write!(f, "ERROR: <input>:{line}:{}: {message}\n | {text}\n | ", column + 1)?;
            write!(f, "{}^", ".".repeat(column))?;
        }
        Ok(())
    }
}

/// Why an evaluation has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvalError {
    /// The expression fails on these values, in upstream's words (`no such key: a`).
    Failed(String),
    /// It costs more than it may.
    CostExceeded,
    /// All evaluations of the run together cost more than they may.
    BudgetExceeded,
    /// It waits for an answer that the host has to fetch first (see [`crate::Authorize`]).
    Pending,
}

impl EvalError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    pub(crate) fn no_such_overload() -> Self {
        Self::new("no such overload")
    }

    /// Whether another operand of `&&` or `||` may make up for it.
    pub(crate) fn is_value_error(&self) -> bool {
        matches!(self, Self::Failed(_))
    }
}

impl std::error::Error for EvalError {}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(message) => f.write_str(message),
            Self::CostExceeded => f.write_str("operation cancelled: actual cost limit exceeded"),
            Self::BudgetExceeded => f.write_str("running out of cost budget"),
            Self::Pending => f.write_str("waiting for an answer"),
        }
    }
}
