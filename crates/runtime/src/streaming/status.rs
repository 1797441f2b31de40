//! What the error channel says at the end of a session: a `Status`, as `meta/v1` has it.

use super::channels::Output;
use serde_json::{Value, json};

/// How a session ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// With this exit code.
    Exited(i32),
    /// Not at all as it should have.
    Failed(String),
}

impl Outcome {
    fn status(&self) -> Value {
        match self {
            Self::Exited(0) => json!({"metadata": {}, "status": "Success"}),
            Self::Exited(code) => json!({
                "metadata": {},
                "status": "Failure",
                "message": format!("command terminated with non-zero exit code: command terminated with exit code {code}"),
                "reason": "NonZeroExitCode",
                "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
            }),
            Self::Failed(why) => json!({
                "metadata": {},
                "status": "Failure",
                "message": format!("Internal error occurred: {why}"),
                "reason": "InternalError",
                "details": {"causes": [{"message": why}]},
                "code": 500,
            }),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Exited(0) => String::new(),
            Self::Exited(code) => format!("command terminated with exit code {code}"),
            Self::Failed(why) => why.clone(),
        }
    }

    /// Tells the client, in the form of its protocol.
    pub(super) async fn tell(&self, to: Option<&Output>, status: bool) {
        let Some(output) = to else { return };
        let said = if status { self.status().to_string() } else { self.text() };
        if !said.is_empty() {
            output.send(said.into()).await;
        }
        output.finish().await;
    }
}
