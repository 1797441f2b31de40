//! Field paths and validation errors, in the words and order that upstream's clients show.

use std::fmt;

/// The path of a field inside an object, as validation messages print it: `spec.containers[0].name`,
/// `metadata.labels[app]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FieldPath(String);

impl FieldPath {
    /// A path of one element.
    pub fn new(root: &str) -> Self {
        Self(root.to_owned())
    }

    /// The empty path, the object itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// This path's child called `name`.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() { Self(name.to_owned()) } else { Self(format!("{}.{name}", self.0)) }
    }

    /// This path's list element `index`.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// This path's map entry `key`.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }

    /// The printed form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("<nil>") } else { f.write_str(&self.0) }
    }
}

/// What is wrong with a field; the names are those of `StatusCause.reason` (API conventions).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldErrorType {
    /// A referenced value does not exist.
    NotFound,
    /// The value is missing.
    Required,
    /// The value occurs more than once where it must be unique.
    Duplicate,
    /// The value is malformed or out of range.
    Invalid,
    /// The value is none of the allowed ones.
    NotSupported,
    /// The value is valid but not allowed here.
    Forbidden,
    /// The string is longer than allowed.
    TooLong,
    /// The list or map has more entries than allowed.
    TooMany,
    /// The server failed while checking.
    Internal,
    /// The value has another JSON type than the field.
    TypeInvalid,
}

impl FieldErrorType {
    /// The machine-readable reason in `StatusCause`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::Internal => "InternalError",
            Self::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::Internal => "Internal error",
            Self::TypeInvalid => "Invalid value",
        }
    }
}

/// One validation error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// What is wrong.
    pub kind: FieldErrorType,
    /// Where.
    pub field: FieldPath,
    /// The bad value as messages print it (strings quoted, numbers plain, objects as JSON); `None` where
    /// upstream prints none (Required, Forbidden, TooLong, Internal).
    pub value: Option<String>,
    /// The rule, in words.
    pub detail: String,
}

impl FieldError {
    /// The message without the field, as `StatusCause.message` carries it.
    pub fn body(&self) -> String {
        let mut text = self.kind.title().to_owned();
        if let Some(value) = &self.value {
            text.push_str(": ");
            text.push_str(value);
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

/// A value as validation messages print it.
pub trait BadValue {
    /// The printed form: strings in double quotes, everything else plain or as JSON.
    fn print(&self) -> String;
}

impl BadValue for str {
    fn print(&self) -> String {
        format!("{self:?}")
    }
}

impl BadValue for String {
    fn print(&self) -> String {
        format!("{self:?}")
    }
}

macro_rules! plain_bad_value {
    ($($t:ty)*) => { $(impl BadValue for $t {
        fn print(&self) -> String { self.to_string() }
    })* };
}
plain_bad_value!(i32 i64 u32 u64 usize bool f64);

impl BadValue for serde_json::Value {
    fn print(&self) -> String {
        self.to_string()
    }
}

impl<T: BadValue + ?Sized> BadValue for &T {
    fn print(&self) -> String {
        (**self).print()
    }
}

/// The errors found in one object, in the order found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldErrors(pub Vec<FieldError>);

impl FieldErrors {
    /// No errors.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends another list.
    pub fn extend(&mut self, other: FieldErrors) {
        self.0.extend(other.0);
    }

    fn push(
        &mut self,
        kind: FieldErrorType,
        field: FieldPath,
        value: Option<String>,
        detail: impl Into<String>,
    ) {
        self.0.push(FieldError { kind, field, value, detail: detail.into() });
    }

    /// The value is missing.
    pub fn required(&mut self, field: FieldPath, detail: impl Into<String>) {
        self.push(FieldErrorType::Required, field, None, detail);
    }

    /// The value is malformed or out of range.
    pub fn invalid(&mut self, field: FieldPath, value: impl BadValue, detail: impl Into<String>) {
        self.push(FieldErrorType::Invalid, field, Some(value.print()), detail);
    }

    /// The value has another type than the field.
    pub fn type_invalid(&mut self, field: FieldPath, value: impl BadValue, detail: impl Into<String>) {
        self.push(FieldErrorType::TypeInvalid, field, Some(value.print()), detail);
    }

    /// The value is not allowed here.
    pub fn forbidden(&mut self, field: FieldPath, detail: impl Into<String>) {
        self.push(FieldErrorType::Forbidden, field, None, detail);
    }

    /// The value occurs twice.
    pub fn duplicate(&mut self, field: FieldPath, value: impl BadValue) {
        self.push(FieldErrorType::Duplicate, field, Some(value.print()), "");
    }

    /// A referenced value does not exist.
    pub fn not_found(&mut self, field: FieldPath, value: impl BadValue) {
        self.push(FieldErrorType::NotFound, field, Some(value.print()), "");
    }

    /// The value is none of `allowed`, which is listed sorted.
    pub fn not_supported(&mut self, field: FieldPath, value: impl BadValue, allowed: &[&str]) {
        let mut allowed: Vec<String> = allowed.iter().map(|v| format!("{v:?}")).collect();
        allowed.sort();
        let detail = if allowed.is_empty() {
            String::new()
        } else {
            format!("supported values: {}", allowed.join(", "))
        };
        self.push(FieldErrorType::NotSupported, field, Some(value.print()), detail);
    }

    /// The string is longer than `max` bytes.
    pub fn too_long(&mut self, field: FieldPath, max: usize) {
        self.push(FieldErrorType::TooLong, field, None, format!("may not be more than {max} bytes"));
    }

    /// The list has `actual` entries, more than `max`.
    pub fn too_many(&mut self, field: FieldPath, actual: usize, max: usize) {
        self.push(
            FieldErrorType::TooMany,
            field,
            Some(actual.to_string()),
            format!("must have at most {max} items"),
        );
    }

    /// The server failed while checking.
    pub fn internal(&mut self, field: FieldPath, detail: impl Into<String>) {
        self.push(FieldErrorType::Internal, field, None, detail);
    }

    /// A field that must not change did: adds upstream's "field is immutable" when `new != old`.
    pub fn immutable<T: PartialEq>(&mut self, field: FieldPath, new: &T, old: &T, printed: impl BadValue) {
        if new != old {
            self.invalid(field, printed, "field is immutable");
        }
    }
}

impl fmt::Display for FieldErrors {
    /// One error is printed plain; several in brackets, separated by commas, each once.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut seen: Vec<String> = Vec::with_capacity(self.0.len());
        for error in &self.0 {
            let text = error.to_string();
            if !seen.contains(&text) {
                seen.push(text);
            }
        }
        match seen.as_slice() {
            [one] => f.write_str(one),
            many => write!(f, "[{}]", many.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_as_upstream_prints_them() {
        let spec = FieldPath::new("spec");
        let mut errors = FieldErrors::new();
        errors.required(spec.child("containers").index(0).child("name"), "");
        assert_eq!(errors.to_string(), "spec.containers[0].name: Required value");
        errors.invalid(spec.child("replicas"), -1, "must be greater than or equal to 0");
        errors.not_supported(spec.child("type"), "x", &["b", "a"]);
        assert_eq!(
            errors.to_string(),
            "[spec.containers[0].name: Required value, spec.replicas: Invalid value: -1: must be greater than or \
             equal to 0, spec.type: Unsupported value: \"x\": supported values: \"a\", \"b\"]"
        );
    }
}
