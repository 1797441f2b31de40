//! `create token`: asks for a service account's token.

use super::{Build, Kind, name};
use crate::error::{Result, message};
use crate::flags::{self, list, text, value, words};
use crate::rest::JSON;
use crate::session::{Session, duration};
use clap::ArgMatches;
use http::Method;
use serde_json::json;

pub(super) const TOKEN: Kind = Kind {
    name: "token",
    alias: "",
    about: "Ask for a token of a service account",
    arguments: |command| {
        command
            .arg(list("audience", "NAME", "Whom the token is for; may be repeated"))
            .arg(value("duration", "DURATION", "How long it is valid"))
            .arg(flags::args("SERVICE_ACCOUNT"))
    },
    build: Build::Whole(|session, matches| Box::pin(run(session, matches))),
    below: &[],
};

async fn run(session: &Session, matches: &ArgMatches) -> Result<()> {
    let resource = session.discovery().await?.find("serviceaccounts")?;
    let path = resource.path(Some(&session.namespace().await?), Some(&name(matches)?));
    let mut request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let audiences = words(matches, "audience");
    if !audiences.is_empty() {
        request["spec"]["audiences"] = json!(audiences);
    }
    if let Some(time) = text(matches, "duration") {
        request["spec"]["expirationSeconds"] = duration(time)?.as_secs().into();
    }
    let answer = session.rest().await?.send(Method::POST, &format!("{path}/token"), JSON, &request).await;
    let answer = answer.map_err(|error| message(format!("failed to create token: {}", error.text())))?;
    session.line(answer["status"]["token"].as_str().unwrap_or_default())
}
