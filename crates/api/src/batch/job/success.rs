//! `successPolicy` of indexed jobs (KEP-3998), and the lists of indexes that it names.

use crate::common::text;
use k8s_openapi::api::batch::v1::JobSpec;
use machinery::{FieldErrors, FieldPath};
use serde_json::json;

const MAX_RULES: usize = 20;
const MAX_LIST: usize = 64 * 1024;

/// Reports a bad success policy of a spec at `path`.
pub(super) fn validate(spec: &JobSpec, path: &FieldPath, errors: &mut FieldErrors) {
    let Some(policy) = &spec.success_policy else { return };
    let path = path.child("successPolicy");
    if text(&spec.completion_mode) != "Indexed" {
        errors.invalid(path.clone(), json!({}), "requires indexed completion mode");
    }
    let path = path.child("rules");
    if policy.rules.is_empty() {
        errors.required(
            path.clone(),
            "at least one rules must be specified when the successPolicy is specified",
        );
    }
    if policy.rules.len() > MAX_RULES {
        errors.too_many(path.clone(), policy.rules.len(), MAX_RULES);
    }
    let completions = spec.completions.unwrap_or(0);
    for (at, rule) in policy.rules.iter().enumerate() {
        let at = path.index(at);
        if rule.succeeded_count.is_none() && rule.succeeded_indexes.is_none() {
            errors
                .required(at.clone(), "at least one of succeededCount or succeededIndexes must be specified");
        }
        let mut total = 0;
        if let Some(list) = &rule.succeeded_indexes {
            let at = at.child("succeededIndexes");
            if list.len() > MAX_LIST {
                errors.too_long(at.clone(), MAX_LIST);
            }
            match count(list, completions) {
                Ok(found) => total = found,
                Err(why) => errors.invalid(at, list, format!("error parsing succeededIndexes: {why}")),
            }
        }
        let Some(wanted) = rule.succeeded_count else { continue };
        let at = at.child("succeededCount");
        crate::common::numbers::not_negative(wanted, at.clone(), errors);
        if wanted > completions {
            let why =
                format!("must be less than or equal to {completions} (the number of specified completions)");
            errors.invalid(at.clone(), wanted, why);
        }
        if total > 0 && wanted > total {
            let why = format!(
                "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
            );
            errors.invalid(at, wanted, why);
        }
    }
}

/// How many indexes a list such as `0,2-4` has; what is wrong with it otherwise.
fn count(list: &str, completions: i32) -> Result<i32, String> {
    let number = |text: &str| -> Result<i32, String> {
        let index = text
            .parse::<i32>()
            .map_err(|_| format!("cannot convert string to integer for index: {text:?}"))?;
        match index {
            index if index >= completions => Err(format!("too large index: {text:?}")),
            index => Ok(index),
        }
    };
    let (mut total, mut previous) = (0_i32, -1);
    if list.is_empty() {
        return Ok(0);
    }
    for interval in list.split(',') {
        let bounds: Vec<&str> = interval.split('-').collect();
        let (first, last) = match bounds.as_slice() {
            [one] => (number(one)?, number(one)?),
            [first, last] => (number(first)?, number(last)?),
            _ => {
                return Err(format!(
                    "the fragment {interval:?} violates the requirement that an index interval can have at most two parts separated by '-'"
                ));
            }
        };
        if first <= previous {
            return Err(format!("non-increasing order, previous: {previous}, current: {first}"));
        }
        if bounds.len() == 2 && last <= first {
            return Err(format!("non-increasing order, previous: {first}, current: {last}"));
        }
        total = total.saturating_add(last - first + 1);
        previous = last;
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn lists_of_indexes() {
        assert_eq!(count("0,2-4,9", 10), Ok(5));
        for (bad, why) in [
            ("10", "too large"),
            ("3-1", "non-increasing"),
            ("1,1", "non-increasing"),
            ("a", "convert"),
            ("1-2-3", "two parts"),
        ] {
            assert!(count(bad, 10).is_err_and(|found| found.contains(why)), "{bad}");
        }
    }
}
