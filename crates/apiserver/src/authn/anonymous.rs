//! Requests without credentials, as far as they are served.

use super::jwt::Anonymous;
use crate::contract::{Authenticator, UserInfo};
use async_trait::async_trait;
use component::serve::ConnInfo;
use machinery::Status;

#[async_trait]
impl Authenticator for Anonymous {
    async fn authenticate(
        &self,
        request: &http::request::Parts,
        _: &ConnInfo,
    ) -> Result<Option<UserInfo>, Status> {
        let path = request.uri.path();
        let served = self.enabled && (self.paths.is_empty() || self.paths.iter().any(|known| known == path));
        Ok(served.then(UserInfo::anonymous))
    }
}
