//! The audit policy: which requests are recorded, how much of them, and at which stages.
//!
//! Source: audit.k8s.io/v1 `Policy`. The first rule that matches decides; a request that none matches is not
//! recorded.

use crate::config_file::{Node, parse};
use crate::contract::Attributes;

/// How much is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    None,
    Metadata,
    Request,
    RequestResponse,
}

impl Level {
    const ALL: [Self; 4] = [Self::None, Self::Metadata, Self::Request, Self::RequestResponse];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Metadata => "Metadata",
            Self::Request => "Request",
            Self::RequestResponse => "RequestResponse",
        }
    }
}

/// When an event is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    RequestReceived,
    ResponseStarted,
    ResponseComplete,
    Panic,
}

impl Stage {
    const ALL: [Self; 4] =
        [Self::RequestReceived, Self::ResponseStarted, Self::ResponseComplete, Self::Panic];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::RequestReceived => "RequestReceived",
            Self::ResponseStarted => "ResponseStarted",
            Self::ResponseComplete => "ResponseComplete",
            Self::Panic => "Panic",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of stages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stages(u8);

impl Stages {
    fn read(node: &Node<'_>) -> Result<Self, String> {
        let mut set = Self::default();
        for item in node.items()? {
            let name = item.choice(&Stage::ALL.map(Stage::as_str))?;
            set.0 |= Stage::ALL.iter().filter(|stage| stage.as_str() == name).map(|s| s.bit()).sum::<u8>();
        }
        Ok(set)
    }

    pub(crate) fn contains(self, stage: Stage) -> bool {
        self.0 & stage.bit() != 0
    }
}

#[derive(Debug)]
struct Resources {
    group: String,
    resources: Vec<String>,
    names: Vec<String>,
}

#[derive(Debug)]
struct Rule {
    level: Level,
    users: Vec<String>,
    groups: Vec<String>,
    verbs: Vec<String>,
    resources: Vec<Resources>,
    namespaces: Vec<String>,
    urls: Vec<String>,
    omit: Stages,
    omit_managed_fields: Option<bool>,
}

/// What the policy says of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) level: Level,
    pub(crate) omit: Stages,
    pub(crate) omit_managed_fields: bool,
}

/// A policy.
#[derive(Debug)]
pub(crate) struct Policy {
    rules: Vec<Rule>,
    omit: Stages,
    omit_managed_fields: bool,
}

const RULE: &[&str] = &[
    "level",
    "users",
    "userGroups",
    "verbs",
    "resources",
    "namespaces",
    "nonResourceURLs",
    "omitStages",
    "omitManagedFields",
];

impl Policy {
    /// Reads a policy file.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, String> {
        let value = parse(bytes, "Policy", &["audit.k8s.io/v1"])?;
        let root = Node::root(&value, &["rules", "omitStages", "omitManagedFields"])?;
        let rules = root.get("rules").objects(RULE)?;
        if rules.is_empty() {
            return Err("it has no rules; nothing would be recorded".to_owned());
        }
        Ok(Self {
            rules: rules.iter().map(rule).collect::<Result<_, _>>()?,
            omit: Stages::read(&root.get("omitStages"))?,
            omit_managed_fields: root.get("omitManagedFields").flag()?.unwrap_or(false),
        })
    }

    /// What is recorded of a request.
    pub(crate) fn verdict(&self, attributes: &Attributes) -> Verdict {
        let Some(rule) = self.rules.iter().find(|rule| rule.matches(attributes)) else {
            return Verdict { level: Level::None, omit: self.omit, omit_managed_fields: false };
        };
        Verdict {
            level: rule.level,
            omit: Stages(self.omit.0 | rule.omit.0),
            omit_managed_fields: rule.omit_managed_fields.unwrap_or(self.omit_managed_fields),
        }
    }
}

fn rule(node: &Node<'_>) -> Result<Rule, String> {
    let level = node.get("level").choice(&Level::ALL.map(Level::as_str))?;
    let resources = node.get("resources").objects(&["group", "resources", "resourceNames"])?;
    let rule = Rule {
        level: Level::ALL.into_iter().find(|known| known.as_str() == level).unwrap_or(Level::None),
        users: node.get("users").texts()?,
        groups: node.get("userGroups").texts()?,
        verbs: node.get("verbs").texts()?,
        resources: resources.iter().map(group).collect::<Result<_, _>>()?,
        namespaces: node.get("namespaces").texts()?,
        urls: node.get("nonResourceURLs").texts()?,
        omit: Stages::read(&node.get("omitStages"))?,
        omit_managed_fields: node.get("omitManagedFields").flag()?,
    };
    if !(rule.urls.is_empty() || rule.resources.is_empty() && rule.namespaces.is_empty()) {
        return Err(node
            .get("nonResourceURLs")
            .bad("rules cannot apply to both regular resources and non-resource URLs"));
    }
    for (at, url) in rule.urls.iter().enumerate() {
        let stem = url.strip_suffix('*').unwrap_or(url);
        if url != "*" && (!url.starts_with('/') || stem.contains('*')) {
            return Err(node.get("nonResourceURLs").bad(&format!(
                "[{at}]: Invalid value: {url:?}: a path begins with '/', and '*' may only end it"
            )));
        }
    }
    Ok(rule)
}

