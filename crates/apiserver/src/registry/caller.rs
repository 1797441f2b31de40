//! [`Caller`]: who makes a call of the registry, and the warnings that they will get.

use crate::contract::UserInfo;
use parking_lot::Mutex;
use std::sync::Arc;

/// Bytes of warnings that an answer may carry (upstream: 4 KiB, then nothing more).
const WARNING_BYTES: usize = 4096;

/// Who makes a call.
#[derive(Debug)]
pub struct Caller {
    /// Their identity.
    pub user: Arc<UserInfo>,
    /// The field manager of writes that name none: the first part of the user agent.
    pub manager: String,
    warnings: Mutex<Vec<String>>,
}

impl Caller {
    /// A caller; `user_agent` may be empty.
    pub fn new(user: Arc<UserInfo>, user_agent: &str) -> Self {
        let manager = user_agent.split('/').next().unwrap_or_default();
        let manager: String = manager.chars().filter(|c| !c.is_control()).take(128).collect();
        let manager = if manager.is_empty() { "unknown".to_owned() } else { manager };
        Self { user, manager, warnings: Mutex::default() }
    }

    /// Adds warnings; each once, and as many as fit.
    pub fn warn(&self, texts: impl IntoIterator<Item = String>) {
        let mut warnings = self.warnings.lock();
        for text in texts {
            let used: usize = warnings.iter().map(String::len).sum();
            if used + text.len() <= WARNING_BYTES && !warnings.contains(&text) {
                warnings.push(text);
            }
        }
    }

    /// The warnings so far.
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.warnings.lock())
    }
}
