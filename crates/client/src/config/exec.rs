//! Credentials from a program: `client.authentication.k8s.io` v1 and v1beta1. The program is run again when what it gave
//! has expired. Interactive programs are not supported: they get no standard input.

use super::ConfigError;
use component::tls::KeyPair;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::process::Stdio;
use tokio::process::Command;

/// The `exec` of a kubeconfig's user.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "the fields are the file format's own")]
pub struct ExecConfig {
    pub api_version: String,
    pub command: String,
    pub args: Option<Vec<String>>,
    pub env: Option<Vec<EnvVar>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub install_hint: Option<String>,
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A variable of the program's environment.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are the file format's own")]
pub struct EnvVar {
    pub name: String,
    pub value: String,
}

/// What the program gave.
#[derive(Clone, Default)]
pub struct ExecCredential {
    /// A bearer token.
    pub token: Option<String>,
    /// A client certificate.
    pub pair: Option<KeyPair>,
    /// When it ends.
    pub expires: Option<Timestamp>,
}

impl std::fmt::Debug for ExecCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ExecCredential(expires {:?})", self.expires)
    }
}

#[derive(Deserialize)]
struct Answer {
    status: Option<AnswerStatus>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnswerStatus {
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
    expiration_timestamp: Option<Timestamp>,
}

impl ExecConfig {
    /// Runs the program.
    pub async fn run(&self) -> Result<ExecCredential, ConfigError> {
        let info = serde_json::json!({
            "apiVersion": self.api_version, "kind": "ExecCredential", "spec": {"interactive": false},
        });
        let mut command = Command::new(&self.command);
        command.args(self.args.iter().flatten()).env("KUBERNETES_EXEC_INFO", info.to_string());
        command.envs(self.env.iter().flatten().map(|var| (&var.name, &var.value)));
        command.stdin(Stdio::null()).stderr(Stdio::inherit()).stdout(Stdio::piped()).kill_on_drop(true);
        let output = command.output().await.map_err(|error| {
            let hint = self.install_hint.as_deref().unwrap_or("install it or correct the kubeconfig");
            ConfigError::new(format!("failed to run the credential plugin {}: {error}; {hint}", self.command))
        })?;
        if !output.status.success() {
            return Err(self.failed(format!("it ended with {}", output.status)));
        }
        let answer: Answer = serde_json::from_slice(&output.stdout)
            .map_err(|error| self.failed(format!("it printed no ExecCredential: {error}")))?;
        let status =
            answer.status.ok_or_else(|| self.failed("its ExecCredential has no status".to_owned()))?;
        let pair = status.client_certificate_data.zip(status.client_key_data);
        Ok(ExecCredential {
            token: status.token.filter(|token| !token.is_empty()),
            pair: pair.map(|(cert, key)| KeyPair { certificate: cert.into_bytes(), key: key.into_bytes() }),
            expires: status.expiration_timestamp,
        })
    }

    fn failed(&self, why: String) -> ConfigError {
        ConfigError::new(format!(
            "failed to get credentials from {}: {why}; run it by hand to see more",
            self.command
        ))
    }
}