fn group(node: &Node<'_>) -> Result<Resources, String> {
    let resources = Resources {
        group: node.get("group").text()?.to_owned(),
        resources: node.get("resources").texts()?,
        names: node.get("resourceNames").texts()?,
    };
    if !resources.names.is_empty() && resources.resources.is_empty() {
        return Err(node.get("resourceNames").bad("using resourceNames requires at least one resource"));
    }
    Ok(resources)
}

fn none_or_has(list: &[String], wanted: &str) -> bool {
    list.is_empty() || list.iter().any(|item| item == wanted)
}

impl Rule {
    fn matches(&self, attributes: &Attributes) -> bool {
        let user = &attributes.user;
        if !none_or_has(&self.users, &user.name)
            || !(self.groups.is_empty() || self.groups.iter().any(|group| user.in_group(group)))
            || !none_or_has(&self.verbs, &attributes.verb)
        {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return attributes.resource_request
                && none_or_has(&self.namespaces, &attributes.namespace)
                && (self.resources.is_empty() || self.resources.iter().any(|r| r.matches(attributes)));
        }
        self.urls.is_empty()
            || (!attributes.resource_request
                && self.urls.iter().any(|url| url_matches(url, &attributes.path)))
    }
}

impl Resources {
    fn matches(&self, attributes: &Attributes) -> bool {
        if self.group != attributes.group {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        let (resource, sub) = (attributes.resource.as_ref(), attributes.subresource.as_ref());
        none_or_has(&self.names, &attributes.name)
            && self.resources.iter().any(|pattern| match pattern.split_once('/') {
                None => pattern == "*" || (sub.is_empty() && pattern == resource),
                Some(("*", wanted)) => !sub.is_empty() && wanted == sub,
                Some((wanted, "*")) => wanted == resource,
                Some((wanted, wanted_sub)) => wanted == resource && wanted_sub == sub,
            })
    }
}

fn url_matches(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(stem) => path.starts_with(stem),
        None => pattern == path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::UserInfo;
    use std::sync::Arc;

    const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- level: None
  users: ["system:kube-proxy"]
  verbs: [watch]
- level: RequestResponse
  omitManagedFields: false
  omitStages: [ResponseStarted]
  resources: [{group: "", resources: [pods, "pods/status"]}, {group: apps, resources: ["*/scale"]}]
- level: Request
  namespaces: [kube-system]
  resources: [{group: "", resources: [configmaps], resourceNames: [a]}, {group: batch}]
- level: Metadata
  userGroups: ["system:authenticated"]
  nonResourceURLs: ["/api*", /version]
"#;

    fn asks(text: &str) -> Attributes {
        let parts: Vec<&str> = text.split(' ').collect();
        let mut attributes = Attributes {
            user: Arc::new(UserInfo::new(parts[0], &["system:authenticated"])),
            verb: parts[1].to_owned().into(),
            ..Attributes::default()
        };
        if let Some(path) = parts[2].strip_prefix("url:") {
            attributes.path = path.to_owned();
            return attributes;
        }
        attributes.resource_request = true;
        let fields: Vec<&str> = parts[2].split(',').collect();
        attributes.group = fields[0].to_owned().into();
        let (resource, sub) = fields[1].split_once('/').unwrap_or((fields[1], ""));
        attributes.resource = resource.to_owned().into();
        attributes.subresource = sub.to_owned().into();
        attributes.namespace = fields[2].to_owned();
        attributes.name = fields[3].to_owned();
        attributes
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let policy = Policy::read(POLICY.as_bytes()).unwrap();
        for (request, level) in [
            ("system:kube-proxy watch ,pods,a,b", Level::None),
            ("system:kube-proxy list ,pods,a,b", Level::RequestResponse),
            ("x get ,pods/status,a,b", Level::RequestResponse),
            ("x get ,pods/log,a,b", Level::None),
            ("x get apps,deployments/scale,a,b", Level::RequestResponse),
            ("x get ,configmaps,kube-system,a", Level::Request),
            ("x get ,configmaps,kube-system,b", Level::None),
            ("x get ,configmaps,default,a", Level::None),
            ("x get batch,jobs/status,kube-system,b", Level::Request),
            ("x get url:/apis/apps", Level::Metadata),
            ("x get url:/version", Level::Metadata),
            ("x get url:/version/x", Level::None),
        ] {
            assert_eq!(policy.verdict(&asks(request)).level, level, "{request}");
        }
        let verdict = policy.verdict(&asks("x get ,pods,a,b"));
        assert!(!verdict.omit_managed_fields);
        assert!(
            verdict.omit.contains(Stage::RequestReceived) && verdict.omit.contains(Stage::ResponseStarted)
        );
        assert!(!verdict.omit.contains(Stage::ResponseComplete));
        assert!(policy.verdict(&asks("x get url:/version")).omit_managed_fields);
    }

    #[test]
    fn bad_policies_are_refused_by_field() {
        let read = |rules: &str| {
            Policy::read(format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: {rules}").as_bytes())
                .map(|_| ())
                .unwrap_err()
        };
        assert!(read("[{level: All}]").starts_with("rules[0].level: Unsupported value: \"All\""));
        assert!(read("[{level: None, who: x}]").contains("unknown field \"rules[0].who\""));
        assert!(read("[{level: None, namespaces: [a], nonResourceURLs: [/a]}]").contains("both"));
        assert!(read("[{level: None, nonResourceURLs: ['/a*b']}]").contains("may only end it"));
        assert!(read("[]").contains("no rules"));
    }
}
