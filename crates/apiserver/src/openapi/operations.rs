//! One operation of a path: parameters, bodies, responses and the extensions by which kubectl finds it.

use super::schemas::{meta, reference};
use super::words;
use machinery::GroupVersionKind;
use serde_json::{Map, Value, json};

/// A query or path parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Parameter {
    name: &'static str,
    place: &'static str,
    kind: &'static str,
}

const fn query(name: &'static str, kind: &'static str) -> Parameter {
    Parameter { name, place: "query", kind }
}

const fn path(name: &'static str) -> Parameter {
    Parameter { name, place: "path", kind: "string" }
}

pub(super) const NAME: Parameter = path("name");
pub(super) const NAMESPACE: Parameter = path("namespace");
pub(super) const PATH: Parameter = path("path");
pub(super) const PRETTY: Parameter = query("pretty", "string");

const WRITE: &[Parameter] =
    &[query("dryRun", "string"), query("fieldManager", "string"), query("fieldValidation", "string")];
const FORCE: Parameter = query("force", "boolean");
const DELETE: &[Parameter] = &[
    query("dryRun", "string"),
    query("gracePeriodSeconds", "integer"),
    query("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean"),
    query("orphanDependents", "boolean"),
    query("propagationPolicy", "string"),
];
const SELECT: &[Parameter] = &[
    query("continue", "string"),
    query("fieldSelector", "string"),
    query("labelSelector", "string"),
    query("limit", "integer"),
    query("resourceVersion", "string"),
    query("resourceVersionMatch", "string"),
    query("sendInitialEvents", "boolean"),
    query("shardSelector", "string"),
    query("timeoutSeconds", "integer"),
];
const WATCH: &[Parameter] = &[query("allowWatchBookmarks", "boolean"), query("watch", "boolean")];
const LOG: &[Parameter] = &[
    query("container", "string"),
    query("follow", "boolean"),
    query("insecureSkipTLSVerifyBackend", "boolean"),
    query("limitBytes", "integer"),
    query("previous", "boolean"),
    query("sinceSeconds", "integer"),
    query("stream", "string"),
    query("tailLines", "integer"),
    query("timestamps", "boolean"),
];
const STREAM: &[Parameter] = &[
    query("container", "string"),
    query("stderr", "boolean"),
    query("stdin", "boolean"),
    query("stdout", "boolean"),
    query("tty", "boolean"),
];

impl Parameter {
    pub(super) fn to_json(self) -> Value {
        let mut map = Map::new();
        map.insert("in".to_owned(), json!(self.place));
        map.insert("name".to_owned(), json!(self.name));
        if let Some(words) = words::parameter(self.name) {
            map.insert("description".to_owned(), json!(words));
        }
        if self.place == "path" {
            map.insert("required".to_owned(), json!(true));
        }
        map.insert("schema".to_owned(), json!({"type": self.kind, "uniqueItems": true}));
        Value::Object(map)
    }
}

/// What an operation does (`x-kubernetes-action`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Get,
    List,
    Watch,
    WatchList,
    Post,
    Put,
    Patch,
    Delete,
    DeleteCollection,
    /// GET of a container's log: text.
    Log,
    /// Any method, handed through: text.
    Connect(&'static str),
}

impl Action {
    pub(super) fn method(self) -> &'static str {
        match self {
            Self::Get | Self::List | Self::Watch | Self::WatchList | Self::Log => "get",
            Self::Post => "post",
            Self::Put => "put",
            Self::Patch => "patch",
            Self::Delete | Self::DeleteCollection => "delete",
            Self::Connect(method) => method,
        }
    }

    /// `x-kubernetes-action`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Get | Self::Log => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::WatchList => "watchlist",
            Self::DeleteCollection => "deletecollection",
            Self::Connect(_) => "connect",
            other => other.method(),
        }
    }

    /// The first word of `operationId`.
    fn verb(self) -> &'static str {
        match self {
            Self::Get | Self::Log => "read",
            Self::List => "list",
            Self::Watch | Self::WatchList => "watch",
            Self::Post => "create",
            Self::Put => "replace",
            Self::Patch => "patch",
            Self::Delete | Self::DeleteCollection => "delete",
            Self::Connect(_) => "connect",
        }
    }

    fn parameters(self, gvk: &GroupVersionKind) -> Vec<Parameter> {
        let mut all = Vec::new();
        match self {
            Self::Get => {}
            Self::List | Self::Watch | Self::WatchList => all.extend([SELECT, WATCH].concat()),
            Self::Post | Self::Put => all.extend(WRITE),
            Self::Patch => all.extend([WRITE, &[FORCE]].concat()),
            Self::Delete => all.extend(DELETE),
            Self::DeleteCollection => all.extend([DELETE, SELECT].concat()),
            Self::Log => all.extend(LOG),
            Self::Connect(_) => match gvk.kind.as_ref() {
                "PodExecOptions" => all.extend([STREAM, &[query("command", "string")]].concat()),
                "PodAttachOptions" => all.extend(STREAM),
                "PodPortForwardOptions" => all.push(query("ports", "integer")),
                _ => all.push(query("path", "string")),
            },
        }
        if !matches!(self, Self::Connect(_)) {
            all.push(PRETTY);
        }
        all
    }
}

