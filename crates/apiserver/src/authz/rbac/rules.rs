//! What a policy rule matches, and whether rules cover others.
//!
//! Source: the RBAC documentation; `PolicyRule` of rbac.authorization.k8s.io/v1. Deliberately absent: who has
//! which rules (`index.rs`).

use crate::contract::Attributes;
use api::k8s_openapi::api::rbac::v1::PolicyRule;

const ALL: &str = "*";

fn has(list: &Option<Vec<String>>, wanted: &str) -> bool {
    list.as_ref().is_some_and(|list| list.iter().any(|item| item == ALL || item == wanted))
}

/// Whether `rule` allows what `attributes` ask.
pub fn allows(rule: &PolicyRule, attributes: &Attributes) -> bool {
    if !rule.verbs.iter().any(|verb| verb == ALL || *verb == attributes.verb) {
        return false;
    }
    if !attributes.resource_request {
        return rule
            .non_resource_urls
            .as_ref()
            .is_some_and(|urls| urls.iter().any(|url| url_matches(url, &attributes.path)));
    }
    has(&rule.api_groups, &attributes.group)
        && rule.resources.as_ref().is_some_and(|all| {
            all.iter().any(|r| resource_matches(r, &attributes.resource, &attributes.subresource))
        })
        && name_matches(rule, &attributes.name)
}

fn name_matches(rule: &PolicyRule, name: &str) -> bool {
    match rule.resource_names.as_deref() {
        None | Some([]) => true,
        Some(names) => names.iter().any(|n| n == name),
    }
}

fn resource_matches(pattern: &str, resource: &str, subresource: &str) -> bool {
    if pattern == ALL {
        return true;
    }
    match pattern.split_once('/') {
        None => subresource.is_empty() && pattern == resource,
        Some((parent, sub)) => {
            !subresource.is_empty() && sub == subresource && (parent == ALL || parent == resource)
        }
    }
}

fn url_matches(pattern: &str, path: &str) -> bool {
    if pattern == ALL || pattern == path {
        return true;
    }
    pattern.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix.trim_end_matches('*')))
}

/// The parts of `wanted`, each of one verb on one thing, that no rule of `held` covers. A person may grant only
/// what they hold (RBAC documentation, "Privilege escalation prevention").
pub fn uncovered(held: &[PolicyRule], wanted: &[PolicyRule]) -> Vec<PolicyRule> {
    let mut missing: Vec<PolicyRule> = Vec::new();
    for part in wanted.iter().flat_map(split) {
        if !held.iter().any(|rule| covers(rule, &part)) && !missing.contains(&part) {
            missing.push(part);
        }
    }
    missing
}

/// A rule as rules of one verb on one thing.
fn split(rule: &PolicyRule) -> Vec<PolicyRule> {
    let mut parts = Vec::new();
    let one = |value: &String| Some(vec![value.clone()]);
    for verb in &rule.verbs {
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                let base = PolicyRule {
                    api_groups: one(group),
                    resources: one(resource),
                    verbs: vec![verb.clone()],
                    ..PolicyRule::default()
                };
                match rule.resource_names.as_deref() {
                    None | Some([]) => parts.push(base),
                    Some(names) => parts.extend(
                        names.iter().map(|name| PolicyRule { resource_names: one(name), ..base.clone() }),
                    ),
                }
            }
        }
        parts.extend(rule.non_resource_urls.iter().flatten().map(|url| PolicyRule {
            non_resource_urls: one(url),
            verbs: vec![verb.clone()],
            ..PolicyRule::default()
        }));
    }
    parts
}

/// Whether `rule` includes `part`, a rule of one verb on one thing.
fn covers(rule: &PolicyRule, part: &PolicyRule) -> bool {
    let verbs = part.verbs.iter().all(|v| rule.verbs.iter().any(|mine| mine == ALL || mine == v));
    if !verbs {
        return false;
    }
    if let Some(urls) = &part.non_resource_urls {
        return urls.iter().all(|url| {
            rule.non_resource_urls.iter().flatten().any(|mine| {
                mine == ALL || mine == url || mine.strip_suffix('*').is_some_and(|p| url.starts_with(p))
            })
        });
    }
    let groups = part.api_groups.iter().flatten().all(|group| has(&rule.api_groups, group));
    let resources = part.resources.iter().flatten().all(|wanted| {
        rule.resources.iter().flatten().any(|mine| {
            mine == ALL
                || mine == wanted
                || matches!((mine.split_once('/'), wanted.split_once('/')),
                    (Some((ALL, mine)), Some((_, wanted))) if mine == wanted)
        })
    });
    let names = match (rule.resource_names.as_deref(), part.resource_names.as_deref()) {
        (None | Some([]), _) => true,
        (Some(_), None | Some([])) => false,
        (Some(mine), Some(wanted)) => wanted.iter().all(|name| mine.contains(name)),
    };
    groups && resources && names
}

