//! HTTP basic from a file (`--basic-auth-file`): lines of `password,user,uid,"group1,group2"`. Upstream gave it up, because
//! passwords lie in the file as they are; here too a warning says so.

use super::bootstrap_token::same_secret;
use super::token_file::Table;
use crate::contract::{Authenticator, UserInfo};
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use component::Tasks;
use component::serve::ConnInfo;
use http::header::AUTHORIZATION;
use machinery::Status;
use std::path::Path;
use std::sync::Arc;

/// The authenticator.
pub(super) struct Basic(Arc<Table>);

impl Basic {
    pub(super) async fn read(path: &Path, tasks: &Tasks) -> Result<Self, Status> {
        tracing::warn!("passwords of --basic-auth-file lie in it as they are; prefer certificates or tokens");
        Table::read(path, "the password file", tasks, |_, user| user.name.clone()).await.map(Self)
    }
}

#[async_trait]
impl Authenticator for Basic {
    async fn authenticate(
        &self,
        request: &http::request::Parts,
        _: &ConnInfo,
    ) -> Result<Option<UserInfo>, Status> {
        let header =
            request.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let Some((scheme, encoded)) = header.trim().split_once(' ') else { return Ok(None) };
        if !scheme.eq_ignore_ascii_case("basic") {
            return Ok(None);
        }
        let decoded = STANDARD.decode(encoded.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let Some((name, password)) = decoded.as_deref().and_then(|text| text.split_once(':')) else {
            return Err(Status::unauthorized());
        };
        if let Some((known, user)) = self.0.get(name)
            && same_secret(known.as_bytes(), password.as_bytes())
        {
            return Ok(Some(user));
        }
        Err(Status::unauthorized())
    }
}