/// One operation.
pub(super) struct Operation<'a> {
    pub(super) action: Action,
    /// `AppsV1`.
    pub(super) prefix: &'a str,
    /// The rest of `operationId`: `NamespacedDeploymentScale`.
    pub(super) suffix: String,
    pub(super) tag: &'a str,
    pub(super) gvk: &'a GroupVersionKind,
    /// Full name of the type it reads and writes.
    pub(super) body: String,
    /// Full name of the type it answers where that is another one.
    pub(super) answer: String,
    pub(super) path_parameters: &'a [Parameter],
    /// Kind of the resource, and the subresource if it is about one.
    pub(super) about: (&'a str, &'a str),
    /// Whether the kind is built in: speaks protobuf and strategic merge patch.
    pub(super) builtin: bool,
}

const OBJECT: &[&str] =
    &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "application/cbor"];
const EVENTS: &[&str] = &[
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
    "application/cbor-seq",
];

fn content(types: impl IntoIterator<Item = &'static str>, schema: &Value) -> Value {
    types.into_iter().map(|name| (name.to_owned(), json!({ "schema": schema }))).collect::<Map<_, _>>().into()
}

impl Operation<'_> {
    pub(super) fn parameters(&self) -> Vec<Parameter> {
        let mut all = self.action.parameters(self.gvk);
        all.extend(self.path_parameters);
        all.sort_unstable();
        all
    }

    fn id(&self) -> String {
        let verb = self.action.verb();
        let (prefix, suffix) = (self.prefix, &self.suffix);
        match self.action {
            Action::DeleteCollection => format!("{verb}{prefix}Collection{suffix}"),
            Action::Connect(method) => {
                let (first, rest) = method.split_at(1);
                format!("{verb}{prefix}{}{rest}{suffix}", first.to_uppercase())
            }
            _ => format!("{verb}{prefix}{suffix}"),
        }
    }

    fn types(&self, types: &'static [&'static str]) -> impl Iterator<Item = &'static str> {
        let builtin = self.builtin;
        types.iter().copied().filter(move |name| builtin || !name.contains("protobuf"))
    }

    fn responses(&self) -> Value {
        let mut responses = Map::new();
        let mut put = |code: &str, words: &str, content: Option<Value>| {
            let mut response = Map::new();
            if let Some(content) = content {
                response.insert("content".to_owned(), content);
            }
            response.insert("description".to_owned(), json!(words));
            responses.insert(code.to_owned(), Value::Object(response));
        };
        let answer = reference(&self.answer);
        let text = json!({"type": "string"});
        let ok = match self.action {
            Action::List | Action::Watch | Action::WatchList => {
                content(self.types(OBJECT).chain(self.types(EVENTS)), &answer)
            }
            Action::Log => content(["text/plain"].into_iter().chain(self.types(OBJECT)), &text),
            Action::Connect(_) => content(["*/*"], &text),
            _ => content(self.types(OBJECT), &answer),
        };
        let object = content(self.types(OBJECT), &answer);
        put("200", "OK", Some(ok));
        if matches!(self.action, Action::Post | Action::Put | Action::Patch) {
            put("201", "Created", Some(object.clone()));
        }
        if matches!(self.action, Action::Post | Action::Delete) {
            put("202", "Accepted", Some(object));
        }
        put("401", "Unauthorized", None);
        Value::Object(responses)
    }

    fn request_body(&self) -> Option<Value> {
        let body = match self.action {
            Action::Post | Action::Put => content(["*/*"], &reference(&self.body)),
            Action::Delete | Action::DeleteCollection => {
                return Some(json!({"content": content(["*/*"], &reference(&meta("DeleteOptions")))}));
            }
            Action::Patch => {
                let strategic = self.builtin.then_some("application/strategic-merge-patch+json");
                let types = ["application/json-patch+json", "application/merge-patch+json"]
                    .into_iter()
                    .chain(strategic)
                    .chain(["application/apply-patch+yaml", "application/apply-patch+cbor"]);
                content(types, &reference(&meta("Patch")))
            }
            _ => return None,
        };
        Some(json!({"content": body, "required": true}))
    }

    /// The operation without the parameters that `shared` has for the whole path.
    pub(super) fn to_json(&self, shared: &[Parameter]) -> Value {
        let mut map = Map::new();
        map.insert("tags".to_owned(), json!([self.tag]));
        let words = words::operation(self.action, self.about.0, self.about.1);
        map.insert("description".to_owned(), json!(words));
        map.insert("operationId".to_owned(), json!(self.id()));
        let own: Vec<Value> =
            self.parameters().into_iter().filter(|p| !shared.contains(p)).map(Parameter::to_json).collect();
        if !own.is_empty() {
            map.insert("parameters".to_owned(), Value::Array(own));
        }
        if let Some(body) = self.request_body() {
            map.insert("requestBody".to_owned(), body);
        }
        map.insert("responses".to_owned(), self.responses());
        map.insert("x-kubernetes-action".to_owned(), json!(self.action.name()));
        map.insert(
            "x-kubernetes-group-version-kind".to_owned(),
            json!({"group": self.gvk.group, "kind": self.gvk.kind, "version": self.gvk.version}),
        );
        Value::Object(map)
    }
}
