//! The terminal in raw mode, for `exec -it` and `attach`: keys go to the container as they are pressed, and whatever happens
//! the terminal is put back as it was.

use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use serde_json::{Value, json};
use std::io;

/// Raw mode until dropped.
#[derive(Debug)]
pub(crate) struct RawMode {
    before: Termios,
}

impl RawMode {
    /// Sets standard input to raw mode, if it is a terminal.
    pub(crate) fn set() -> Option<Self> {
        if !is_terminal() {
            return None;
        }
        let before = tcgetattr(io::stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Self { before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // The terminal may be gone with its user.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Whether standard input is a terminal.
pub(crate) fn is_terminal() -> bool {
    isatty(io::stdin())
}

/// The terminal's size as the channel protocol sends it.
pub(crate) fn size() -> Option<Value> {
    let size = tcgetwinsize(io::stdout()).or_else(|_| tcgetwinsize(io::stdin())).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then(|| json!({"Width": size.ws_col, "Height": size.ws_row}))
}
