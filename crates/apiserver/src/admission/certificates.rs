//! CertificateApproval, CertificateSigning, CertificateSubjectRestriction: who may approve and sign for a signer,
//! and which subjects may never be asked for.

use super::forbidden;
use crate::contract::{Admission, AdmissionRequest, Attributes, Context, Decision, Operation};
use api::k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use async_trait::async_trait;
use machinery::Status;
use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

/// Approving needs `approve` on the signer.
pub(super) struct CertificateApproval(pub(super) Context);
/// Signing needs `sign` on the signer.
pub(super) struct CertificateSigning(pub(super) Context);
/// Nobody gets a client certificate for `system:masters`.
pub(super) struct CertificateSubjectRestriction;

const GROUP: &str = "certificates.k8s.io";
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

fn requests(
    request: &AdmissionRequest,
) -> Option<(&CertificateSigningRequest, Option<&CertificateSigningRequest>)> {
    if request.def.gvk.group != GROUP || request.def.plural != "certificatesigningrequests" {
        return None;
    }
    let old = request.old.as_deref().and_then(|old| old.downcast_ref());
    Some((request.object.as_deref()?.downcast_ref()?, old))
}

/// Whether the user may do `verb` for the signer, by its name or for all of its domain.
async fn allowed(context: &Context, request: &AdmissionRequest, verb: &'static str, signer: &str) -> bool {
    let domain = signer.split_once('/').map_or(signer, |(domain, _)| domain);
    for name in [signer.to_owned(), format!("{domain}/*")] {
        let attributes = Attributes {
            user: request.user.clone(),
            verb: verb.into(),
            resource_request: true,
            group: GROUP.into(),
            version: "*".into(),
            resource: "signers".into(),
            name,
            ..Attributes::default()
        };
        if context.authorize(&attributes).await == Decision::Allow {
            return true;
        }
    }
    false
}

#[async_trait]
impl Admission for CertificateApproval {
    fn name(&self) -> &'static str {
        "CertificateApproval"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Update
    }

    async fn validate(&self, request: &AdmissionRequest) -> Result<(), Status> {
        if request.subresource != "approval" {
            return Ok(());
        }
        let Some((_, Some(old))) = requests(request) else { return Ok(()) };
        let signer = &old.spec.signer_name;
        if allowed(&self.0, request, "approve", signer).await {
            return Ok(());
        }
        Err(forbidden(request, format!("user not permitted to approve requests with signerName {signer:?}")))
    }
}

#[async_trait]
impl Admission for CertificateSigning {
    fn name(&self) -> &'static str {
        "CertificateSigning"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Update
    }

    async fn validate(&self, request: &AdmissionRequest) -> Result<(), Status> {
        if request.subresource != "status" {
            return Ok(());
        }
        let Some((new, Some(old))) = requests(request) else { return Ok(()) };
        let state = |csr: &CertificateSigningRequest| {
            csr.status.as_ref().map(|s| (s.certificate.clone(), s.conditions.clone())).unwrap_or_default()
        };
        if state(new) == state(old) {
            return Ok(());
        }
        let signer = &old.spec.signer_name;
        if allowed(&self.0, request, "sign", signer).await {
            return Ok(());
        }
        Err(forbidden(request, format!("user not permitted to sign requests with signerName {signer:?}")))
    }
}

#[async_trait]
impl Admission for CertificateSubjectRestriction {
    fn name(&self) -> &'static str {
        "CertificateSubjectRestriction"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    async fn validate(&self, request: &AdmissionRequest) -> Result<(), Status> {
        if !request.subresource.is_empty() {
            return Ok(());
        }
        let Some((csr, _)) = requests(request) else { return Ok(()) };
        if csr.spec.signer_name != CLIENT_SIGNER {
            return Ok(());
        }
        let organizations = organizations(&csr.spec.request.0)
            .map_err(|why| forbidden(request, format!("failed to parse CSR: {why}")))?;
        if organizations.iter().any(|name| name == "system:masters") {
            return Err(forbidden(
                request,
                format!("use of {CLIENT_SIGNER} signer with system:masters group is not allowed"),
            ));
        }
        Ok(())
    }
}

fn organizations(pem: &[u8]) -> Result<Vec<String>, String> {
    let der = CertificateSigningRequestDer::from_pem_slice(pem).map_err(|error| error.to_string())?;
    let (_, parsed) = X509CertificationRequest::from_der(der.as_ref()).map_err(|error| error.to_string())?;
    let subject = &parsed.certification_request_info.subject;
    Ok(subject.iter_organization().filter_map(|name| name.as_str().ok()).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::organizations;

    #[test]
    fn subjects_are_read() {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "system:masters");
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = params.serialize_request(&key).unwrap().pem().unwrap();
        assert_eq!(organizations(pem.as_bytes()).unwrap(), ["system:masters"]);
        assert!(organizations(b"nonsense").is_err());
    }
}
