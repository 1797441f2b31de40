//! The cluster's certificates and keys, in kubeadm's layout and names under `DIR/pki`.
//!
//! Creation is idempotent: what exists and is still good is kept, so that a second start changes nothing;
//! a leaf that expires within a month or no longer names every address is issued anew. Authorities live ten
//! years, leaves one. Keys are ECDSA P-256 in PKCS#8, readable by root only.

use crate::files;
use anyhow::{Context, Result, bail};
use component::tls::KeyPair;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose,
    SanType,
};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::parse_x509_pem;

const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);
const LEAF_LIFE: Duration = Duration::from_secs(365 * 86_400);
/// A leaf with less life than this is issued anew at start.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 86_400);
/// Clocks of joining machines may be behind by this much.
const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// Who a leaf certificate names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// Common name: the user name of clients.
    pub common_name: String,
    /// Organisation: the group of clients.
    pub organization: Option<String>,
    /// Names that servers answer to.
    pub dns_names: Vec<String>,
    /// Addresses that servers answer at.
    pub addresses: Vec<IpAddr>,
}

impl Subject {
    /// A client in a group, if any.
    pub fn client(user: &str, group: Option<&str>) -> Self {
        Self { common_name: user.to_owned(), organization: group.map(str::to_owned), ..Self::default() }
    }

    /// A server; every name that parses as an address becomes one.
    pub fn server(common_name: &str, names: &[String]) -> Self {
        let mut subject = Self { common_name: common_name.to_owned(), ..Self::default() };
        for name in names {
            match name.parse::<IpAddr>() {
                Ok(address) => subject.addresses.push(address),
                Err(_) => subject.dns_names.push(name.clone()),
            }
        }
        subject
    }
}

/// A certificate authority on disk: `<name>.crt`, `<name>.key`.
#[derive(Debug)]
pub struct Authority {
    dir: PathBuf,
    certificate: String,
    key: String,
}

