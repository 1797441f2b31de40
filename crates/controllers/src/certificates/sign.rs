//! Signing: which requests each built-in signer accepts, and what the certificates say (Kubernetes documentation,
//! "Certificate Signing Requests").

use component::tls::KeyPair;
use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use rcgen::{
    CertificateSigningRequestParams, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose,
    SanType,
};
use time::OffsetDateTime;

const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
const LEGACY: &str = "kubernetes.io/legacy-unknown";
/// The signers of this controller.
pub(super) const SIGNERS: [&str; 4] = [CLIENT, super::KUBELET_CLIENT, KUBELET_SERVING, LEGACY];
/// Certificates live a year unless the request asks for less.
const LIFETIME: i64 = 365 * 24 * 3600;
/// Clocks of others may be behind by this many seconds.
const BACKDATE: i64 = 300;

/// Parses the request and verifies its signature.
pub(super) fn parse(request: &CertificateSigningRequest) -> Result<CertificateSigningRequestParams, String> {
    let pem =
        std::str::from_utf8(&request.spec.request.0).map_err(|_| "the request is not PEM".to_owned())?;
    CertificateSigningRequestParams::from_pem(pem)
        .map_err(|error| format!("unable to parse the request: {error}"))
}

fn names(parsed: &CertificateSigningRequestParams, kind: &DnType) -> Vec<String> {
    let all = parsed.params.distinguished_name.iter().filter(|(known, _)| *known == kind);
    all.map(|(_, value)| match value {
        DnValue::PrintableString(text) => text.as_str().to_owned(),
        DnValue::Utf8String(text) => text.clone(),
        DnValue::Ia5String(text) => text.as_str().to_owned(),
        _ => String::new(),
    })
    .collect()
}

/// The subject's common name.
pub(super) fn common_name(parsed: &CertificateSigningRequestParams) -> String {
    names(parsed, &DnType::CommonName).into_iter().next().unwrap_or_default()
}

/// Whether the signer accepts the request.
pub(super) fn check(
    request: &CertificateSigningRequest,
    parsed: &CertificateSigningRequestParams,
) -> Result<(), String> {
    let usages: Vec<&str> = request.spec.usages.iter().flatten().map(String::as_str).collect();
    let only = |needed: &str, allowed: &[&str]| {
        usages.contains(&needed) && usages.iter().all(|usage| *usage == needed || allowed.contains(usage))
    };
    let plain = ["digital signature", "key encipherment"];
    let wrong_usages =
        || format!("invalid usages for signer {}: {}", request.spec.signer_name, usages.join(", "));
    let is_node = || {
        let organizations = names(parsed, &DnType::OrganizationName);
        if organizations != ["system:nodes"] {
            return Err("subject organization is not system:nodes".to_owned());
        }
        let name = common_name(parsed);
        let prefixed = name.strip_prefix("system:node:").is_some_and(|node| !node.is_empty());
        if prefixed { Ok(()) } else { Err("subject common name does not begin with system:node:".to_owned()) }
    };
    match request.spec.signer_name.as_str() {
        CLIENT if !only("client auth", &plain) => Err(wrong_usages()),
        super::KUBELET_CLIENT => {
            is_node()?;
            if !parsed.params.subject_alt_names.is_empty() {
                return Err("DNS, IP, email and URI SANs are not allowed".to_owned());
            }
            if only("client auth", &plain) { Ok(()) } else { Err(wrong_usages()) }
        }
        KUBELET_SERVING => {
            is_node()?;
            let sans = &parsed.params.subject_alt_names;
            let right = |san: &SanType| matches!(san, SanType::DnsName(_) | SanType::IpAddress(_));
            if sans.is_empty() || !sans.iter().all(right) {
                return Err("at least one DNS or IP SAN is required, and no others are allowed".to_owned());
            }
            if only("server auth", &plain) { Ok(()) } else { Err(wrong_usages()) }
        }
        _ => Ok(()),
    }
}

/// A certificate authority.
pub(super) struct Signer {
    issuer: Issuer<'static, rcgen::KeyPair>,
}

impl Signer {
    pub(super) fn new(pair: &KeyPair) -> Result<Self, String> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| "it is not PEM".to_owned());
        let key = rcgen::KeyPair::from_pem(&text(&pair.key)?).map_err(|error| error.to_string())?;
        let issuer =
            Issuer::from_ca_cert_pem(&text(&pair.certificate)?, key).map_err(|error| error.to_string())?;
        Ok(Self { issuer })
    }

    /// The certificate in PEM.
    pub(super) fn sign(
        &self,
        request: &CertificateSigningRequest,
        mut parsed: CertificateSigningRequestParams,
        now: Timestamp,
    ) -> Result<String, String> {
        check(request, &parsed)?;
        let lifetime =
            request.spec.expiration_seconds.map_or(LIFETIME, |seconds| i64::from(seconds).min(LIFETIME));
        let stamp =
            |second: i64| OffsetDateTime::from_unix_timestamp(second).map_err(|error| error.to_string());
        let params = &mut parsed.params;
        params.not_before = stamp(now.as_second() - BACKDATE)?;
        params.not_after = stamp(now.as_second() + lifetime)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = Vec::new();
        params.extended_key_usages = Vec::new();
        for usage in request.spec.usages.iter().flatten() {
            match usage.as_str() {
                "signing" | "digital signature" => params.key_usages.push(KeyUsagePurpose::DigitalSignature),
                "content commitment" => params.key_usages.push(KeyUsagePurpose::ContentCommitment),
                "key encipherment" => params.key_usages.push(KeyUsagePurpose::KeyEncipherment),
                "key agreement" => params.key_usages.push(KeyUsagePurpose::KeyAgreement),
                "data encipherment" => params.key_usages.push(KeyUsagePurpose::DataEncipherment),
                "server auth" => params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth),
                "client auth" => params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth),
                "code signing" => params.extended_key_usages.push(ExtendedKeyUsagePurpose::CodeSigning),
                "any" => params.extended_key_usages.push(ExtendedKeyUsagePurpose::Any),
                other => return Err(format!("usage {other:?} is not supported by this signer")),
            }
        }
        parsed.signed_by(&self.issuer).map(|certificate| certificate.pem()).map_err(|error| error.to_string())
    }
}
