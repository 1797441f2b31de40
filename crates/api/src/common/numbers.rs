//! Rules for plain numbers.

use machinery::{FieldErrors, FieldPath};

/// What a negative number is told.
pub const NOT_NEGATIVE: &str = "must be greater than or equal to 0";
/// What a number below one is told.
pub const POSITIVE: &str = "must be greater than 0";

/// Reports a negative number.
pub fn not_negative(value: impl Into<i64>, path: FieldPath, errors: &mut FieldErrors) {
    let value = value.into();
    if value < 0 {
        errors.invalid(path, value, NOT_NEGATIVE);
    }
}

/// Reports a negative number, where one is set.
pub fn optional_not_negative<T: Into<i64>>(value: Option<T>, path: FieldPath, errors: &mut FieldErrors) {
    if let Some(value) = value {
        not_negative(value, path, errors);
    }
}

/// Reports a number below one.
pub fn positive(value: impl Into<i64>, path: FieldPath, errors: &mut FieldErrors) {
    let value = value.into();
    if value <= 0 {
        errors.invalid(path, value, POSITIVE);
    }
}

/// Reports a number outside `low..=high`.
pub fn within(value: impl Into<i64>, low: i64, high: i64, path: FieldPath, errors: &mut FieldErrors) {
    let value = value.into();
    if !(low..=high).contains(&value) {
        errors.invalid(path, value, super::names::inclusive_range(low, high));
    }
}
