//! Profiles: what JSON profiles of other runtimes look like, reduced to what the compiler needs.

use crate::error::{Context, Error, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The largest profile file read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// A filter as people write it: what happens to listed system calls, and to all others.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// For calls that no rule names.
    pub default_action: Action,
    /// The error number for [`Action::Errno`] as the default; EPERM when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_errno_ret: Option<u16>,
    /// The first rule that names a call and whose arguments all match decides.
    #[serde(default)]
    pub syscalls: Vec<Rule>,
}

/// One rule of a [`Profile`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// System calls. Names that this machine does not have are ignored, as profiles serve many architectures.
    pub names: Vec<String>,
    /// What happens.
    pub action: Action,
    /// The error number for [`Action::Errno`]; EPERM when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno_ret: Option<u16>,
    /// All must match.
    #[serde(default, deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Argument>,
    /// When the rule counts at all.
    #[serde(default, skip_serializing_if = "Conditions::is_empty")]
    pub includes: Conditions,
    /// When it does not.
    #[serde(default, skip_serializing_if = "Conditions::is_empty")]
    pub excludes: Conditions,
}

/// What a rule can depend on.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Conditions {
    /// Capabilities that the container has, all of them for `includes`, any for `excludes`.
    #[serde(default)]
    pub caps: Vec<String>,
    /// Architectures by their short names (`amd64`, `arm64`), any.
    #[serde(default)]
    pub arches: Vec<String>,
}

impl Conditions {
    fn is_empty(&self) -> bool {
        self.caps.is_empty() && self.arches.is_empty()
    }
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Action {
    /// It runs.
    #[serde(rename = "SCMP_ACT_ALLOW")]
    Allow,
    /// It runs and is logged by the kernel.
    #[serde(rename = "SCMP_ACT_LOG")]
    Log,
    /// It fails with an error number.
    #[serde(rename = "SCMP_ACT_ERRNO")]
    Errno,
    /// The thread gets SIGSYS.
    #[serde(rename = "SCMP_ACT_TRAP")]
    Trap,
    /// The thread dies.
    #[serde(rename = "SCMP_ACT_KILL", alias = "SCMP_ACT_KILL_THREAD")]
    KillThread,
    /// The process dies.
    #[serde(rename = "SCMP_ACT_KILL_PROCESS")]
    KillProcess,
}

/// A comparison of one argument.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Argument {
    /// Which, from 0 to 5.
    pub index: u8,
    /// What it is compared with; for [`Operator::MaskedEqual`] the mask.
    pub value: u64,
    /// For [`Operator::MaskedEqual`], what the masked argument must equal.
    #[serde(default)]
    pub value_two: u64,
    /// How.
    pub op: Operator,
}

/// How an argument is compared, as unsigned 64-bit numbers.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Operator {
    /// argument != value
    #[serde(rename = "SCMP_CMP_NE")]
    NotEqual,
    /// argument < value
    #[serde(rename = "SCMP_CMP_LT")]
    Less,
    /// argument <= value
    #[serde(rename = "SCMP_CMP_LE")]
    LessOrEqual,
    /// argument == value
    #[serde(rename = "SCMP_CMP_EQ")]
    Equal,
    /// argument >= value
    #[serde(rename = "SCMP_CMP_GE")]
    GreaterOrEqual,
    /// argument > value
    #[serde(rename = "SCMP_CMP_GT")]
    Greater,
    /// argument & value == `value_two`
    #[serde(rename = "SCMP_CMP_MASKED_EQ")]
    MaskedEqual,
}

impl Profile {
    /// Reads a profile file of the node.
    pub fn load(path: &Path) -> Result<Self> {
        let what = || format!("read seccomp profile {}", path.display());
        let size = std::fs::metadata(path).context(what)?.len();
        if size > MAX_BYTES {
            return Err(Error::refused(what(), format!("it has {size} bytes, more than {MAX_BYTES}")));
        }
        let text = std::fs::read(path).context(what)?;
        serde_json::from_slice(&text).map_err(std::io::Error::from).context(what)
    }

    /// Keeps the rules that count on this machine for a container with these capabilities.
    #[must_use]
    pub fn resolved(mut self, held: crate::capability::Set) -> Self {
        let here = |arches: &[String]| arches.iter().any(|arch| arch == super::names::ARCHITECTURE);
        self.syscalls.retain(|rule| {
            let includes = &rule.includes;
            let excludes = &rule.excludes;
            (includes.arches.is_empty() || here(&includes.arches))
                && includes.caps.iter().all(|cap| held.contains(cap))
                && !here(&excludes.arches)
                && !excludes.caps.iter().any(|cap| held.contains(cap))
        });
        for rule in &mut self.syscalls {
            rule.includes = Conditions::default();
            rule.excludes = Conditions::default();
        }
        self
    }
}

// Profiles in the wild write `"args": null`.
fn or_empty<'de, D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Vec<Argument>, D::Error> {
    Ok(Option::<Vec<Argument>>::deserialize(from)?.unwrap_or_default())
}
