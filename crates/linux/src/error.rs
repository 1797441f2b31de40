//! [`Error`]: what was attempted, what the kernel said, and what to do about it.

use std::io;

/// A failed request to the kernel.
#[derive(Debug, thiserror::Error)]
#[error("failed to {what}: {why}{}", hint(.why))]
pub struct Error {
    /// What was attempted, as in "failed to …".
    pub what: String,
    /// What the kernel answered.
    #[source]
    pub why: io::Error,
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A refusal of our own, worded like one of the kernel's.
    pub fn refused(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { what: what.into(), why: io::Error::new(io::ErrorKind::InvalidInput, why.into()) }
    }

    /// The kernel's error number, when it was the kernel that refused.
    pub fn errno(&self) -> Option<i32> {
        self.why.raw_os_error()
    }
}

fn hint(why: &io::Error) -> &'static str {
    match why.raw_os_error() {
        Some(libc::EPERM) => "; run as root with all capabilities",
        Some(libc::ENOSYS) => "; the kernel is too old, 5.12 or newer is needed",
        Some(libc::ENOSPC) => "; free disk space or inodes",
        Some(libc::EMFILE | libc::ENFILE) => "; raise the limit of open files",
        _ => "",
    }
}

/// Adds "failed to …" to the errors of the standard library, rustix and nix.
pub trait Context<T> {
    /// Says what was attempted.
    fn context(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|why| Error { what: what(), why: why.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_end_in_a_next_step() {
        let failed: std::result::Result<(), _> = Err(io::Error::from_raw_os_error(libc::EPERM));
        let shown = failed.context(|| "mount /proc".to_owned()).unwrap_err().to_string();
        assert!(shown.starts_with("failed to mount /proc: ") && shown.ends_with("capabilities"), "{shown}");
    }
}