/// A rule as upstream prints it in messages about escalation.
pub(crate) fn compact(rule: &PolicyRule) -> String {
    let list = |name: &str, values: &Option<Vec<String>>| {
        let values = values.as_ref().filter(|values| !values.is_empty())?;
        let quoted: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
        Some(format!("{name}:[{}]", quoted.join(", ")))
    };
    let parts: Vec<String> = [
        list("APIGroups", &rule.api_groups),
        list("Resources", &rule.resources),
        list("ResourceNames", &rule.resource_names),
        list("NonResourceURLs", &rule.non_resource_urls),
        list("Verbs", &Some(rule.verbs.clone())),
    ]
    .into_iter()
    .flatten()
    .collect();
    format!("{{{}}}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(verbs: &str, groups: &str, resources: &str, names: &str) -> PolicyRule {
        let list = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        PolicyRule {
            verbs: list(verbs),
            api_groups: Some(list(groups)),
            resources: Some(list(resources)),
            resource_names: (!names.is_empty()).then(|| list(names)),
            non_resource_urls: None,
        }
    }

    fn ask(verb: &'static str, group: &'static str, resource: &'static str, sub: &'static str) -> Attributes {
        Attributes {
            verb: verb.into(),
            resource_request: true,
            group: group.into(),
            resource: resource.into(),
            subresource: sub.into(),
            name: "a".to_owned(),
            ..Attributes::default()
        }
    }

    #[test]
    fn resources_subresources_and_names() {
        let rows = [
            (rule("get", "", "pods", ""), ask("get", "", "pods", ""), true),
            (rule("get", "", "pods", ""), ask("get", "", "pods", "log"), false),
            (rule("get", "", "pods/log", ""), ask("get", "", "pods", "log"), true),
            (rule("get", "", "*/log", ""), ask("get", "", "pods", "log"), true),
            (rule("get", "", "*/log", ""), ask("get", "", "pods", ""), false),
            (rule("get", "", "*", ""), ask("get", "", "pods", "log"), true),
            (rule("get", "apps", "*", ""), ask("get", "", "pods", ""), false),
            (rule("*", "*", "*", ""), ask("delete", "apps", "deployments", ""), true),
            (rule("get", "", "pods", "a,b"), ask("get", "", "pods", ""), true),
            (rule("get", "", "pods", "b"), ask("get", "", "pods", ""), false),
        ];
        for (rule, attributes, expected) in rows {
            assert_eq!(allows(&rule, &attributes), expected, "{} on {attributes:?}", compact(&rule));
        }
    }

    #[test]
    fn urls_match_by_prefix() {
        for (pattern, path, expected) in [
            ("/api/*", "/api/v1", true),
            ("/api", "/api/v1", false),
            ("*", "/metrics", true),
            ("/healthz", "/healthz", true),
        ] {
            assert_eq!(url_matches(pattern, path), expected, "{pattern} on {path}");
        }
    }

    #[test]
    fn nothing_beyond_what_is_held_is_covered() {
        let held = [rule("get,list", "", "pods,pods/log", ""), rule("update", "apps", "*", "a")];
        assert!(uncovered(&held, &[rule("get", "", "pods", "x")]).is_empty());
        assert!(uncovered(&held, &[rule("update", "apps", "deployments", "a")]).is_empty());
        let missing =
            uncovered(&held, &[rule("get,delete", "", "pods", ""), rule("update", "apps", "x", "")]);
        let texts: Vec<String> = missing.iter().map(compact).collect();
        assert_eq!(
            texts,
            [
                r#"{APIGroups:[""], Resources:["pods"], Verbs:["delete"]}"#,
                r#"{APIGroups:["apps"], Resources:["x"], Verbs:["update"]}"#
            ]
        );
        let wildcard = [rule("*", "*", "*", "")];
        assert!(uncovered(&wildcard, &[rule("escalate", "x", "y/z", "")]).is_empty());
        assert!(!uncovered(&held, &[rule("*", "", "pods", "")]).is_empty());
    }
}
