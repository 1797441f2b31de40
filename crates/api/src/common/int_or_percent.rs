//! Numbers that may be given as a percentage (`maxSurge`, `minAvailable`).

use super::numbers::NOT_NEGATIVE;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use machinery::{FieldErrors, FieldPath};

/// The percentage in `25%`; `None` when it is something else.
fn percent(text: &str) -> Option<i64> {
    let digits = text.strip_suffix('%')?;
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok())?
}

/// The number that `value` means of `total`; percentages round up or down. `None` when it is malformed.
pub fn scaled(value: &IntOrString, total: i32, round_up: bool) -> Option<i32> {
    let percent = match value {
        IntOrString::Int(number) => return Some(*number),
        IntOrString::String(text) => percent(text)?,
    };
    let product = i64::from(total).checked_mul(percent)?;
    let rounded = if round_up { (product + 99).div_euclid(100) } else { product.div_euclid(100) };
    i32::try_from(rounded).ok()
}

/// Whether `value` is a zero, as a number or a percentage.
pub fn is_zero(value: &IntOrString) -> bool {
    scaled(value, 100, false) == Some(0)
}

/// `value` as text.
pub fn display(value: &IntOrString) -> String {
    match value {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(text) => text.clone(),
    }
}

/// `value` as messages print it.
pub fn printed(value: &IntOrString) -> serde_json::Value {
    match value {
        IntOrString::Int(number) => (*number).into(),
        IntOrString::String(text) => text.as_str().into(),
    }
}

/// Reports what is neither a number of zero or more nor a percentage.
pub fn validate(value: &IntOrString, path: &FieldPath, errors: &mut FieldErrors) {
    match value {
        IntOrString::Int(number @ ..0) => errors.invalid(path.clone(), *number, NOT_NEGATIVE),
        IntOrString::Int(_) => {}
        IntOrString::String(text) if percent(text).is_some() => {}
        IntOrString::String(text) => errors.invalid(
            path.clone(),
            text,
            "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex \
             used for validation is '[0-9]+%')",
        ),
    }
}

/// Reports a percentage above 100.
pub fn validate_not_over_100(value: &IntOrString, path: &FieldPath, errors: &mut FieldErrors) {
    if let IntOrString::String(text) = value
        && percent(text).is_some_and(|p| p > 100)
    {
        errors.invalid(path.clone(), text, "must not be greater than 100%");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_round_both_ways() {
        let p = |text: &str| IntOrString::String(text.to_owned());
        assert_eq!(scaled(&p("25%"), 3, true), Some(1));
        assert_eq!(scaled(&p("25%"), 3, false), Some(0));
        assert_eq!(scaled(&IntOrString::Int(7), 3, false), Some(7));
        assert_eq!(scaled(&p("x%"), 3, false), None);
        assert_eq!(scaled(&p("%"), 3, false), None);
        assert!(is_zero(&p("0%")) && is_zero(&IntOrString::Int(0)) && !is_zero(&p("1%")));
    }
}
