//! The paths of a resource: collection, object, subresources and the old watch paths.

use super::operations::{Action, NAME, NAMESPACE, Operation, PATH, Parameter};
use super::schemas::meta;
use api::schema::lookup;
use api::{ResourceDef, Subresource, Verb};
use machinery::{GroupVersion, GroupVersionKind};
use serde_json::{Map, Value};

/// Kinds whose DELETE answers the object instead of a Status, as upstream's registry has it.
const ANSWERS_ITSELF: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "PersistentVolume",
            "PersistentVolumeClaim",
            "Pod",
            "PodTemplate",
            "ResourceQuota",
            "Service",
            "ServiceAccount",
        ],
    ),
    ("resource.k8s.io", &["DeviceClass", "ResourceClaim", "ResourceClaimTemplate", "ResourceSlice"]),
    (
        "storage.k8s.io",
        &["CSIDriver", "CSINode", "StorageClass", "VolumeAttachment", "VolumeAttributesClass"],
    ),
];

/// Methods of a proxy.
const ANY: &[&str] = &["delete", "get", "head", "options", "patch", "post", "put"];

/// `AppsV1` and `apps_v1` for a group and version.
pub(super) fn names(gv: &GroupVersion) -> (String, String) {
    let group = if gv.group.is_empty() { "core" } else { gv.group.as_ref() };
    let short = group.strip_suffix(".k8s.io");
    let parts: Vec<&str> = match short {
        Some(short) => short.split('.').collect(),
        // Foreign groups are read from the right: `example.com` is ComExample.
        None if group.contains('.') => group.rsplit('.').collect(),
        None => vec![group],
    };
    let camel: String = parts.iter().map(|part| capitalize(part)).collect();
    let (first, rest) = camel.split_at(camel.chars().next().map_or(0, char::len_utf8));
    (format!("{camel}{}", capitalize(&gv.version)), format!("{}{rest}_{}", first.to_lowercase(), gv.version))
}

pub(super) fn capitalize(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// Path prefix of a group and version.
pub(super) fn base(gv: &GroupVersion) -> String {
    if gv.group.is_empty() { format!("/api/{}", gv.version) } else { format!("/apis/{gv}") }
}

/// Full name of a kind's schema: the published one, or for custom kinds the group read from the right.
pub(super) fn schema_name(gvk: &GroupVersionKind) -> String {
    if let Some(id) = lookup(gvk) {
        return id.full_name();
    }
    let mut group: Vec<&str> = gvk.group.split('.').collect();
    group.reverse();
    format!("{}.{}.{}", group.join("."), gvk.version, gvk.kind)
}

struct Builder<'a> {
    def: &'a ResourceDef,
    prefix: String,
    tag: String,
    builtin: bool,
    paths: Map<String, Value>,
}

/// The paths of a resource.
pub(super) fn paths(def: &ResourceDef) -> Map<String, Value> {
    let gv = def.gvr().group_version();
    let (prefix, tag) = names(&gv);
    let builtin = lookup(&def.gvk).is_some();
    let mut builder = Builder { def, prefix, tag, builtin, paths: Map::new() };
    let base = base(&gv);
    let plural = &def.plural;
    let scope = if def.namespaced {
        format!("{base}/namespaces/{{namespace}}/{plural}")
    } else {
        format!("{base}/{plural}")
    };
    builder.collection(&scope);
    builder.object(&format!("{scope}/{{name}}"));
    for sub in &def.subresources {
        builder.subresource(&format!("{scope}/{{name}}"), sub);
    }
    builder.all_namespaces(&format!("{base}/{plural}"));
    builder.watches(&scope.replacen(&base, &format!("{base}/watch"), 1), &format!("{base}/watch/{plural}"));
    builder.paths
}

