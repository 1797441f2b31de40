//! The EncryptionConfiguration file.

use super::Provider;
use super::ciphers::{Key, Local};
use super::kms::{Kms, Settings};
use crate::config_file::{Node, parse};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use component::{SharedClock, Tasks};
use std::sync::Arc;
use std::time::Duration;

/// The providers of a resource in order; the first encrypts. `None` is identity: plaintext.
type Chain = Vec<Option<Arc<dyn Provider>>>;

/// What the file says.
pub(super) struct Providers {
    rules: Vec<(Vec<Pattern>, Chain)>,
    /// Tasks of KMS providers.
    tasks: Tasks,
}

#[derive(Debug, PartialEq, Eq)]
struct Pattern {
    /// `None` is every group.
    group: Option<String>,
    /// `None` is every resource.
    resource: Option<String>,
}

impl Pattern {
    /// `secrets`, `deployments.apps`, `*.` (core), `*.apps`, `*.*`.
    fn parse(text: &str) -> Result<Self, String> {
        let (resource, group) = text.split_once('.').unwrap_or((text, ""));
        if resource.is_empty() || (resource == "*" && text == "*") {
            return Err(format!(
                "{text:?} is no resource; write <resource>, <resource>.<group>, *.<group>, *. (core) or *.*"
            ));
        }
        if group == "*" && resource != "*" {
            return Err(format!("{text:?}: a resource of any group cannot be named; write *.*"));
        }
        let some = |text: &str| (text != "*").then(|| text.to_owned());
        Ok(Self { group: some(group), resource: some(resource) })
    }

    fn matches(&self, group: &str, resource: &str) -> bool {
        self.group.as_deref().is_none_or(|wanted| wanted == group)
            && self.resource.as_deref().is_none_or(|wanted| wanted == resource)
    }
}

impl Providers {
    /// The providers of a resource: of the first entry that names it.
    pub(super) fn of(&self, group: &str, resource: &str) -> Option<&[Option<Arc<dyn Provider>>]> {
        let named = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(group, resource));
        self.rules.iter().find(|(patterns, _)| named(patterns)).map(|(_, chain)| chain.as_slice())
    }

    /// Ends what it does in the background; another configuration is in force.
    pub(super) fn retire(&self) {
        self.tasks.stop();
    }
}

/// Reads the file. KMS plugins must answer.
pub(super) async fn read(bytes: &[u8], clock: &SharedClock, tasks: &Tasks) -> Result<Providers, String> {
    let value = parse(bytes, "EncryptionConfiguration", &["apiserver.config.k8s.io/v1"])?;
    let root = Node::root(&value, &["resources"])?;
    let mut providers = Providers { rules: Vec::new(), tasks: tasks.child() };
    for entry in root.get("resources").objects(&["resources", "providers"])? {
        let names = entry.get("resources").texts()?;
        if names.is_empty() {
            return Err(entry.get("resources").bad("Required value: at least one resource"));
        }
        let patterns = names.iter().map(|name| Pattern::parse(name)).collect::<Result<Vec<_>, _>>();
        let patterns = patterns.map_err(|why| entry.get("resources").bad(&why))?;
        let known = providers.rules.iter().flat_map(|(patterns, _)| patterns);
        if let Some(twice) =
            known.zip(std::iter::repeat(&patterns)).find_map(|(a, all)| all.iter().find(|b| *b == a))
        {
            return Err(entry.get("resources").bad(&format!("{twice:?} was named before")));
        }
        let mut chain = Chain::new();
        let ways = ["aescbc", "aesgcm", "secretbox", "identity", "kms"];
        let listed = entry.get("providers").objects(&ways)?;
        if listed.is_empty() {
            return Err(entry.get("providers").bad("Required value: at least one provider"));
        }
        for node in listed {
            let set: Vec<&str> = ways.into_iter().filter(|way| node.value.get(way).is_some()).collect();
            let [way] = set[..] else {
                return Err(
                    node.bad("a provider must be exactly one of aescbc, aesgcm, secretbox, identity, kms")
                );
            };
            match way {
                "identity" => chain.push(None),
                "kms" => {
                    let settings = kms(&node)?;
                    let kms = Kms::start(settings, clock, &providers.tasks).await;
                    chain.push(Some(Arc::new(kms.map_err(|why| node.bad(&why))?)));
                }
                way => chain.extend(keys(&node, way)?),
            }
        }
        providers.rules.push((patterns, chain));
    }
    Ok(providers)
}

