//! Registry credentials in Docker's configuration format. Pure.

use super::name::full_repository;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cri::v1::AuthConfig;
use serde_json::Value;

/// Larger files are not credentials.
const MAX_BYTES: usize = 1 << 20;

fn text(entry: &Value, key: &str) -> String {
    entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn auth(entry: &Value, server: &str) -> AuthConfig {
    let mut auth = AuthConfig {
        username: text(entry, "username"),
        password: text(entry, "password"),
        identity_token: text(entry, "identitytoken"),
        registry_token: text(entry, "registrytoken"),
        server_address: server.to_owned(),
        ..AuthConfig::default()
    };
    let decoded = STANDARD.decode(text(entry, "auth").trim()).ok().and_then(|b| String::from_utf8(b).ok());
    if let Some((user, password)) = decoded.as_deref().and_then(|pair| pair.split_once(':')) {
        auth.username = user.to_owned();
        auth.password = password.trim_end_matches('\0').to_owned();
    }
    auth
}

/// Host and path of a key such as `https://index.docker.io/v1/` or `*.example.com/team`.
fn normalize(key: &str) -> (String, String) {
    let rest = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let path = path.trim_end_matches('/');
    let path = if path == "v1" || path == "v2" { "" } else { path };
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    };
    (host.to_owned(), path.to_owned())
}

/// Whether a host fits a pattern in which each label may be `*`.
fn host_fits(pattern: &str, host: &str) -> bool {
    let split = |text: &str| -> (Vec<String>, Option<String>) {
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) if port.chars().all(|c| c.is_ascii_digit()) => (name, Some(port.to_owned())),
            _ => (text, None),
        };
        (name.split('.').map(str::to_owned).collect(), port)
    };
    let ((pattern, pattern_port), (host, port)) = (split(pattern), split(host));
    let label_fits = |(pattern, label): (&String, &String)| match pattern.split_once('*') {
        None => pattern == label,
        Some((head, tail)) => {
            label.len() >= head.len() + tail.len() && label.starts_with(head) && label.ends_with(tail)
        }
    };
    pattern.len() == host.len()
        && (pattern_port.is_none() || pattern_port == port)
        && pattern.iter().zip(&host).all(label_fits)
}

/// Credentials for `image`, the most specific first. `nested` is the newer format with `auths`. What does not
/// parse yields none.
pub(super) fn find(config: &[u8], nested: bool, image: &str) -> Vec<AuthConfig> {
    if config.len() > MAX_BYTES {
        return Vec::new();
    }
    let Ok(parsed) = serde_json::from_slice::<Value>(config) else { return Vec::new() };
    let entries = if nested { parsed.get("auths").cloned().unwrap_or_default() } else { parsed };
    let repository = full_repository(image);
    let (host, path) = repository.split_once('/').unwrap_or((&repository, ""));
    let mut found: Vec<(usize, AuthConfig)> = Vec::new();
    for (key, entry) in entries.as_object().into_iter().flatten() {
        let (pattern, prefix) = normalize(key);
        let path_fits = prefix.is_empty()
            || path == prefix
            || path.strip_prefix(&prefix).is_some_and(|rest| rest.starts_with('/'));
        if host_fits(&pattern, host) && path_fits {
            found.push((prefix.len(), auth(entry, &pattern)));
        }
    }
    found.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    found.into_iter().map(|(_, auth)| auth).collect()
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn the_most_specific_comes_first() {
        let config = br#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "aHViOnB3"},
            "r.example.com:5000": {"username": "all", "password": "x"},
            "r.example.com:5000/team": {"username": "team", "password": "y"},
            "*.wild.io": {"username": "wild", "password": "z"}}}"#;
        let users = |image: &str| -> Vec<String> {
            find(config, true, image).into_iter().map(|a| a.username).collect()
        };
        assert_eq!(users("nginx"), ["hub"]);
        assert_eq!(users("r.example.com:5000/team/app:1"), ["team", "all"]);
        assert_eq!(users("r.example.com:5000/teamster/app"), ["all"]);
        assert_eq!(users("a.wild.io/x"), ["wild"]);
        assert!(users("a.b.wild.io/x").is_empty() && users("other.io/x").is_empty());
        assert!(find(b"{", true, "nginx").is_empty());
    }
}