impl Builder<'_> {
    fn can(&self, verb: Verb) -> bool {
        self.def.verbs.contains(&verb)
    }

    /// `NamespacedDeployment`.
    fn kind(&self) -> String {
        format!("{}{}", if self.def.namespaced { "Namespaced" } else { "" }, self.def.gvk.kind)
    }

    fn namespace(&self) -> Vec<Parameter> {
        if self.def.namespaced { vec![NAMESPACE] } else { Vec::new() }
    }

    /// Adds a path; `part` is the subresource that it is about, if it is.
    fn put(
        &mut self,
        path: &str,
        part: &str,
        parameters: &[Parameter],
        rows: Vec<(Action, String, &GroupVersionKind, String)>,
    ) {
        let operations: Vec<Operation<'_>> = rows
            .into_iter()
            .map(|(action, suffix, gvk, answer)| Operation {
                action,
                prefix: &self.prefix,
                suffix,
                tag: &self.tag,
                gvk,
                body: schema_name(gvk),
                answer,
                path_parameters: parameters,
                about: (&self.def.gvk.kind, part),
                builtin: self.builtin,
            })
            .collect();
        let Some((first, rest)) = operations.split_first() else { return };
        // What every operation of a path takes stands at the path.
        let mut shared = first.parameters();
        for other in rest {
            let theirs = other.parameters();
            shared.retain(|parameter| theirs.contains(parameter));
        }
        let mut item = Map::new();
        for operation in &operations {
            item.insert(operation.action.method().to_owned(), operation.to_json(&shared));
        }
        if !shared.is_empty() {
            let shared: Vec<Value> = shared.into_iter().map(Parameter::to_json).collect();
            item.insert("parameters".to_owned(), Value::Array(shared));
        }
        self.paths.insert(path.to_owned(), Value::Object(item));
    }

    fn collection(&mut self, path: &str) {
        let gvk = &self.def.gvk;
        let own = schema_name(gvk);
        let mut rows = Vec::new();
        for (verb, action, answer) in [
            (Verb::DeleteCollection, Action::DeleteCollection, meta("Status")),
            (Verb::List, Action::List, self.list_name()),
            (Verb::Create, Action::Post, own),
        ] {
            if self.can(verb) {
                rows.push((action, self.kind(), gvk, answer));
            }
        }
        self.put(path, "", &self.namespace(), rows);
    }

    fn list_name(&self) -> String {
        let gvk = GroupVersionKind { kind: self.def.list_kind.clone(), ..self.def.gvk.clone() };
        schema_name(&gvk)
    }

    fn object(&mut self, path: &str) {
        let gvk = &self.def.gvk;
        let own = schema_name(gvk);
        let itself = ANSWERS_ITSELF
            .iter()
            .any(|(group, kinds)| *group == gvk.group && kinds.contains(&gvk.kind.as_ref()));
        let deleted = if itself { own.clone() } else { meta("Status") };
        let mut rows = Vec::new();
        for (verb, action, answer) in [
            (Verb::Delete, Action::Delete, deleted),
            (Verb::Get, Action::Get, own.clone()),
            (Verb::Patch, Action::Patch, own.clone()),
            (Verb::Update, Action::Put, own),
        ] {
            if self.can(verb) {
                rows.push((action, self.kind(), gvk, answer));
            }
        }
        self.put(path, "", &[self.namespace(), vec![NAME]].concat(), rows);
    }

    fn subresource(&mut self, object: &str, sub: &Subresource) {
        let gvk = sub.gvk.as_ref().unwrap_or(&self.def.gvk);
        let path = format!("{object}/{}", sub.name);
        let suffix = format!("{}{}", self.kind(), capitalize(&sub.name));
        let parameters = [self.namespace(), vec![NAME]].concat();
        if gvk.kind.ends_with("Options") {
            let methods = if sub.name == "proxy" { ANY } else { &["get", "post"] };
            let rows = |suffix: &str| {
                methods
                    .iter()
                    .map(|method| (Action::Connect(method), suffix.to_owned(), gvk, String::new()))
                    .collect::<Vec<_>>()
            };
            self.put(&path, &sub.name, &parameters, rows(&suffix));
            if sub.name == "proxy" {
                let parameters = [parameters, vec![PATH]].concat();
                self.put(
                    &format!("{path}/{{path}}"),
                    &sub.name,
                    &parameters,
                    rows(&format!("{suffix}WithPath")),
                );
            }
            return;
        }
        let get = if sub.name == "log" { Action::Log } else { Action::Get };
        let rows = [
            (Verb::Get, get),
            (Verb::Patch, Action::Patch),
            (Verb::Create, Action::Post),
            (Verb::Update, Action::Put),
        ];
        let rows = rows
            .into_iter()
            .filter(|(verb, _)| sub.verbs.contains(verb))
            .map(|(_, action)| (action, suffix.clone(), gvk, schema_name(gvk)))
            .collect();
        self.put(&path, &sub.name, &parameters, rows);
    }

    fn all_namespaces(&mut self, path: &str) {
        if self.def.namespaced && self.can(Verb::List) {
            let suffix = format!("{}ForAllNamespaces", self.def.gvk.kind);
            self.put(path, "", &[], vec![(Action::List, suffix, &self.def.gvk, self.list_name())]);
        }
    }

    /// The paths under `/watch/`, deprecated but served. Custom resources never had them.
    fn watches(&mut self, collection: &str, all: &str) {
        if !self.builtin || !self.can(Verb::Watch) {
            return;
        }
        let (def, event) = (self.def, meta("WatchEvent"));
        let list = format!("{}List", self.kind());
        self.put(collection, "", &self.namespace(), vec![(Action::WatchList, list, &def.gvk, event.clone())]);
        let parameters = [self.namespace(), vec![NAME]].concat();
        let row = (Action::Watch, self.kind(), &def.gvk, event.clone());
        self.put(&format!("{collection}/{{name}}"), "", &parameters, vec![row]);
        if def.namespaced {
            let suffix = format!("{}ListForAllNamespaces", def.gvk.kind);
            self.put(all, "", &[], vec![(Action::WatchList, suffix, &def.gvk, event)]);
        }
    }
}
