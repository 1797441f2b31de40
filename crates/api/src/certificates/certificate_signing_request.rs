//! `certificates.k8s.io/v1` CertificateSigningRequest.
//!
//! Deliberately absent: who asks (`spec.username` and its like), which the API server fills in, and looking
//! into the request, which signers do.

use crate::common::{items, text};
use crate::resource::{age_cell, human_duration, name_cell};
use crate::{Column, ResourceDef, Rules, Verb, meta};
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition, CertificateSigningRequestStatus,
};
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};

crate::kind!(CertificateSigningRequest);

/// Shortest validity that may be asked for, in seconds.
const MIN_SECONDS: i32 = 600;
const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

impl Rules for CertificateSigningRequest {
    fn check_name(name: &str, prefix: bool) -> crate::common::names::Messages {
        crate::common::names::path_segment(name, prefix)
    }

    fn prepare_create(&mut self) {
        self.status = Some(CertificateSigningRequestStatus::default());
    }

    fn prepare_update(&mut self, old: &Self) {
        // A request is what it was when it was made.
        self.spec.clone_from(&old.spec);
        self.status.clone_from(&old.status);
    }

    fn prepare_status_update(&mut self, old: &Self) {
        self.spec.clone_from(&old.spec);
        meta::prepare_status_update(&mut self.metadata, &old.metadata);
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        let path = FieldPath::new("spec");
        let pem = &self.spec.request.0;
        if !pem.trim_ascii_start().starts_with(b"-----BEGIN CERTIFICATE REQUEST-----") {
            errors.invalid(path.child("request"), "", "PEM block type must be CERTIFICATE REQUEST");
        }
        let usages = items(&self.spec.usages);
        if usages.is_empty() {
            errors.required(path.child("usages"), "usages must be specified");
        }
        for (at, usage) in usages.iter().enumerate() {
            if !USAGES.contains(&usage.as_str()) {
                errors.not_supported(path.child("usages").index(at), usage, USAGES);
            }
            if usages[..at].contains(usage) {
                errors.duplicate(path.child("usages").index(at), usage);
            }
        }
        validate_signer(&self.spec.signer_name, path.child("signerName"), errors);
        if let Some(seconds) = self.spec.expiration_seconds
            && seconds < MIN_SECONDS
        {
            errors.invalid(
                path.child("expirationSeconds"),
                seconds,
                "may not specify a duration less than 600 seconds (10 minutes)",
            );
        }
    }

    fn validate_update(&self, _: &Self, _: &mut FieldErrors) {}

    fn validate_status_update(&self, old: &Self, errors: &mut FieldErrors) {
        let conditions = |request: &Self, decisions: bool| -> Vec<CertificateSigningRequestCondition> {
            let all = request.status.as_ref().map(|status| items(&status.conditions)).unwrap_or_default();
            let decided = |kind: &str| ["Approved", "Denied"].contains(&kind);
            all.iter().filter(|condition| decided(&condition.type_) == decisions).cloned().collect()
        };
        if conditions(self, true) != conditions(old, true) {
            errors.forbidden(
                FieldPath::new("status").child("conditions"),
                "updates may not add or remove a condition of type \"Approved\" or \"Denied\"",
            );
        }
        let certificate =
            |request: &Self| request.status.as_ref().and_then(|status| status.certificate.clone());
        if let Some(was) = certificate(old).filter(|certificate| !certificate.0.is_empty())
            && certificate(self).as_ref() != Some(&was)
        {
            errors.forbidden(
                FieldPath::new("status").child("certificate"),
                "updates may not set certificate content unless existing content is empty",
            );
        }
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::name(),
            Column::age(),
            Column::new("SignerName", "string", "Who is asked to sign."),
            Column::new("Requestor", "string", "Who asks."),
            Column::new("RequestedDuration", "string", "How long the certificate should be valid."),
            Column::new("Condition", "string", "What became of the request."),
        ]
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        let duration = self.spec.expiration_seconds.map(|seconds| human_duration(i64::from(seconds)));
        vec![
            name_cell(self),
            age_cell(self, now),
            json!(if self.spec.signer_name.is_empty() { "<none>" } else { &self.spec.signer_name }),
            json!(text(&self.spec.username)),
            json!(duration.unwrap_or_else(|| "<none>".to_owned())),
            json!(state(self)),
        ]
    }
}

fn state(request: &CertificateSigningRequest) -> String {
    let status = request.status.as_ref();
    let conditions = status.map(|status| items(&status.conditions)).unwrap_or_default();
    let has = |kind: &str| conditions.iter().any(|condition| condition.type_ == kind);
    let mut words = vec![match (has("Denied"), has("Approved")) {
        (true, _) => "Denied",
        (_, true) => "Approved",
        _ => "Pending",
    }];
    if has("Failed") {
        words.push("Failed");
    }
    if status.and_then(|status| status.certificate.as_ref()).is_some_and(|bytes| !bytes.0.is_empty()) {
        words.push("Issued");
    }
    words.join(",")
}

fn validate_signer(name: &str, path: FieldPath, errors: &mut FieldErrors) {
    if name.is_empty() {
        errors.required(path, "");
        return;
    }
    let good = name.split_once('/').is_some_and(|(domain, rest)| {
        !rest.is_empty()
            && !rest.contains('/')
            && domain.contains('.')
            && machinery::names::dns1123_subdomain(domain).is_empty()
            && machinery::names::dns1123_subdomain(rest).is_empty()
    });
    if !good {
        errors.invalid(
            path,
            name,
            "must be a fully qualified domain and path of the form 'example.com/signer-name'",
        );
    }
}

/// What the subresource `approval` changes: nothing but conditions.
pub fn prepare_approval(request: &mut CertificateSigningRequest, old: &CertificateSigningRequest) {
    let conditions = request.status.take().and_then(|status| status.conditions);
    request.spec.clone_from(&old.spec);
    meta::prepare_status_update(&mut request.metadata, &old.metadata);
    request.status.clone_from(&old.status);
    request.status.get_or_insert_default().conditions = conditions;
}

/// The resource `certificatesigningrequests`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<CertificateSigningRequest>()
        .short(&["csr"])
        .subresource("approval", None, &[Verb::Get, Verb::Patch, Verb::Update])
        .status()
        .select::<CertificateSigningRequest>("spec.signerName", |csr| csr.spec.signer_name.clone())
}
