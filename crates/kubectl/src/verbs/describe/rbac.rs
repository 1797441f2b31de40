//! Roles, their bindings, and service accounts.

use super::writer::{Writer, list, text};
use crate::error::Result;
use crate::session::Session;
use serde_json::Value;

/// One rule of one resource or URL.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rule {
    pub(crate) verbs: Vec<String>,
    pub(crate) group: Option<String>,
    pub(crate) resource: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) url: Option<String>,
}

impl Rule {
    /// The key that upstream sorts by: verbs first, each list in brackets.
    fn key(&self) -> String {
        let one = |word: &Option<String>| word.clone().unwrap_or_default();
        format!(
            "Verbs:[{}],APIGroups:[{}],Resources:[{}],ResourceNames:[{}],NonResourceURLs:[{}]",
            self.verbs.join(" "),
            one(&self.group),
            one(&self.resource),
            one(&self.name),
            one(&self.url)
        )
    }

    /// `jobs.batch/status`.
    fn shown(&self) -> String {
        let resource = self.resource.clone().unwrap_or_default();
        let Some(group) = self.group.as_ref().filter(|group| !group.is_empty()) else { return resource };
        match resource.split_once('/') {
            Some((resource, sub)) => format!("{resource}.{group}/{sub}"),
            None => format!("{resource}.{group}"),
        }
    }

    /// Resource, URLs, names and verbs, as tables show them.
    pub(crate) fn cells(&self) -> [String; 4] {
        let bracketed = |word: &Option<String>| format!("[{}]", word.clone().unwrap_or_default());
        [self.shown(), bracketed(&self.url), bracketed(&self.name), format!("[{}]", self.verbs.join(" "))]
    }
}

fn words(value: &Value) -> Vec<String> {
    list(value).iter().map(text).collect()
}

/// Rules taken apart, those of one resource put together, sorted as upstream sorts them.
pub(crate) fn rules(all: &[Value]) -> Vec<Rule> {
    let mut out: Vec<Rule> = Vec::new();
    for rule in all {
        let verbs = words(&rule["verbs"]);
        for group in words(&rule["apiGroups"]) {
            for resource in words(&rule["resources"]) {
                let part = Rule {
                    verbs: verbs.clone(),
                    group: Some(group.clone()),
                    resource: Some(resource),
                    ..Rule::default()
                };
                let names = words(&rule["resourceNames"]);
                if names.is_empty() {
                    let same = |other: &&mut Rule| {
                        other.group == part.group && other.resource == part.resource && other.name.is_none()
                    };
                    match out.iter_mut().find(same) {
                        Some(known) => known.verbs.extend(part.verbs),
                        None => out.push(part),
                    }
                } else {
                    out.extend(names.into_iter().map(|name| Rule { name: Some(name), ..part.clone() }));
                }
            }
        }
        let urls = words(&rule["nonResourceURLs"]);
        out.extend(urls.into_iter().map(|url| Rule {
            verbs: verbs.clone(),
            url: Some(url),
            ..Rule::default()
        }));
    }
    out.sort_by_key(Rule::key);
    out
}

pub(super) async fn role(_: &Session, object: &Value, out: &mut Writer) -> Result<()> {
    out.field(0, "Name", &text(&object["metadata"]["name"]));
    out.labels(object);
    out.line(0, "PolicyRule:");
    out.line(1, "Resources\tNon-Resource URLs\tResource Names\tVerbs");
    out.line(1, "---------\t-----------------\t--------------\t-----");
    for rule in rules(list(&object["rules"])) {
        out.line(1, &rule.cells().join("\t"));
    }
    Ok(())
}

pub(super) async fn binding(_: &Session, object: &Value, out: &mut Writer) -> Result<()> {
    out.field(0, "Name", &text(&object["metadata"]["name"]));
    out.labels(object);
    out.line(0, "Role:");
    out.line(1, &format!("Kind:\t{}", text(&object["roleRef"]["kind"])));
    out.line(1, &format!("Name:\t{}", text(&object["roleRef"]["name"])));
    out.line(0, "Subjects:");
    out.line(1, "Kind\tName\tNamespace");
    out.line(1, "----\t----\t---------");
    for subject in list(&object["subjects"]) {
        out.line(
            1,
            &format!(
                "{}\t{}\t{}",
                text(&subject["kind"]),
                text(&subject["name"]),
                text(&subject["namespace"])
            ),
        );
    }
    Ok(())
}

pub(super) async fn service_account(session: &Session, object: &Value, out: &mut Writer) -> Result<()> {
    out.head(object);
    let meta = &object["metadata"];
    let resource = session.discovery().await?.find("secrets")?;
    let secrets = session.rest().await?.get(&resource.path(meta["namespace"].as_str(), None)).await?;
    let known: Vec<String> =
        list(&secrets["items"]).iter().map(|secret| text(&secret["metadata"]["name"])).collect();
    let tokens: Vec<String> = list(&secrets["items"])
        .iter()
        .filter(|secret| {
            let annotations = &secret["metadata"]["annotations"];
            secret["type"] == "kubernetes.io/service-account-token"
                && annotations["kubernetes.io/service-account.name"] == meta["name"]
                && annotations["kubernetes.io/service-account.uid"] == meta["uid"]
        })
        .map(|secret| text(&secret["metadata"]["name"]))
        .collect();
    let named =
        |field: &str| -> Vec<String> { list(&object[field]).iter().map(|one| text(&one["name"])).collect() };
    let rows = [
        ("Image pull secrets", named("imagePullSecrets")),
        ("Mountable secrets", named("secrets")),
        ("Tokens", tokens),
    ];
    for (label, names) in rows {
        if names.is_empty() {
            out.line(0, &format!("{label}:\t<none>"));
        }
        for (at, name) in names.iter().enumerate() {
            let label = if at == 0 { format!("{label}:") } else { String::new() };
            let missing = if known.contains(name) { "" } else { " (not found)" };
            out.line(0, &format!("{label}\t{name}{missing}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rules_are_put_together_and_sorted() {
        let all = json!([
            {"apiGroups": ["", "apps"], "resources": ["pods"], "verbs": ["get", "list"]},
            {"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["watch"]},
            {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a", "b"], "verbs": ["*"]},
            {"nonResourceURLs": ["/healthz"], "verbs": ["get"]}]);
        let shown: Vec<String> =
            rules(all.as_array().unwrap()).iter().map(|rule| rule.cells().join(" ")).collect();
        assert_eq!(
            shown,
            [
                "secrets [] [a] [*]",
                "secrets [] [b] [*]",
                "pods [] [] [get list watch]",
                "pods.apps [] [] [get list]",
                " [/healthz] [] [get]",
                "pods/log [] [] [watch]"
            ]
        );
    }
}