fn keys(node: &Node<'_>, way: &str) -> Result<Chain, String> {
    let keys = node.object(way, &["keys"])?.get("keys").objects(&["name", "secret"])?;
    if keys.is_empty() {
        return Err(node.get(way).bad("Required value: at least one key"));
    }
    let one = |key: &Node<'_>| -> Result<Option<Arc<dyn Provider>>, String> {
        let name = key.get("name").required()?;
        let secret = key.get("secret");
        // What is wrong with a secret is told, not the secret.
        let bytes = STANDARD.decode(secret.required()?).map_err(|_| secret.bad("must be base64"))?;
        let key = Key::new(way, &bytes).map_err(|why| secret.bad(&why))?;
        Ok(Some(Arc::new(Local::new(way, name, key))))
    };
    keys.iter().map(one).collect()
}

fn kms(node: &Node<'_>) -> Result<Settings, String> {
    let kms = node.object("kms", &["apiVersion", "name", "cachesize", "endpoint", "timeout"])?;
    if kms.get("apiVersion").choice(&["", "v1", "v2"])? != "v2" {
        return Err(kms.get("apiVersion").bad(
            "KMSv1 is deprecated and off by default in Kubernetes, and not served here; write a plugin for v2 and apiVersion: v2",
        ));
    }
    if kms.get("cachesize").is_set() {
        return Err(kms.get("cachesize").bad("cachesize is not supported in v2"));
    }
    let endpoint = kms.get("endpoint").required()?;
    let Some(path) = endpoint.strip_prefix("unix://").filter(|path| !path.is_empty()) else {
        return Err(kms
            .get("endpoint")
            .bad(&format!("Invalid value: {endpoint:?}: it must be unix:///path")));
    };
    let name = kms.get("name").required()?;
    if name.contains(':') {
        return Err(kms.get("name").bad("must not contain ':'"));
    }
    let timeout = kms.get("timeout").duration()?.unwrap_or(Duration::from_secs(3));
    // `unix:///@name` is an abstract socket.
    let path = path.strip_prefix("/@").map_or_else(|| path.to_owned(), |name| format!("\0{name}"));
    Ok(Settings { name: name.to_owned(), path, timeout })
}

#[cfg(test)]
mod tests {
    use super::*;
    use component::clock::SystemClock;

    #[tokio::test]
    async fn wildcards_and_order_decide() {
        let key = STANDARD.encode([1; 32]);
        let file = format!(
            "apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets, deployments.apps]
  providers: [{{aesgcm: {{keys: [{{name: a, secret: {key}}}]}}}}, {{identity: {{}}}}]
- resources: ['*.apps']
  providers: [{{identity: {{}}}}]
- resources: ['*.']
  providers: [{{secretbox: {{keys: [{{name: b, secret: {key}}}]}}}}]
- resources: ['*.*']
  providers: [{{aescbc: {{keys: [{{name: c, secret: {key}}}]}}}}]"
        );
        let tasks = Tasks::new();
        let read = read(file.as_bytes(), &SystemClock::shared(), &tasks).await.unwrap();
        let first = |group: &str, resource: &str| {
            let chain = read.of(group, resource).unwrap();
            chain[0].as_ref().map(|p| String::from_utf8(p.prefix().to_vec()).unwrap()).unwrap_or_default()
        };
        assert_eq!(first("", "secrets"), "k8s:enc:aesgcm:v1:a:");
        assert_eq!(first("apps", "deployments"), "k8s:enc:aesgcm:v1:a:");
        assert_eq!(first("apps", "daemonsets"), "");
        assert_eq!(first("", "pods"), "k8s:enc:secretbox:v1:b:");
        assert_eq!(first("example.com", "widgets"), "k8s:enc:aescbc:v1:c:");
        let bad = |text: &str| {
            let text = format!(
                "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources: {text}"
            );
            futures::executor::block_on(super::read(text.as_bytes(), &SystemClock::shared(), &tasks))
                .err()
                .unwrap()
        };
        let short = STANDARD.encode("sixteen-bytes!!");
        let error = bad(&format!(
            "[{{resources: [a], providers: [{{aescbc: {{keys: [{{name: k, secret: {short}}}]}}}}]}}]"
        ));
        assert!(error.contains("must have 16, 24 or 32 bytes"), "{error}");
        assert!(!error.contains(&short), "secrets are not told");
        assert!(bad("[{resources: ['pods.*'], providers: [{identity: {}}]}]").contains("any group"));
        assert!(bad("[{resources: [a], providers: [{identity: {}, kms: {}}]}]").contains("exactly one"));
        assert!(
            bad("[{resources: [a], providers: [{kms: {name: k, endpoint: 'unix:///x'}}]}]").contains("KMSv1")
        );
    }
}
