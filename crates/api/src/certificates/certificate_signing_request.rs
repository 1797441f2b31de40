//! `certificates.k8s.io/v1` CertificateSigningRequest.

use crate::{ResourceDef, Rules, Verb};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;

crate::kind!(CertificateSigningRequest);

impl Rules for CertificateSigningRequest {}

/// The resource `certificatesigningrequests`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<CertificateSigningRequest>()
        .short(&["csr"])
        .subresource("approval", None, &[Verb::Get, Verb::Patch, Verb::Update])
        .status()
}
