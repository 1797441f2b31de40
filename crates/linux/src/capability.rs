//! Linux capabilities: names, the sets of a process, giving them up.

use crate::error::{Context, Error, Result};
use rustix::thread::{CapabilitySet, CapabilitySets};
use serde::{Deserialize, Serialize};

/// A set of capabilities, one bit each, numbered as the kernel does.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Set(u64);

/// Kernel names without `CAP_`, at the position of their number (capability.h).
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

impl Set {
    /// Every capability this crate knows.
    pub const ALL: Self = Self((1 << NAMES.len()) - 1);

    /// The set of these names, with or without `CAP_`, in any case.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let mut set = Self::default();
        for name in names {
            set.0 |= 1 << number(name)?;
        }
        Ok(set)
    }

    /// What the calling thread is permitted now.
    pub fn permitted() -> Result<Self> {
        let sets = rustix::thread::capabilities(None).context(|| "read own capabilities".to_owned())?;
        Ok(Self(sets.permitted.bits()).intersection(Self::ALL))
    }

    /// Members of either.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Members of both.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Members of this one only.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether `name` (without `CAP_`) is a member.
    pub fn contains(self, name: &str) -> bool {
        number(name).is_ok_and(|bit| self.0 & (1 << bit) != 0)
    }

    /// The members' kernel names without `CAP_`.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.iter().enumerate().filter(move |(bit, _)| self.0 & (1 << bit) != 0).map(|(_, name)| *name)
    }

    fn flags(self) -> CapabilitySet {
        CapabilitySet::from_bits_retain(self.0)
    }
}

fn number(name: &str) -> Result<usize> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    NAMES.iter().position(|known| *known == bare).ok_or_else(|| {
        Error::refused(format!("use capability {name:?}"), "no such capability; see capabilities(7)")
    })
}

/// What a process about to start may do.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sets {
    /// What any later program of it can gain.
    pub bounding: Set,
    /// What it holds and uses, if it runs as root; for others see `ambient`.
    pub permitted: Set,
    /// What survives `execve` through file capabilities.
    pub inheritable: Set,
    /// What survives `execve` for users other than root.
    pub ambient: Set,
}

/// Drops from the bounding set whatever is not in `keep`. Needs `CAP_SETPCAP`.
pub fn limit_bounding(keep: Set) -> Result<()> {
    for name in Set::ALL.without(keep).names() {
        let flag = Set::of([name])?.flags();
        match rustix::thread::remove_capability_from_bounding_set(flag) {
            // EINVAL: this kernel is older than the capability.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(error).context(|| format!("drop capability {name}")),
        }
    }
    Ok(())
}

/// Makes these the calling thread's capabilities. Asking for one the thread does not hold is an error that names it.
pub fn apply(sets: Sets) -> Result<()> {
    let missing = sets.permitted.without(Set::permitted()?);
    if let Some(name) = missing.names().next() {
        return Err(Error::refused(
            format!("give capability {name} to a process"),
            "the node's own process does not hold it; start it with this capability or do not ask for it",
        ));
    }
    let wanted = CapabilitySets {
        effective: sets.permitted.flags(),
        permitted: sets.permitted.flags(),
        inheritable: sets.inheritable.flags(),
    };
    rustix::thread::set_capabilities(None, wanted).context(|| "set capabilities".to_owned())?;
    match rustix::thread::clear_ambient_capability_set() {
        Ok(()) | Err(rustix::io::Errno::INVAL) => {}
        Err(error) => return Err(error).context(|| "clear ambient capabilities".to_owned()),
    }
    for name in sets.ambient.names() {
        rustix::thread::configure_capability_in_ambient_set(Set::of([name])?.flags(), true)
            .context(|| format!("keep capability {name} across execve"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_every_spelling() {
        let set = Set::of(["CAP_NET_RAW", "chown", "Net_Raw"]).unwrap();
        assert_eq!(set.names().collect::<Vec<_>>(), ["CHOWN", "NET_RAW"]);
        assert!(set.contains("NET_RAW") && !set.contains("SYS_ADMIN"));
        let error = Set::of(["CAP_FLY"]).unwrap_err().to_string();
        assert!(error.contains("\"CAP_FLY\"") && error.contains("capabilities(7)"), "{error}");
        assert_eq!(Set::ALL.without(Set::of(["BPF"]).unwrap()).names().count(), NAMES.len() - 1);
    }
}
