//! The API server's flags about admission, load and features: upstream's names and defaults.

use anyhow::{Result, bail};
use apiserver::{Config, FlowControlSettings};
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// Flags of the API server about what becomes of requests that may be made.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(next_help_heading = "Admission and load")]
pub struct RequestOptions {
    /// Admission plugins to add to the default ones, by commas
    #[arg(long, value_name = "PLUGINS", value_delimiter = ',')]
    pub enable_admission_plugins: Vec<String>,
    /// Default admission plugins to leave out, by commas
    #[arg(long, value_name = "PLUGINS", value_delimiter = ',')]
    pub disable_admission_plugins: Vec<String>,
    /// Settings of admission plugins (a file of kind AdmissionConfiguration)
    #[arg(long, value_name = "FILE")]
    pub admission_control_config_file: Option<PathBuf>,
    /// Whether FlowSchemas and priority levels share out the server [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub enable_priority_and_fairness: Option<bool>,
    /// Requests that read which are served at once; 0 is no limit [default: 400]
    #[arg(long, value_name = "N")]
    pub max_requests_inflight: Option<u32>,
    /// Requests that change something which are served at once; 0 is no limit [default: 200]
    #[arg(long, value_name = "N")]
    pub max_mutating_requests_inflight: Option<u32>,
    /// How long a request may take that is no stream [default: 1m]
    #[arg(long, value_name = "DURATION", value_parser = super::access::duration)]
    pub request_timeout: Option<Duration>,
    /// How long events are kept [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = super::access::duration)]
    pub event_ttl: Option<Duration>,
    /// Features to switch, by commas: CBORServingAndStorage=true|false
    #[arg(long, value_name = "FEATURE=BOOL", value_delimiter = ',')]
    pub feature_gates: Vec<String>,
}

impl RequestOptions {
    /// Sets what the flags say in the API server's configuration.
    ///
    /// # Errors
    /// When a feature is not known, or its value is neither true nor false.
    pub fn apply(&self, config: &mut Config) -> Result<()> {
        config.enable_admission.clone_from(&self.enable_admission_plugins);
        config.disable_admission.clone_from(&self.disable_admission_plugins);
        config.admission_config.clone_from(&self.admission_control_config_file);
        let default = config.flow_control;
        config.flow_control = FlowControlSettings {
            enabled: self.enable_priority_and_fairness.unwrap_or(default.enabled),
            max_requests: self.max_requests_inflight.unwrap_or(default.max_requests),
            max_mutating_requests: self
                .max_mutating_requests_inflight
                .unwrap_or(default.max_mutating_requests),
        };
        config.request_timeout = self.request_timeout.unwrap_or(config.request_timeout);
        config.event_ttl = self.event_ttl.unwrap_or(config.event_ttl);
        for gate in &self.feature_gates {
            match gate.split_once('=') {
                Some(("CBORServingAndStorage", value)) => match value.parse() {
                    Ok(value) => config.cbor = value,
                    Err(_) => bail!("--feature-gates: {gate:?} must end in true or false"),
                },
                Some((name, _)) => {
                    bail!("--feature-gates: {name} cannot be switched here; GAPS.md says what is not built")
                }
                None => bail!("--feature-gates: {gate:?} is not FEATURE=true or FEATURE=false"),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        requests: RequestOptions,
    }

    fn config(flags: &[&str]) -> Result<Config> {
        let mut config = Config::default();
        Command::try_parse_from(["x"].iter().chain(flags))?.requests.apply(&mut config)?;
        Ok(config)
    }

    #[test]
    fn flags_change_what_they_name_only() {
        let plain = config(&[]).unwrap();
        assert_eq!(
            (plain.flow_control.enabled, plain.flow_control.max_requests, plain.cbor),
            (true, 400, false)
        );
        let set = config(&[
            "--enable-admission-plugins=PodNodeSelector,EventRateLimit",
            "--enable-priority-and-fairness=false",
            "--max-mutating-requests-inflight=7",
            "--request-timeout=90s",
            "--feature-gates=CBORServingAndStorage=true",
        ])
        .unwrap();
        assert_eq!(set.enable_admission, ["PodNodeSelector", "EventRateLimit"]);
        let flow = set.flow_control;
        assert_eq!((flow.enabled, flow.max_requests, flow.max_mutating_requests), (false, 400, 7));
        assert_eq!((set.request_timeout, set.cbor), (Duration::from_secs(90), true));
    }

    #[test]
    fn unknown_features_are_refused_by_name() {
        let error = config(&["--feature-gates=Nonsense=true"]).unwrap_err().to_string();
        assert!(error.contains("Nonsense"), "{error}");
        assert!(config(&["--feature-gates=CBORServingAndStorage=perhaps"]).is_err());
    }
}
