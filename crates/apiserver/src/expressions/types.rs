//! Variables of admission and their types ("Validating Admission Policy", variables).

use cel::{AUTHORIZER, Env, FieldTable, Program, RESOURCE_CHECK, Type};
use std::sync::LazyLock;

static ENV: LazyLock<Env> = LazyLock::new(|| {
    Env::new()
        .var("object", Type::Dyn)
        .var("oldObject", Type::Dyn)
        .var("request", request())
        .var("namespaceObject", namespace())
        .var("authorizer", AUTHORIZER)
        .var("authorizer.requestResource", RESOURCE_CHECK)
});

/// What expressions may name; `params` only where the policy has a kind of parameters.
pub(crate) fn admission_env(params: bool) -> Env {
    let env = ENV.clone();
    if params { env.var("params", Type::Dyn) } else { env }
}

fn texts(names: &[&str]) -> Vec<(String, Type)> {
    names.iter().map(|name| ((*name).to_owned(), Type::STRING)).collect()
}

fn request() -> Type {
    let kind = || FieldTable::object("kubernetes.GroupVersionKind", texts(&["group", "version", "kind"]));
    let resource =
        || FieldTable::object("kubernetes.GroupVersionResource", texts(&["group", "version", "resource"]));
    let mut user = texts(&["username", "uid"]);
    user.push(("groups".to_owned(), Type::list(Type::STRING)));
    user.push(("extra".to_owned(), Type::map(Type::STRING, Type::list(Type::STRING))));
    let mut fields = texts(&["subResource", "requestSubResource", "name", "namespace", "operation"]);
    fields.extend([
        ("kind".to_owned(), kind()),
        ("resource".to_owned(), resource()),
        ("requestKind".to_owned(), kind()),
        ("requestResource".to_owned(), resource()),
        ("userInfo".to_owned(), FieldTable::object("kubernetes.UserInfo", user)),
        ("dryRun".to_owned(), Type::Bool),
        ("options".to_owned(), Type::Dyn),
    ]);
    FieldTable::object("kubernetes.AdmissionRequest", fields)
}

fn namespace() -> Type {
    let labels = || Type::map(Type::STRING, Type::STRING);
    let mut meta = texts(&["name", "generateName", "namespace", "uid", "resourceVersion"]);
    meta.extend([
        ("labels".to_owned(), labels()),
        ("annotations".to_owned(), labels()),
        ("creationTimestamp".to_owned(), Type::Timestamp),
        ("deletionTimestamp".to_owned(), Type::Timestamp),
        ("deletionGracePeriodSeconds".to_owned(), Type::Int),
        ("generation".to_owned(), Type::Int),
        ("finalizers".to_owned(), Type::list(Type::STRING)),
    ]);
    let spec = [("finalizers".to_owned(), Type::list(Type::STRING))];
    FieldTable::object(
        "kubernetes.Namespace",
        [
            ("metadata".to_owned(), FieldTable::object("kubernetes.NamespaceMetadata", meta)),
            ("spec".to_owned(), FieldTable::object("kubernetes.NamespaceSpec", spec)),
            ("status".to_owned(), FieldTable::object("kubernetes.NamespaceStatus", texts(&["phase"]))),
        ],
    )
}

/// The declared type of a variable of every environment, which lives as long as the process.
pub(super) static REQUEST: LazyLock<Type> = LazyLock::new(request);
pub(super) static NAMESPACE: LazyLock<Type> = LazyLock::new(namespace);

/// Whether the result is a truth, or may turn out to be one.
pub(crate) fn is_bool(program: &Program) -> bool {
    matches!(program.result_type(), Type::Bool)
}

/// Whether the result is text.
pub(crate) fn is_text(program: &Program) -> bool {
    matches!(program.result_type(), Type::String(_))
}
