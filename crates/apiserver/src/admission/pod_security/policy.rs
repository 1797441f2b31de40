//! The levels that a namespace asks for.

use machinery::{FieldErrors, FieldPath};
use std::collections::BTreeMap;
use std::fmt;

const PREFIX: &str = "pod-security.kubernetes.io/";

/// How strict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    #[default]
    Privileged,
    Baseline,
    Restricted,
}

impl Level {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "privileged" => Some(Level::Privileged),
            "baseline" => Some(Level::Baseline),
            "restricted" => Some(Level::Restricted),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        }
    }
}

/// A level and the version label that goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Versioned {
    pub(super) level: Level,
    version: String,
}

impl Default for Versioned {
    fn default() -> Self {
        Self { level: Level::Privileged, version: "latest".to_owned() }
    }
}

impl fmt::Display for Versioned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.level.as_str(), self.version)
    }
}

/// What a namespace asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) enforce: Versioned,
    pub(super) audit: Versioned,
    pub(super) warn: Versioned,
}

type Labels = BTreeMap<String, String>;

fn valid_version(text: &str) -> bool {
    text == "latest"
        || text.strip_prefix("v1.").is_some_and(|minor| {
            !minor.is_empty()
                && minor.len() <= 5
                && minor.bytes().all(|b| b.is_ascii_digit())
                && (minor == "0" || !minor.starts_with('0'))
        })
}

impl Policy {
    /// Reads labels where there are no other defaults.
    pub(super) fn of(labels: Option<&Labels>) -> Self {
        Self::with(labels, &Self::default())
    }

    /// Reads labels; an enforced level that cannot be read is `restricted`, to be safe.
    pub(super) fn with(labels: Option<&Labels>, defaults: &Self) -> Self {
        let read = |mode: &str, broken: Level, default: &Versioned| {
            let label = |suffix: &str| labels.and_then(|l| l.get(&format!("{PREFIX}{mode}{suffix}")));
            let level = match label("") {
                None => default.level,
                Some(text) => Level::parse(text).unwrap_or(broken),
            };
            let version = label("-version")
                .filter(|v| valid_version(v))
                .map_or(default.version.as_str(), String::as_str);
            Versioned { level, version: version.to_owned() }
        };
        let mut policy = Self {
            enforce: read("enforce", Level::Restricted, &defaults.enforce),
            audit: read("audit", Level::Privileged, &defaults.audit),
            warn: read("warn", Level::Privileged, &defaults.warn),
        };
        // Who enforces a level is also told when a workload's template breaks it.
        if labels.is_none_or(|l| !l.contains_key(&format!("{PREFIX}warn")))
            && policy.enforce.level > policy.warn.level
        {
            policy.warn = policy.enforce.clone();
        }
        policy
    }
}

/// Reports labels that cannot be read.
pub(super) fn validate(labels: Option<&Labels>, errors: &mut FieldErrors) {
    let field = FieldPath::new("metadata").child("labels");
    for mode in ["enforce", "audit", "warn"] {
        let level = format!("{PREFIX}{mode}");
        if let Some(text) = labels.and_then(|l| l.get(&level))
            && Level::parse(text).is_none()
        {
            errors.invalid(field.key(&level), text, "must be one of privileged, baseline, restricted");
        }
        let version = format!("{level}-version");
        if let Some(text) = labels.and_then(|l| l.get(&version))
            && !valid_version(text)
        {
            errors.invalid(field.key(&version), text, "must be \"latest\" or \"v1.x\"");
        }
    }
}
