//! Who sends a request: the authenticators in upstream's order, groups that everyone gets, impersonation.
//!
//! A new authenticator is a file here and a row in [`start`]. Credentials never appear in logs or errors: whoever
//! shows bad ones learns only `Unauthorized`. Deliberately absent: tokens kept in secrets.

mod anonymous;
mod basic;
mod bearer;
mod bootstrap_token;
mod front_proxy;
mod impersonation;
mod jwt;
pub mod service_account;
mod token_file;
pub mod trust;
mod webhook;
mod x509;

pub use bearer::{Identified, TokenAuthenticator};
pub use impersonation::impersonate;
pub use jwt::{Anonymous, JwtSettings, OidcFlags};
pub use webhook::TokenWebhook;

use crate::contract::{Authenticator, Context, UserInfo};
use component::serve::ConnInfo;
use machinery::Status;
use std::sync::Arc;

/// Group of everyone who was identified.
pub const AUTHENTICATED: &str = "system:authenticated";
/// Group of everyone else.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";

/// Builds the configured authenticators and installs them in `context`.
///
/// Fails when a certificate, key or token file cannot be used.
pub async fn start(context: &Context) -> Result<(), Status> {
    let config = &context.config;
    let mut chain: Vec<Arc<dyn Authenticator>> = Vec::new();
    if let Some(authority) = &config.front_proxy_ca {
        chain.push(Arc::new(front_proxy::FrontProxy::new(
            authority,
            &config.front_proxy_names,
            &context.clock,
        )?));
    }
    if let Some(authority) = &config.client_ca {
        chain.push(Arc::new(x509::ClientCertificates::new(authority, &context.clock)?));
    }
    if let Some(file) = &config.basic_file {
        chain.push(Arc::new(basic::Basic::read(file, &context.tasks).await?));
    }
    let mut tokens: Vec<Arc<dyn TokenAuthenticator>> = Vec::new();
    if let Some(file) = &config.token_file {
        tokens.push(Arc::new(token_file::TokenFile::read(file, &context.tasks).await?));
    }
    tokens.push(Arc::new(service_account::ServiceAccountTokens::new(context)?));
    tokens.push(Arc::new(bootstrap_token::BootstrapTokens::new(context)));
    let (issuers, anonymous) = jwt::start(context).await?;
    if let Some(issuers) = issuers {
        tokens.push(issuers);
    }
    if let Some(settings) = &config.token_webhook {
        tokens.push(Arc::new(webhook::Webhook::new(context, settings)?));
    }
    chain.push(Arc::new(bearer::Bearer::new(tokens, config.service_accounts.audiences.clone())));
    let everywhere = jwt::Anonymous { enabled: config.anonymous, paths: Vec::new() };
    chain.push(Arc::new(anonymous.unwrap_or(everywhere)));
    // Only the first set of authenticators counts; a server is put together once.
    let _ = context.authenticators.set(chain);
    Ok(())
}

/// Whom the credentials of a request name. 401 for bad credentials, and for none where anonymous requests are off.
pub async fn authenticate(
    context: &Context,
    request: &http::request::Parts,
    connection: &ConnInfo,
) -> Result<Arc<UserInfo>, Status> {
    let mut found = None;
    for authenticator in context.authenticators.get().into_iter().flatten() {
        if let Some(user) = authenticator.identify(request, connection).await? {
            found = Some(user);
            break;
        }
    }
    found.ok_or_else(Status::unauthorized)
}

/// Who a request is served as: its sender or, with `Impersonate-*` headers, whom the sender may act as.
pub async fn acting_as(
    context: &Context,
    headers: &http::HeaderMap,
    _: &crate::request::RequestInfo,
    sender: Arc<UserInfo>,
) -> Result<Arc<UserInfo>, Status> {
    let Some(user) = impersonate(context, headers, &sender).await? else { return Ok(sender) };
    let user = Arc::new(user);
    crate::audit::impersonated(&user, "");
    Ok(user)
}

/// Adds the group of everyone who was identified.
pub fn authenticated(mut user: UserInfo) -> UserInfo {
    if !user.in_group(AUTHENTICATED) && !user.in_group(UNAUTHENTICATED) {
        user.groups.push(AUTHENTICATED.to_owned());
    }
    user
}

/// Removes what identified the sender, so that a proxied request does not carry it further.
pub fn strip_credentials(headers: &mut http::HeaderMap) {
    headers.remove(http::header::AUTHORIZATION);
    let personal: Vec<http::HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("impersonate-") || name.as_str().starts_with("x-remote-"))
        .cloned()
        .collect();
    for name in personal {
        headers.remove(name);
    }
}
