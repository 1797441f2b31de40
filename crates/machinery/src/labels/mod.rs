//! Label selectors: `app=web,tier in (a,b),!canary` (Kubernetes documentation, "Labels and Selectors").
//!
//! Deliberately absent: `metav1.LabelSelector` itself; callers hand its two parts to [`Selector::from_parts`].

mod parse;

use crate::field::{FieldErrors, FieldPath};
use crate::names;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// How a requirement compares a label's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// `key=value`.
    Equals,
    /// `key==value`.
    DoubleEquals,
    /// `key!=value`: also true without the label.
    NotEquals,
    /// `key in (a,b)`.
    In,
    /// `key notin (a,b)`: also true without the label.
    NotIn,
    /// `key`.
    Exists,
    /// `!key`.
    DoesNotExist,
    /// `key>1`: both sides are integers.
    GreaterThan,
    /// `key<1`: both sides are integers.
    LessThan,
}

/// Where labels are looked up: a map, or anything that answers by key.
pub trait Labels {
    /// The value of the label `key`, if set.
    fn label(&self, key: &str) -> Option<&str>;
}

impl Labels for BTreeMap<String, String> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

impl Labels for Option<BTreeMap<String, String>> {
    fn label(&self, key: &str) -> Option<&str> {
        self.as_ref().and_then(|labels| labels.label(key))
    }
}

impl<L: Labels + ?Sized> Labels for &L {
    fn label(&self, key: &str) -> Option<&str> {
        (**self).label(key)
    }
}

/// One condition of a selector. Always valid: made by [`Requirement::new`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Requirement {
    key: String,
    operator: Operator,
    values: BTreeSet<String>,
}

impl Requirement {
    /// Checks and makes a requirement. The error has upstream's words.
    pub fn new(
        key: &str,
        operator: Operator,
        values: impl IntoIterator<Item = String>,
    ) -> Result<Self, String> {
        let values: BTreeSet<String> = values.into_iter().collect();
        let mut errors = FieldErrors::new();
        check_key(key, FieldPath::new("key"), &mut errors);
        let path = FieldPath::new("values");
        let printed = || serde_json::Value::from(values.iter().cloned().collect::<Vec<_>>());
        match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                errors.invalid(
                    path.clone(),
                    printed(),
                    "for 'in', 'notin' operators, values set can't be empty",
                );
            }
            Operator::Equals | Operator::DoubleEquals | Operator::NotEquals if values.len() != 1 => {
                errors.invalid(
                    path.clone(),
                    printed(),
                    "exact-match compatibility requires one single value",
                );
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                errors.invalid(
                    path.clone(),
                    printed(),
                    "values set must be empty for exists and does not exist",
                );
            }
            Operator::GreaterThan | Operator::LessThan => check_integers(&values, &path, &mut errors),
            _ => {}
        }
        for (index, value) in values.iter().enumerate() {
            let wrong = names::label_value(value);
            if !wrong.is_empty() {
                errors.invalid(path.index(index).key(key), value, wrong.join("; "));
            }
        }
        if errors.is_empty() {
            Ok(Self { key: key.to_owned(), operator, values })
        } else {
            Err(errors.to_string())
        }
    }

    /// The label's key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The comparison.
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// The values, sorted.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(String::as_str)
    }

    /// Whether `labels` meet it.
    pub fn matches(&self, labels: &(impl Labels + ?Sized)) -> bool {
        let value = labels.label(&self.key);
        match self.operator {
            Operator::Equals | Operator::DoubleEquals | Operator::In => {
                value.is_some_and(|value| self.values.contains(value))
            }
            Operator::NotEquals | Operator::NotIn => value.is_none_or(|value| !self.values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => self.compare(value).is_some_and(|(label, bound)| label > bound),
            Operator::LessThan => self.compare(value).is_some_and(|(label, bound)| label < bound),
        }
    }

    fn compare(&self, label: Option<&str>) -> Option<(i64, i64)> {
        Some((label?.parse().ok()?, self.values.first()?.parse().ok()?))
    }
}

fn check_key(key: &str, path: FieldPath, errors: &mut FieldErrors) {
    let wrong = names::qualified_name(key);
    if !wrong.is_empty() {
        errors.invalid(path, key, wrong.join("; "));
    }
}

fn check_integers(values: &BTreeSet<String>, path: &FieldPath, errors: &mut FieldErrors) {
    if values.len() != 1 {
        let printed = serde_json::Value::from(values.iter().cloned().collect::<Vec<_>>());
        errors.invalid(path.clone(), printed, "for 'Gt', 'Lt' operators, exactly one value is required");
    }
    for (index, value) in values.iter().enumerate().filter(|(_, value)| value.parse::<i64>().is_err()) {
        errors.invalid(path.index(index), value, "for 'Gt', 'Lt' operators, the value must be an integer");
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = self.values.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        let key = &self.key;
        match self.operator {
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::DoubleEquals => write!(f, "{key}=={values}"),
            Operator::NotEquals => write!(f, "{key}!={values}"),
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
        }
    }
}

/// Requirements that must all be met.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Selector {
    /// Sorted by key.
    requirements: Vec<Requirement>,
    nothing: bool,
}

impl Selector {
    /// Matches every object.
    pub fn everything() -> Self {
        Self { requirements: Vec::new(), nothing: false }
    }

    /// Matches no object.
    pub fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }

    /// Requirements that must all be met.
    pub fn new(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self { requirements, nothing: false }
    }

    /// Parses the string form; an empty string is everything. The error has upstream's words.
    pub fn parse(text: &str) -> Result<Self, String> {
        parse::parse(text).map(Self::new)
    }

    /// Every label of `labels` must be equal; an empty map is everything. Fails on invalid labels.
    pub fn from_labels<'a>(
        labels: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> Result<Self, String> {
        Self::from_parts(labels, std::iter::empty::<(&str, &str, &[String])>())
    }

    /// A selector from the parts of a `metav1.LabelSelector`: `matchLabels`, and `matchExpressions` as (key,
    /// operator, values). An absent LabelSelector is [`Selector::nothing`], an empty one everything.
    pub fn from_parts<'a, V: AsRef<[String]>>(
        match_labels: impl IntoIterator<Item = (&'a String, &'a String)>,
        match_expressions: impl IntoIterator<Item = (&'a str, &'a str, V)>,
    ) -> Result<Self, String> {
        let mut requirements = Vec::new();
        for (key, value) in match_labels {
            requirements.push(Requirement::new(key, Operator::Equals, [value.clone()])?);
        }
        for (key, operator, values) in match_expressions {
            let operator = match operator {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => return Err(format!("{other:?} is not a valid label selector operator")),
            };
            requirements.push(Requirement::new(key, operator, values.as_ref().iter().cloned())?);
        }
        Ok(Self::new(requirements))
    }

    /// Whether it selects without restriction.
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// Whether it selects no object at all.
    pub fn is_nothing(&self) -> bool {
        self.nothing
    }

    /// The requirements, sorted by key.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether `labels` meet every requirement.
    pub fn matches(&self, labels: &(impl Labels + ?Sized)) -> bool {
        !self.nothing && self.requirements.iter().all(|requirement| requirement.matches(labels))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            requirement.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
