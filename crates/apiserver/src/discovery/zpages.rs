//! `/statusz`, `/flagz` and `/configz`: what runs here, since when and how it is configured, for people with the role
//! `system:monitoring` (KEP-4827, KEP-4828).
//!
//! The first two are text, which is not meant to be parsed, or a versioned object for clients that name its group,
//! version and kind; anything else is 406. Deliberately absent: secrets, which no configuration value printed here
//! contains (of files and bundles only the presence is said), and the configuration of other components.

use super::version;
use crate::Config;
use crate::http::{Accept, json_response, text_response};
use component::serve::Response;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use k8s_openapi::jiff::Timestamp;
use machinery::{Reason, Status, codec};
use serde_json::{Map, Value, json};
use std::fmt::Write;
use std::time::Duration;

const COMPONENT: &str = "kube-apiserver";
const GROUP: &str = "config.k8s.io";
const VERSIONS: [&str; 2] = ["v1alpha1", "v1beta1"];
const WARNING: &str = "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility \
                       guarantees and is for debugging purposes only.";

/// How a page is wanted.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Text,
    Json(&'static str),
    Yaml(&'static str),
}

fn negotiate(headers: &HeaderMap, kind: &str) -> Result<Wanted, Status> {
    if !headers.contains_key(http::header::ACCEPT) {
        return Ok(Wanted::Text);
    }
    let version = |range: &Accept<'_>| {
        let named = range.parameter("g") == Some(GROUP) && range.parameter("as") == Some(kind);
        VERSIONS.into_iter().find(|version| named && range.parameter("v") == Some(version))
    };
    Accept::ranges(headers)
        .iter()
        .find_map(|range| match range.media {
            "text/plain" | "text/*" | "*/*" => range.parameter("as").is_none().then_some(Wanted::Text),
            "application/json" => version(range).map(Wanted::Json),
            "application/yaml" => version(range).map(Wanted::Yaml),
            _ => None,
        })
        .ok_or_else(|| {
            Status::new(
                406,
                Reason::NotAcceptable,
                "only the following media types are accepted: application/json, application/yaml, text/plain",
            )
        })
}

/// A page in the wanted form: `fields` are those of the object beside its type and name, `text` follows the heading.
fn page(headers: &HeaderMap, kind: &str, fields: Map<String, Value>, text: &str) -> Result<Response, Status> {
    let object = |version: &str| {
        let mut object = Map::new();
        object.insert("kind".to_owned(), json!(kind));
        object.insert("apiVersion".to_owned(), json!(format!("{GROUP}/{version}")));
        object.insert("metadata".to_owned(), json!({"name": COMPONENT}));
        object.extend(fields);
        Value::Object(object)
    };
    Ok(match negotiate(headers, kind)? {
        Wanted::Text => {
            text_response(200, format!("\n{COMPONENT} {}\n{WARNING}\n{text}", kind.to_lowercase()))
        }
        Wanted::Json(version) => json_response(200, &object(version)),
        Wanted::Yaml(version) => {
            let mut response = json_response(200, &Value::Null);
            let yaml = codec::yaml::print(&object(version)).map_err(Status::internal)?;
            *response.body_mut() = component::serve::full(yaml);
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/yaml"));
            response
        }
    })
}

/// First segments of paths that are not for debugging.
const NOT_FOR_DEBUGGING: [&str; 5] = ["api", "apis", "openid", "openapi", ".well-known"];

/// `/statusz`. `paths` are all that the server lists at `/`.
pub(super) fn statusz(
    headers: &HeaderMap,
    started: Timestamp,
    now: Timestamp,
    paths: &[String],
) -> Result<Response, Status> {
    let mut folders: Vec<&str> = paths
        .iter()
        .filter_map(|path| path.split('/').nth(1))
        .filter(|folder| !folder.is_empty() && !NOT_FOR_DEBUGGING.contains(folder))
        .collect();
    folders.sort_unstable();
    folders.dedup();
    let folders: Vec<String> = folders.into_iter().map(|folder| format!("/{folder}")).collect();
    let up = (now.as_second() - started.as_second()).max(0);
    let info = version::info();
    let emulated = format!("{}.{}", version::MAJOR, version::MINOR);
    let binary = version::GIT_VERSION.trim_start_matches('v');
    let go = info["goVersion"].as_str().unwrap_or_default();
    let text = format!(
        "\nStarted: {}\nUp: {} hr {:02} min {:02} sec\nGo version: {go}\nBinary version: {binary}\nEmulation version: \
         {emulated}\nPaths: {}\n",
        started.strftime("%a %b %e %H:%M:%S UTC %Y"),
        up / 3600,
        up / 60 % 60,
        up % 60,
        folders.join(" "),
    );
    let fields = json!({
        "startTime": started.to_string(),
        "uptimeSeconds": up,
        "goVersion": go,
        "binaryVersion": binary,
        "emulationVersion": emulated,
        "paths": folders,
    });
    let Value::Object(fields) = fields else { return Err(Status::internal("a page is an object")) };
    page(headers, "Statusz", fields, &text)
}

