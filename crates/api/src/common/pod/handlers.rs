//! Probes and lifecycle hooks.

use crate::common::{items, names, numbers, text};
use k8s_openapi::api::core::v1::*;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use machinery::{FieldErrors, FieldPath};

/// What a probe or hook may do.
struct Handler<'a> {
    exec: Option<&'a ExecAction>,
    http_get: Option<&'a HTTPGetAction>,
    tcp_socket: Option<&'a TCPSocketAction>,
    grpc: Option<&'a GRPCAction>,
    sleep: Option<&'a SleepAction>,
}

fn validate_handler(handler: &Handler<'_>, grace: i64, path: &FieldPath, errors: &mut FieldErrors) {
    let mut found = 0;
    let mut another = |field: &str, errors: &mut FieldErrors| {
        found += 1;
        if found > 1 {
            errors.forbidden(path.child(field), "may not specify more than 1 handler type");
        }
        found == 1
    };
    if let Some(exec) = handler.exec
        && another("exec", errors)
        && items(&exec.command).is_empty()
    {
        errors.required(path.child("exec").child("command"), "");
    }
    if let Some(action) = handler.http_get
        && another("httpGet", errors)
    {
        http_get(action, &path.child("httpGet"), errors);
    }
    if let Some(action) = handler.tcp_socket
        && another("tcpSocket", errors)
    {
        port(&action.port, &path.child("tcpSocket").child("port"), errors);
    }
    if let Some(action) = handler.grpc
        && another("grpc", errors)
    {
        port(&IntOrString::Int(action.port), &path.child("grpc").child("port"), errors);
    }
    if let Some(action) = handler.sleep
        && another("sleep", errors)
        && !(0..=grace).contains(&action.seconds)
    {
        errors.invalid(
            path.child("sleep").child("seconds"),
            action.seconds,
            format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})"),
        );
    }
    if found == 0 {
        errors.required(path.clone(), "must specify a handler type");
    }
}

fn http_get(action: &HTTPGetAction, path: &FieldPath, errors: &mut FieldErrors) {
    if text(&action.path).is_empty() {
        errors.required(path.child("path"), "");
    }
    port(&action.port, &path.child("port"), errors);
    let scheme = text(&action.scheme);
    if !["HTTP", "HTTPS"].contains(&scheme) {
        errors.not_supported(path.child("scheme"), scheme, &["HTTP", "HTTPS"]);
    }
    for header in items(&action.http_headers) {
        let good = header.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if header.name.is_empty() || !good {
            errors.invalid(
                path.child("httpHeaders"),
                &header.name,
                "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used \
                 for validation is '[-A-Za-z0-9]+')",
            );
        }
    }
}

/// Reports what is neither a port's number nor a port's name.
pub fn port(port: &IntOrString, path: &FieldPath, errors: &mut FieldErrors) {
    match port {
        IntOrString::Int(number) => {
            for message in names::port_number(i64::from(*number)) {
                errors.invalid(path.clone(), *number, message);
            }
        }
        IntOrString::String(name) => names::report(path.clone(), name, names::port_name(name), errors),
    }
}

/// The probes and hooks of a container.
pub(super) struct Hooks<'a> {
    pub(super) lifecycle: &'a Option<Lifecycle>,
    pub(super) liveness: &'a Option<Probe>,
    pub(super) readiness: &'a Option<Probe>,
    pub(super) startup: &'a Option<Probe>,
    /// The pod's termination grace period, in seconds.
    pub(super) grace: i64,
}

impl Hooks<'_> {
    /// Reports bad probes and hooks of a container at `path`.
    pub(super) fn validate(&self, path: &FieldPath, errors: &mut FieldErrors) {
        if let Some(lifecycle) = self.lifecycle {
            self.validate_lifecycle(lifecycle, &path.child("lifecycle"), errors);
        }
        // Only readiness may need several successes: the others end in a restart, which resets the count.
        for (field, probe, once) in [
            ("livenessProbe", self.liveness, true),
            ("readinessProbe", self.readiness, false),
            ("startupProbe", self.startup, true),
        ] {
            let Some(probe) = probe else { continue };
            let at = path.child(field);
            self.validate_probe(probe, &at, errors);
            if once && probe.success_threshold.is_some_and(|n| n != 1) {
                let value = probe.success_threshold.unwrap_or_default();
                errors.invalid(at.child("successThreshold"), value, "must be 1");
            }
            if !once && probe.termination_grace_period_seconds.is_some() {
                errors.invalid(
                    at.child("terminationGracePeriodSeconds"),
                    probe.termination_grace_period_seconds.unwrap_or_default(),
                    "must not be set for readinessProbes",
                );
            }
        }
    }

    fn validate_lifecycle(&self, lifecycle: &Lifecycle, path: &FieldPath, errors: &mut FieldErrors) {
        for (field, handler) in [("postStart", &lifecycle.post_start), ("preStop", &lifecycle.pre_stop)] {
            let Some(handler) = handler else { continue };
            let handler = Handler {
                exec: handler.exec.as_ref(),
                http_get: handler.http_get.as_ref(),
                tcp_socket: handler.tcp_socket.as_ref(),
                grpc: None,
                sleep: handler.sleep.as_ref(),
            };
            validate_handler(&handler, self.grace, &path.child(field), errors);
        }
    }

    fn validate_probe(&self, probe: &Probe, path: &FieldPath, errors: &mut FieldErrors) {
        let handler = Handler {
            exec: probe.exec.as_ref(),
            http_get: probe.http_get.as_ref(),
            tcp_socket: probe.tcp_socket.as_ref(),
            grpc: probe.grpc.as_ref(),
            sleep: None,
        };
        validate_handler(&handler, self.grace, path, errors);
        for (field, value) in [
            ("initialDelaySeconds", probe.initial_delay_seconds),
            ("timeoutSeconds", probe.timeout_seconds),
            ("periodSeconds", probe.period_seconds),
            ("successThreshold", probe.success_threshold),
            ("failureThreshold", probe.failure_threshold),
        ] {
            numbers::optional_not_negative(value, path.child(field), errors);
        }
        if let Some(seconds) = probe.termination_grace_period_seconds {
            numbers::positive(seconds, path.child("terminationGracePeriodSeconds"), errors);
        }
    }
}
