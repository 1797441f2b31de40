//! Which FlowSchema a request belongs to.
//!
//! Source: the API reference of FlowSchema. Deliberately absent: order among schemas (`table`) and what happens
//! then (`level`).

use crate::contract::{Attributes, UserInfo};
use api::common::items;
use api::k8s_openapi::api::flowcontrol::v1::{
    FlowSchemaSpec, NonResourcePolicyRule, PolicyRulesWithSubjects, ResourcePolicyRule, Subject,
};

const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// The rules of one FlowSchema.
#[derive(Debug, Default)]
pub(super) struct Rules(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    subjects: Vec<Who>,
    resources: Vec<ResourcePolicyRule>,
    paths: Vec<NonResourcePolicyRule>,
}

#[derive(Debug)]
enum Who {
    User(String),
    Group(String),
    /// Every service account of a namespace: the prefix of their names.
    Namespace(String),
    Anyone,
}

impl Who {
    fn of(subject: &Subject) -> Option<Self> {
        let star = |name: &str, one: fn(String) -> Self| {
            if name == "*" { Self::Anyone } else { one(name.to_owned()) }
        };
        match subject.kind.as_str() {
            "User" => subject.user.as_ref().map(|user| star(&user.name, Self::User)),
            "Group" => subject.group.as_ref().map(|group| star(&group.name, Self::Group)),
            "ServiceAccount" => subject.service_account.as_ref().map(|account| match account.name.as_str() {
                "*" => Self::Namespace(format!("{SERVICE_ACCOUNT}{}:", account.namespace)),
                name => Self::User(format!("{SERVICE_ACCOUNT}{}:{name}", account.namespace)),
            }),
            _ => None,
        }
    }

    fn is(&self, user: &UserInfo) -> bool {
        match self {
            Self::User(name) => *name == user.name,
            Self::Group(group) => user.in_group(group),
            Self::Namespace(prefix) => user.name.starts_with(prefix.as_str()),
            Self::Anyone => true,
        }
    }
}

fn listed(list: &[String], value: &str) -> bool {
    list.iter().any(|item| item == "*" || item == value)
}

fn resource_matches(rule: &ResourcePolicyRule, asked: &Attributes) -> bool {
    let resource = |item: &String| {
        item == "*"
            || match item.split_once('/') {
                None => asked.subresource.is_empty() && *item == asked.resource,
                Some((parent, sub)) => parent == asked.resource && sub == asked.subresource,
            }
    };
    listed(&rule.verbs, &asked.verb)
        && listed(&rule.api_groups, &asked.group)
        && rule.resources.iter().any(resource)
        && if asked.namespace.is_empty() {
            rule.cluster_scope.unwrap_or(false)
        } else {
            listed(items(&rule.namespaces), &asked.namespace)
        }
}

fn path_matches(rule: &NonResourcePolicyRule, asked: &Attributes) -> bool {
    let path = |item: &String| match item.strip_suffix('*') {
        Some(prefix) => asked.path.starts_with(prefix),
        None => *item == asked.path,
    };
    listed(&rule.verbs, &asked.verb) && rule.non_resource_urls.iter().any(path)
}

impl Rules {
    pub(super) fn new(spec: &FlowSchemaSpec) -> Self {
        let rule = |rule: &PolicyRulesWithSubjects| Rule {
            subjects: rule.subjects.iter().filter_map(Who::of).collect(),
            resources: items(&rule.resource_rules).to_vec(),
            paths: items(&rule.non_resource_rules).to_vec(),
        };
        Self(items(&spec.rules).iter().map(rule).collect())
    }

    pub(super) fn matches(&self, asked: &Attributes) -> bool {
        self.0.iter().any(|rule| {
            rule.subjects.iter().any(|who| who.is(&asked.user))
                && if asked.resource_request {
                    rule.resources.iter().any(|rule| resource_matches(rule, asked))
                } else {
                    rule.paths.iter().any(|rule| path_matches(rule, asked))
                }
        })
    }
}

/// What tells the flows of a schema apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Distinguish {
    Nothing,
    ByUser,
    ByNamespace,
}

impl Distinguish {
    pub(super) fn of(spec: &FlowSchemaSpec) -> Self {
        match spec.distinguisher_method.as_ref().map(|method| method.type_.as_str()) {
            Some("ByUser") => Self::ByUser,
            Some("ByNamespace") => Self::ByNamespace,
            _ => Self::Nothing,
        }
    }

    pub(super) fn of_request(self, asked: &Attributes) -> &str {
        match self {
            Self::Nothing => "",
            Self::ByUser => &asked.user.name,
            Self::ByNamespace => &asked.namespace,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Kind;
    use api::k8s_openapi::api::flowcontrol::v1::FlowSchema;
    use std::sync::Arc;

    fn rules(rules: &serde_json::Value) -> Rules {
        let json = serde_json::json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema",
            "metadata": {"name": "s"}, "spec": {"priorityLevelConfiguration": {"name": "l"}, "rules": rules}});
        Rules::new(FlowSchema::from_json(json.to_string().as_bytes()).unwrap().spec.as_ref().unwrap())
    }

    fn asked(
        user: &str,
        groups: &[&str],
        verb: &'static str,
        resource: &'static str,
        ns: &str,
    ) -> Attributes {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        Attributes {
            user: Arc::new(UserInfo::new(user, groups)),
            verb: verb.into(),
            resource_request: true,
            resource: resource.into(),
            subresource: subresource.into(),
            namespace: ns.to_owned(),
            ..Attributes::default()
        }
    }

    #[test]
    fn resources_scopes_and_subresources() {
        let node =
            rules(&serde_json::json!([{"subjects": [{"kind": "Group", "group": {"name": "system:nodes"}}],
            "resourceRules": [{"verbs": ["*"], "apiGroups": [""], "resources": ["nodes", "nodes/status"],
                "clusterScope": true}, {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"],
                "namespaces": ["a"]}]}]));
        let ask = |verb, resource, ns: &str| asked("system:node:n", &["system:nodes"], verb, resource, ns);
        assert!(node.matches(&ask("patch", "nodes/status", "")));
        assert!(node.matches(&ask("get", "nodes", "")));
        assert!(!node.matches(&ask("get", "nodes/proxy", "")));
        assert!(node.matches(&ask("get", "pods", "a")));
        assert!(!node.matches(&ask("get", "pods", "b")));
        assert!(!node.matches(&ask("get", "pods", "")), "all namespaces are the cluster scope");
        assert!(!node.matches(&ask("list", "pods", "a")));
        assert!(!node.matches(&asked("bob", &["dev"], "get", "nodes", "")));
    }

    #[test]
    fn service_accounts_and_paths() {
        let account = |ns: &str, name: &str| serde_json::json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": ns, "name": name}});
        let all = serde_json::json!([{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/logs/*"]}]);
        let rules =
            rules(&serde_json::json!([{"subjects": [account("kube-system", "*"), account("a", "one")],
            "nonResourceRules": all}]));
        let ask = |user: &str, path: &str| Attributes {
            user: Arc::new(UserInfo::new(user, &[])),
            verb: "get".into(),
            path: path.to_owned(),
            ..Attributes::default()
        };
        assert!(rules.matches(&ask("system:serviceaccount:kube-system:x", "/healthz")));
        assert!(rules.matches(&ask("system:serviceaccount:a:one", "/logs/kern")));
        assert!(!rules.matches(&ask("system:serviceaccount:a:two", "/healthz")));
        assert!(!rules.matches(&ask("system:serviceaccount:a:one", "/healthz/x")));
    }
}
