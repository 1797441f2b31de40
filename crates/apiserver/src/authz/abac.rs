//! The ABAC authorizer: a file of policies, a JSON object per line (`--authorization-policy-file`).
//!
//! Source: "Using ABAC Authorization"; abac.authorization.kubernetes.io/v1beta1, and the lines without a version that
//! came before it. Deliberately absent: reloading; upstream needs a restart too.

use crate::contract::{Attributes, Authorizer, Decision};
use async_trait::async_trait;
use machinery::Status;
use serde_json::Value;
use std::path::Path;

/// Whom `*` means.
const EVERYONE: &str = "system:authenticated";

#[derive(Debug, Default)]
struct Policy {
    user: String,
    group: String,
    readonly: bool,
    api_group: String,
    resource: String,
    namespace: String,
    path: String,
}

/// The authorizer.
pub(super) struct Abac(Vec<Policy>);

impl Abac {
    /// Reads the file. Fails with the number of the line that cannot be read.
    pub(super) fn read(path: Option<&Path>) -> Result<Self, Status> {
        let Some(path) = path else {
            return Err(Status::bad_request(
                "failed to start authorization: mode ABAC needs --authorization-policy-file",
            ));
        };
        let failed = |why: String| {
            Status::internal(format!("failed to use the ABAC policy file {}: {why}", path.display()))
        };
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        parse(&text).map(Self).map_err(failed)
    }
}

fn parse(text: &str) -> Result<Vec<Policy>, String> {
    let mut policies = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let at = |why: String| format!("error reading policy file, line {}: {line}: {why}", number + 1);
        let value: Value = serde_json::from_str(line).map_err(|error| at(error.to_string()))?;
        policies.push(policy(&value).map_err(at)?);
    }
    Ok(policies)
}

fn policy(value: &Value) -> Result<Policy, String> {
    let text = |of: &Value, key: &str| -> Result<String, String> {
        match of.get(key) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => Err(format!("{key} must be a string")),
        }
    };
    let read = |of: &Value| -> Result<Policy, String> {
        Ok(Policy {
            user: text(of, "user")?,
            group: text(of, "group")?,
            readonly: of.get("readonly").and_then(Value::as_bool).unwrap_or(false),
            api_group: text(of, "apiGroup")?,
            resource: text(of, "resource")?,
            namespace: text(of, "namespace")?,
            path: text(of, "nonResourcePath")?,
        })
    };
    let mut policy = match text(value, "apiVersion")?.as_str() {
        "" => {
            // The form before versions: what is left empty is everything.
            let mut policy = read(value)?;
            if policy.user.is_empty() && policy.group.is_empty() {
                EVERYONE.clone_into(&mut policy.group);
            }
            if policy.namespace.is_empty() && policy.resource.is_empty() {
                "*".clone_into(&mut policy.path);
            }
            for field in [&mut policy.namespace, &mut policy.resource] {
                if field.is_empty() {
                    "*".clone_into(field);
                }
            }
            "*".clone_into(&mut policy.api_group);
            policy
        }
        "abac.authorization.kubernetes.io/v1beta1" if text(value, "kind")? == "Policy" => {
            read(value.get("spec").unwrap_or(&Value::Null))?
        }
        other => return Err(format!("no kind \"Policy\" is registered for version {other:?}")),
    };
    if policy.user == "*" || policy.group == "*" {
        policy.user.clear();
        EVERYONE.clone_into(&mut policy.group);
    }
    Ok(policy)
}

fn is(pattern: &str, value: &str) -> bool {
    pattern == "*" || pattern == value
}

impl Policy {
    fn allows(&self, attributes: &Attributes) -> bool {
        let user = &attributes.user;
        let subject = match (self.user.as_str(), self.group.as_str()) {
            ("", "") => false,
            (name, "") => name == user.name,
            ("", group) => user.in_group(group),
            (name, group) => name == user.name && user.in_group(group),
        };
        if !subject || (self.readonly && !attributes.read_only()) {
            return false;
        }
        if !attributes.resource_request {
            return match self.path.strip_suffix('*') {
                Some(stem) => attributes.path.starts_with(stem.trim_end_matches('*')),
                None => self.path == attributes.path && !self.path.is_empty(),
            };
        }
        is(&self.namespace, &attributes.namespace)
            && is(&self.resource, &attributes.resource)
            && is(&self.api_group, &attributes.group)
    }
}

#[async_trait]
impl Authorizer for Abac {
    async fn authorize(&self, attributes: &Attributes) -> Decision {
        match self.0.iter().any(|policy| policy.allows(attributes)) {
            true => Decision::Allow,
            false => Decision::NoOpinion("No policy matched.".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::UserInfo;
    use std::sync::Arc;

    fn ask(user: &str, verb: &'static str, what: &str) -> Attributes {
        let user = Arc::new(UserInfo::new(user, &["system:authenticated", "dev"]));
        let base = Attributes { user, verb: verb.into(), ..Attributes::default() };
        match what.split_once(':') {
            None => Attributes { path: what.to_owned(), ..base },
            Some((namespace, resource)) => Attributes {
                resource_request: true,
                namespace: namespace.to_owned(),
                resource: resource.to_owned().into(),
                ..base
            },
        }
    }

    #[test]
    fn lines_of_both_forms_decide() {
        let v1 = |spec: &str| {
            format!(
                r#"{{"apiVersion": "abac.authorization.kubernetes.io/v1beta1", "kind": "Policy", "spec": {spec}}}"#
            )
        };
        let text = [
            "# a comment".to_owned(),
            v1(r#"{"user": "alice", "namespace": "*", "resource": "*", "apiGroup": "*"}"#),
            v1(r#"{"user": "bob", "namespace": "a", "resource": "pods", "readonly": true}"#),
            v1(r#"{"group": "*", "nonResourcePath": "/ver*"}"#),
            r#"{"user": "carol", "resource": "pods", "readonly": true}"#.to_owned(),
        ];
        let policies = parse(&text.join("\n")).unwrap();
        let allowed = |attributes: &Attributes| policies.iter().any(|policy| policy.allows(attributes));
        for (user, verb, what, expected) in [
            ("alice", "delete", "x:secrets", true),
            ("alice", "get", "/healthz", false),
            ("bob", "list", "a:pods", true),
            ("bob", "create", "a:pods", false),
            ("bob", "list", "b:pods", false),
            ("dave", "get", "/version", true),
            ("dave", "get", "/metrics", false),
            ("carol", "get", "z:pods", true),
            ("carol", "delete", "z:pods", false),
        ] {
            assert_eq!(allowed(&ask(user, verb, what)), expected, "{user} {verb} {what}");
        }
        assert!(parse("{}\n{").unwrap_err().contains("line 2"));
    }
}