/// `/flagz`: the configuration under the names of upstream's flags.
pub(super) fn flagz(headers: &HeaderMap, config: &Config) -> Result<Response, Status> {
    let flags = flags(config);
    let text = flags.iter().fold(String::new(), |mut text, (name, value)| {
        let _ = writeln!(text, "{name}={}", value.as_str().unwrap_or_default());
        text
    });
    page(headers, "Flagz", Map::from_iter([("flags".to_owned(), Value::Object(flags))]), &text)
}

/// `/configz`: the same as an object by component, as upstream's components answer it.
pub(super) fn configz(config: &Config) -> Response {
    json_response(200, &json!({ COMPONENT: flags(config) }))
}

fn flags(config: &Config) -> Map<String, Value> {
    let given = |given: bool| if given { "(given)" } else { "" }.to_owned();
    let (address, bits) = config.service_cidr;
    let (first, last) = config.node_ports;
    let mut flags = [
        ("advertise-address", config.advertise.ip().to_string()),
        ("anonymous-auth", config.anonymous.to_string()),
        ("api-audiences", config.service_accounts.audiences.join(",")),
        ("authorization-mode", config.authorization_modes.join(",")),
        ("client-ca-file", given(config.client_ca.is_some())),
        ("disable-admission-plugins", config.disable_admission.join(",")),
        ("enable-admission-plugins", config.enable_admission.join(",")),
        ("event-ttl", go_duration(config.event_ttl)),
        ("request-timeout", go_duration(config.request_timeout)),
        ("requestheader-allowed-names", config.front_proxy_names.join(",")),
        ("requestheader-client-ca-file", given(config.front_proxy_ca.is_some())),
        ("secure-port", config.advertise.port().to_string()),
        ("service-account-issuer", config.service_accounts.issuer.clone()),
        ("service-account-signing-key-file", given(config.service_accounts.signing_key.is_some())),
        ("service-cluster-ip-range", format!("{address}/{bits}")),
        ("service-node-port-range", format!("{first}-{last}")),
        ("token-auth-file", given(config.token_file.is_some())),
    ];
    flags.sort();
    flags.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect()
}

/// A duration as upstream's flags print it: `1h0m0s`.
fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, minutes) => format!("{minutes}m{rest}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{rest}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::ACCEPT;

    fn of(accept: &'static str) -> Result<Wanted, u16> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        negotiate(&headers, "Statusz").map_err(|status| status.code)
    }

    #[test]
    fn forms_are_negotiated() {
        assert_eq!(negotiate(&HeaderMap::new(), "Statusz").unwrap(), Wanted::Text);
        assert_eq!(of("*/*"), Ok(Wanted::Text));
        assert_eq!(of("application/json;v=v1beta1;g=config.k8s.io;as=Statusz"), Ok(Wanted::Json("v1beta1")));
        assert_eq!(
            of("application/yaml;v=v1alpha1;g=config.k8s.io;as=Statusz"),
            Ok(Wanted::Yaml("v1alpha1"))
        );
        assert_eq!(of("application/json"), Err(406));
        assert_eq!(of("application/json;v=v1beta1;g=config.k8s.io;as=Flagz"), Err(406));
        assert_eq!(of("application/json, text/plain"), Ok(Wanted::Text));
    }

    #[test]
    fn durations_read_as_flags() {
        let of = |seconds| go_duration(Duration::from_secs(seconds));
        assert_eq!([of(3600), of(60), of(5)], ["1h0m0s", "1m0s", "5s"]);
    }
}
