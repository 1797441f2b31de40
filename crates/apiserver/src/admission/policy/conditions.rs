//! Match conditions: whether somebody cares for a request at all.

use crate::expressions::{Admitted, Compiled, Scope};
use cel::{Budget, EvalError, MATCH_CONDITIONS_LIMIT, Val};
use serde_json::Value;

/// Whether all conditions hold. One that is false outweighs those that cannot be decided; the error says which and
/// why.
pub(crate) async fn hold(
    admitted: &Admitted,
    params: Option<&Value>,
    variables: &[(String, Compiled)],
    conditions: &[(&str, &Compiled)],
) -> Result<bool, String> {
    loop {
        match try_hold(admitted, params, variables, conditions) {
            Some(answer) => return answer,
            None => {
                admitted.asker.settle().await;
            }
        }
    }
}

/// `None` when an answer of the authorizer is missing.
fn try_hold(
    admitted: &Admitted,
    params: Option<&Value>,
    variables: &[(String, Compiled)],
    conditions: &[(&str, &Compiled)],
) -> Option<Result<bool, String>> {
    let scope = Scope::new(admitted, params, variables, Budget::new(MATCH_CONDITIONS_LIMIT));
    let mut errors = Vec::new();
    for (name, compiled) in conditions {
        let why = match compiled {
            Ok(program) => match scope.evaluate(program) {
                Ok(Val::Bool(true)) => continue,
                Ok(Val::Bool(false)) => return Some(Ok(false)),
                Ok(_) => "match condition did not evaluate to a bool".to_owned(),
                Err(EvalError::Pending) => return None,
                Err(error) => error.to_string(),
            },
            Err(why) => format!("compilation error: {why}"),
        };
        errors.push(format!("expression '{name}' resulted in error: {why}"));
    }
    Some(match errors.as_slice() {
        [] => Ok(true),
        [one] => Err(one.clone()),
        many => Err(format!("[{}]", many.join(", "))),
    })
}
