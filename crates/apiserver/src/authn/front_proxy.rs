//! The authenticating front proxy: whoever shows a certificate of the front-proxy authority says in
//! `X-Remote-*` headers for whom it speaks.

use super::x509::Authority;
use crate::contract::{Authenticator, UserInfo};
use async_trait::async_trait;
use component::SharedClock;
use component::serve::ConnInfo;
use http::HeaderMap;
use machinery::Status;
use std::collections::BTreeMap;

pub(crate) struct FrontProxy {
    authority: Authority,
    names: Vec<String>,
}

impl FrontProxy {
    pub(crate) fn new(bundle: &[u8], names: &[String], clock: &SharedClock) -> Result<Self, Status> {
        Ok(Self { authority: Authority::new(bundle, clock)?, names: names.to_vec() })
    }
}

#[async_trait]
impl Authenticator for FrontProxy {
    async fn authenticate(
        &self,
        request: &http::request::Parts,
        connection: &ConnInfo,
    ) -> Result<Option<UserInfo>, Status> {
        if !request.headers.contains_key("x-remote-user") {
            return Ok(None);
        }
        let Some(proxy) = self.authority.identify(connection) else { return Ok(None) };
        if !self.names.is_empty() && !self.names.contains(&proxy.name) {
            return Ok(None);
        }
        Ok(read(&request.headers))
    }
}

fn read(headers: &HeaderMap) -> Option<UserInfo> {
    let texts = |name: &str| {
        let values = headers.get_all(name).iter().filter_map(|v| v.to_str().ok());
        values.filter(|v| !v.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    let name = texts("x-remote-user").into_iter().next()?;
    let uid = texts("x-remote-uid").into_iter().next().unwrap_or_default();
    Some(UserInfo { name, uid, groups: texts("x-remote-group"), extra: extra(headers, "x-remote-extra-") })
}

/// Values of the headers with this prefix by the rest of their name, which may be percent-encoded.
pub(crate) fn extra(headers: &HeaderMap, prefix: &str) -> BTreeMap<String, Vec<String>> {
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        if let (Some(key), Ok(value)) = (name.as_str().strip_prefix(prefix), value.to_str()) {
            extra
                .entry(crate::request::decode(key, false).to_lowercase())
                .or_default()
                .push(value.to_owned());
        }
    }
    extra
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_make_an_identity() {
        let mut headers = HeaderMap::new();
        assert_eq!(read(&headers), None);
        headers.insert("x-remote-user", "alice".parse().unwrap());
        headers.append("x-remote-group", "a".parse().unwrap());
        headers.append("x-remote-group", "b".parse().unwrap());
        headers.insert("x-remote-extra-example.com%2fscope", "s".parse().unwrap());
        let user = read(&headers).unwrap();
        assert_eq!(
            (user.name.as_str(), user.groups.as_slice()),
            ("alice", &["a".to_owned(), "b".to_owned()][..])
        );
        assert_eq!(user.extra["example.com/scope"], ["s"]);
    }
}