impl Authority {
    /// Loads the authority `name` from `dir`, or makes it.
    pub fn open(dir: &Path, name: &str, common_name: &str) -> Result<Self> {
        let (certificate_file, key_file) = (dir.join(format!("{name}.crt")), dir.join(format!("{name}.key")));
        if certificate_file.exists() {
            let certificate = files::read(&certificate_file)?;
            let key = files::read(&key_file)
                .context("the authority's key is needed to issue certificates; put it back or start with a new --data-dir")?;
            return Ok(Self { dir: dir.to_owned(), certificate, key });
        }
        let key = rcgen::KeyPair::generate().context("failed to make a key")?;
        let mut params = CertificateParams::new(vec![common_name.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::KeyEncipherment,
        ];
        set_life(&mut params, AUTHORITY_LIFE);
        let certificate =
            params.self_signed(&key).context("failed to sign the authority's certificate")?.pem();
        let authority = Self { dir: dir.to_owned(), certificate, key: key.serialize_pem() };
        files::write_private(&key_file, authority.key.as_bytes())?;
        files::write_public(&certificate_file, authority.certificate.as_bytes())?;
        Ok(authority)
    }

    /// The authority's certificate, PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// The authority's key, PEM.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The pair `<name>.crt`, `<name>.key` in the authority's directory for `subject`, issued when it is
    /// absent, about to expire, or for another subject.
    pub fn issue(&self, name: &str, subject: &Subject) -> Result<KeyPair> {
        let (certificate_file, key_file) =
            (self.dir.join(format!("{name}.crt")), self.dir.join(format!("{name}.key")));
        if certificate_file.exists() && key_file.exists() {
            let pair = KeyPair {
                certificate: files::read(&certificate_file)?.into_bytes(),
                key: files::read(&key_file)?.into_bytes(),
            };
            if still_good(&pair.certificate, subject) {
                return Ok(pair);
            }
        }
        let pair = self.sign(subject)?;
        files::write_private(&key_file, &pair.key)?;
        files::write_public(&certificate_file, &pair.certificate)?;
        Ok(pair)
    }

    /// A new pair for `subject` that is written nowhere.
    pub fn sign(&self, subject: &Subject) -> Result<KeyPair> {
        let issuer_key = rcgen::KeyPair::from_pem(&self.key).context("failed to read the authority's key")?;
        let issuer = Issuer::from_ca_cert_pem(&self.certificate, issuer_key)
            .context("failed to read the authority's certificate")?;
        let key = rcgen::KeyPair::generate().context("failed to make a key")?;
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, subject.common_name.as_str());
        if let Some(group) = &subject.organization {
            params.distinguished_name.push(DnType::OrganizationName, group.as_str());
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if !subject.dns_names.is_empty() || !subject.addresses.is_empty() {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        for name in &subject.dns_names {
            let name =
                Ia5String::try_from(name.as_str()).with_context(|| format!("{name:?} is not a DNS name"))?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        params.subject_alt_names.extend(subject.addresses.iter().map(|a| SanType::IpAddress(*a)));
        params.use_authority_key_identifier_extension = true;
        set_life(&mut params, LEAF_LIFE);
        let certificate = params.signed_by(&key, &issuer).context("failed to sign a certificate")?;
        Ok(KeyPair { certificate: certificate.pem().into_bytes(), key: key.serialize_pem().into_bytes() })
    }
}

/// The key that signs service-account tokens: `sa.key`, and `sa.pub` beside it.
pub fn service_account_key(dir: &Path) -> Result<String> {
    let file = dir.join("sa.key");
    if file.exists() {
        return files::read(&file);
    }
    let key = rcgen::KeyPair::generate().context("failed to make a key")?;
    files::write_private(&file, key.serialize_pem().as_bytes())?;
    files::write_public(&dir.join("sa.pub"), key.public_key_pem().as_bytes())?;
    Ok(key.serialize_pem())
}

fn set_life(params: &mut CertificateParams, life: Duration) {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - CLOCK_SKEW;
    params.not_after = now + life;
}

/// Whether `certificate` names all of `subject` and has enough life left.
fn still_good(certificate: &[u8], subject: &Subject) -> bool {
    check(certificate, subject).is_ok()
}

fn check(certificate: &[u8], subject: &Subject) -> Result<()> {
    let (_, pem) = parse_x509_pem(certificate)?;
    let certificate = pem.parse_x509()?;
    let left = certificate.validity().time_to_expiration().context("expired")?;
    if left.whole_seconds() < i64::try_from(RENEW_BEFORE.as_secs())? {
        bail!("expires soon");
    }
    let name = certificate.subject();
    let common_name = name.iter_common_name().next().and_then(|a| a.as_str().ok());
    let organization = name.iter_organization().next().and_then(|a| a.as_str().ok());
    if common_name != Some(subject.common_name.as_str()) || organization != subject.organization.as_deref() {
        bail!("names another subject");
    }
    let alternatives =
        certificate.subject_alternative_name()?.map(|e| e.value.general_names.clone()).unwrap_or_default();
    let covers_name = |wanted: &String| {
        alternatives.iter().any(|name| matches!(name, GeneralName::DNSName(name) if *name == wanted.as_str()))
    };
    let covers_address = |wanted: &IpAddr| {
        let octets = match wanted {
            IpAddr::V4(a) => a.octets().to_vec(),
            IpAddr::V6(a) => a.octets().to_vec(),
        };
        alternatives.iter().any(|name| matches!(name, GeneralName::IPAddress(bytes) if *bytes == octets))
    };
    if !subject.dns_names.iter().all(covers_name) || !subject.addresses.iter().all(covers_address) {
        bail!("lacks a name");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_are_kept_until_their_subject_changes() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path(), "ca", "kubernetes").unwrap();
        let mut subject = Subject::server("kube-apiserver", &["localhost".into(), "127.0.0.1".into()]);
        let first = authority.issue("apiserver", &subject).unwrap();

        let authority = Authority::open(dir.path(), "ca", "kubernetes").unwrap();
        let second = authority.issue("apiserver", &subject).unwrap();
        assert_eq!(first.certificate, second.certificate);

        subject.addresses.push("10.96.0.1".parse().unwrap());
        let third = authority.issue("apiserver", &subject).unwrap();
        assert_ne!(first.certificate, third.certificate);
        component::tls::server(&third, Some(authority.certificate().as_bytes())).unwrap();
    }

    #[test]
    fn keys_are_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        Authority::open(dir.path(), "ca", "kubernetes").unwrap();
        service_account_key(dir.path()).unwrap();
        for file in ["ca.key", "sa.key"] {
            let mode = std::fs::metadata(dir.path().join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
    }
}
