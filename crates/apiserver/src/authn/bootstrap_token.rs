//! Bootstrap tokens: secrets in kube-system with which a new node proves itself.
//!
//! Source: "Authenticating with Bootstrap Tokens". Deliberately absent: signing `cluster-info` and removing
//! expired tokens, which controllers do.

use super::bearer::{Identified, TokenAuthenticator};
use crate::contract::{Context, UserInfo};
use api::k8s_openapi::api::core::v1::Secret;
use api::k8s_openapi::jiff::Timestamp;
use async_trait::async_trait;
use machinery::{GroupResource, Status};

pub(crate) struct BootstrapTokens {
    context: Context,
}

impl BootstrapTokens {
    pub(crate) fn new(context: &Context) -> Self {
        Self { context: context.clone() }
    }
}

fn lower_alphanumeric(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

/// Id and secret of a token of this form.
fn parse(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    (lower_alphanumeric(id, 6) && lower_alphanumeric(secret, 16)).then_some((id, secret))
}

/// Compares without telling by its duration where the difference is.
pub(crate) fn same_secret(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

fn valid_group(group: &str) -> bool {
    group.strip_prefix("system:bootstrappers:").is_some_and(|rest| {
        (1..=256).contains(&rest.len())
            && rest.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b':' || b == b'-')
            && !rest.ends_with([':', '-'])
    })
}

#[async_trait]
impl TokenAuthenticator for BootstrapTokens {
    async fn identify(&self, token: &str, audiences: &[String]) -> Result<Option<Identified>, Status> {
        let Some((id, secret)) = parse(token) else { return Ok(None) };
        let storage = GroupResource::new("", "secrets");
        let name = format!("bootstrap-token-{id}");
        let Some(found) = self.context.lookup.get(&storage, "kube-system", &name).await? else {
            return Ok(None);
        };
        let stored = found.get::<Secret>().map_err(Status::internal)?;
        let groups = accept(
            &stored,
            id,
            secret,
            Timestamp::from_second(super::service_account::now(&self.context)).ok(),
        );
        Ok(groups.map(|groups| Identified {
            user: UserInfo { name: format!("system:bootstrap:{id}"), groups, ..UserInfo::default() },
            audiences: audiences.to_vec(),
        }))
    }
}

/// The groups that the token brings; `None` when it is not valid.
fn accept(stored: &Secret, id: &str, secret: &str, now: Option<Timestamp>) -> Option<Vec<String>> {
    let value = |key: &str| stored.data.as_ref().and_then(|data| data.get(key)).map(|v| v.0.as_slice());
    let text = |key: &str| value(key).and_then(|v| std::str::from_utf8(v).ok());
    if stored.type_.as_deref() != Some("bootstrap.kubernetes.io/token")
        || stored.metadata.deletion_timestamp.is_some()
        || !same_secret(value("token-secret")?, secret.as_bytes())
        || text("token-id") != Some(id)
        || text("usage-bootstrap-authentication") != Some("true")
    {
        return None;
    }
    if let Some(expires) = text("expiration")
        && !expires.is_empty()
        && expires.parse::<Timestamp>().ok()? <= now?
    {
        return None;
    }
    let mut groups = vec!["system:bootstrappers".to_owned()];
    for group in text("auth-extra-groups").unwrap_or_default().split(',').filter(|g| !g.is_empty()) {
        if !valid_group(group) {
            return None;
        }
        groups.push(group.to_owned());
    }
    Some(groups)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::k8s_openapi::ByteString;

    fn secret(change: &[(&str, &str)]) -> Secret {
        let mut data = std::collections::BTreeMap::new();
        let base = [
            ("token-id", "abcdef"),
            ("token-secret", "0123456789abcdef"),
            ("usage-bootstrap-authentication", "true"),
            ("auth-extra-groups", "system:bootstrappers:kubeadm:default-node-token"),
        ];
        for (key, value) in base.iter().chain(change) {
            data.insert((*key).to_owned(), ByteString(value.as_bytes().to_vec()));
        }
        Secret {
            type_: Some("bootstrap.kubernetes.io/token".to_owned()),
            data: Some(data),
            ..Secret::default()
        }
    }

    #[test]
    fn only_whole_and_living_tokens_are_accepted() {
        let now = "2026-01-01T00:00:00Z".parse().ok();
        let accept = |change: &[(&str, &str)]| accept(&secret(change), "abcdef", "0123456789abcdef", now);
        assert_eq!(accept(&[]).unwrap().len(), 2);
        assert!(accept(&[("expiration", "2026-01-02T00:00:00Z")]).is_some());
        for bad in [
            ("expiration", "2025-12-31T00:00:00Z"),
            ("expiration", "soon"),
            ("token-secret", "0123456789abcdee"),
            ("usage-bootstrap-authentication", "false"),
            ("auth-extra-groups", "system:masters"),
        ] {
            assert!(accept(&[bad]).is_none(), "{bad:?}");
        }
        assert_eq!(parse("abcdef.0123456789abcdef"), Some(("abcdef", "0123456789abcdef")));
        assert_eq!(parse("Abcdef.0123456789abcdef"), None);
        assert_eq!(parse("abcdef0123456789abcdef"), None);
    }
}
