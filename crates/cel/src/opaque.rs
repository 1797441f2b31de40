//! Values of libraries: addresses, URLs, quantities, versions, formats, authorization checks.

use crate::error::EvalError;
use crate::library::format::Format;
use crate::library::net::Cidr;
use crate::library::semver::Semver;
use crate::library::url::Url;
use machinery::quantity::Quantity;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// What an expression asks the authorizer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Check {
    /// Namespace and name of the service account that is asked about, instead of the user of the request.
    pub service_account: Option<(String, String)>,
    /// A path outside the API, instead of a resource.
    pub path: Option<String>,
    /// API verb, or HTTP method in lower case.
    pub verb: String,
    /// API group.
    pub group: String,
    /// Plural name of the resource.
    pub resource: String,
    /// Subresource, or empty.
    pub subresource: String,
    /// Namespace, or empty.
    pub namespace: String,
    /// Name of the object, or empty.
    pub name: String,
    /// Field selector, unparsed.
    pub field_selector: Option<String>,
    /// Label selector, unparsed.
    pub label_selector: Option<String>,
}

/// What the authorizer says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Why, possibly empty.
    pub reason: String,
    /// Why nobody could decide.
    pub error: Option<String>,
}

/// Answers authorization checks of an expression. Evaluation does not wait: an implementation that has to ask
/// elsewhere notes the check, answers [`EvalError::Pending`], and the caller evaluates again once it has the answer.
pub trait Authorize: Send + Sync {
    /// Decides.
    fn authorize(&self, check: &Check) -> Result<Verdict, EvalError>;
}

/// How far an authorization check is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// `authorizer`
    Authorizer,
    /// `authorizer.path(…)`
    Path,
    /// `authorizer.group(…)`
    Group,
    /// `….resource(…)`
    Resource,
}

/// A value that only functions of its library look into.
#[derive(Clone)]
pub enum Opaque {
    /// `net.IP`
    Ip(IpAddr),
    /// `net.CIDR`
    Cidr(Cidr),
    /// `kubernetes.URL`
    Url(Url),
    /// `kubernetes.Quantity`
    Quantity(Quantity),
    /// `kubernetes.Semver`
    Semver(Semver),
    /// `kubernetes.NamedFormat`
    Format(&'static Format),
    /// A check that is being built.
    Authorizer(Arc<dyn Authorize>, Stage, Check),
    /// `kubernetes.authorization.Decision`
    Decision(Verdict),
}

impl fmt::Debug for Opaque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.type_name(), self.text().unwrap_or_default())
    }
}

impl Opaque {
    /// Name of its type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Ip(_) => "net.IP",
            Self::Cidr(_) => "net.CIDR",
            Self::Url(_) => "kubernetes.URL",
            Self::Quantity(_) => "kubernetes.Quantity",
            Self::Semver(_) => "kubernetes.Semver",
            Self::Format(_) => "kubernetes.NamedFormat",
            Self::Authorizer(_, Stage::Authorizer, _) => "kubernetes.authorization.Authorizer",
            Self::Authorizer(_, Stage::Path, _) => "kubernetes.authorization.PathCheck",
            Self::Authorizer(_, Stage::Group, _) => "kubernetes.authorization.GroupCheck",
            Self::Authorizer(_, Stage::Resource, _) => "kubernetes.authorization.ResourceCheck",
            Self::Decision(_) => "kubernetes.authorization.Decision",
        }
    }

    /// Its text form, if it has one.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Ip(ip) => Some(ip.to_string()),
            Self::Cidr(cidr) => Some(cidr.to_string()),
            Self::Quantity(quantity) => Some(quantity.to_string()),
            Self::Semver(version) => Some(version.to_string()),
            Self::Url(url) => Some(url.text().to_owned()),
            Self::Format(_) | Self::Authorizer(..) | Self::Decision(_) => None,
        }
    }

    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Ip(IpAddr::V4(_)) => 4,
            Self::Ip(IpAddr::V6(_)) => 16,
            Self::Cidr(cidr) if cidr.is_v4() => 4,
            Self::Cidr(_) => 16,
            _ => 1,
        }
    }

    pub(crate) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ip(a), Self::Ip(b)) => a == b,
            (Self::Cidr(a), Self::Cidr(b)) => a == b,
            (Self::Url(a), Self::Url(b)) => a.text() == b.text(),
            (Self::Quantity(a), Self::Quantity(b)) => a == b,
            (Self::Semver(a), Self::Semver(b)) => a.compare(b).is_eq(),
            (Self::Format(a), Self::Format(b)) => std::ptr::eq(*a, *b),
            (Self::Authorizer(_, a, x), Self::Authorizer(_, b, y)) => a == b && x == y,
            (Self::Decision(a), Self::Decision(b)) => a == b,
            _ => false,
        }
    }
}
