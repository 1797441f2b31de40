//! [`ResourceDef`]: one value per resource, from which discovery, OpenAPI, RBAC bootstrap, printing,
//! completion and the documentation are read. A CustomResourceDefinition builds the same struct at run
//! time, so built-in and custom resources share one path.

use crate::common::names::NameCheck;
use crate::object::{DecodeError, Kind, Object};
use crate::rules::Rules;
use futures::future::BoxFuture;
use k8s_openapi::jiff::Timestamp;
use machinery::gvk::Name;
use machinery::{FieldErrors, GroupResource, GroupVersionKind, GroupVersionResource, Status};
use serde_json::Value;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// What can be done with a resource; the names are those of discovery and RBAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    /// POST.
    Create,
    /// DELETE of one object.
    Delete,
    /// DELETE of a collection.
    DeleteCollection,
    /// GET of one object.
    Get,
    /// GET of a collection.
    List,
    /// PATCH.
    Patch,
    /// PUT.
    Update,
    /// GET with `watch`.
    Watch,
}

impl Verb {
    /// Every verb, in discovery's order: what most resources offer.
    pub const ALL: &[Verb] = &[
        Verb::Create,
        Verb::Delete,
        Verb::DeleteCollection,
        Verb::Get,
        Verb::List,
        Verb::Patch,
        Verb::Update,
        Verb::Watch,
    ];

    /// The verb in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Create => "create",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Patch => "patch",
            Verb::Update => "update",
            Verb::Watch => "watch",
        }
    }
}

/// A column of a resource's table (`meta/v1.TableColumnDefinition`).
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Header as upstream spells it; clients print it in capitals.
    pub name: Name,
    /// OpenAPI type: `string`, `integer`, `number`, `boolean`, `date`.
    pub kind: Name,
    /// OpenAPI format, `name` for the name column, else empty.
    pub format: Name,
    /// What the column says.
    pub description: Name,
    /// 0 is always shown, 1 only with `-o wide`.
    pub priority: i32,
}

impl Column {
    /// A column of strings that is always shown.
    pub fn new(name: &'static str, kind: &'static str, description: &'static str) -> Self {
        Self {
            name: name.into(),
            kind: kind.into(),
            format: "".into(),
            description: description.into(),
            priority: 0,
        }
    }

    /// The same column, shown only with `-o wide`.
    #[must_use]
    pub fn wide(mut self) -> Self {
        self.priority = 1;
        self
    }

    /// The name column.
    pub fn name() -> Self {
        let mut column = Self::new("Name", "string", "Name of the object, unique within its namespace.");
        column.format = "name".into();
        column
    }

    /// The age column.
    pub fn age() -> Self {
        Self::new("Age", "string", "Time since the object was created.")
    }
}

/// The cell of [`Column::name`].
pub fn name_cell(object: &dyn Object) -> Value {
    Value::String(object.meta().name.clone().unwrap_or_default())
}

/// The cell of [`Column::age`]: `<unknown>` without a creation timestamp.
pub fn age_cell(object: &dyn Object, now: Timestamp) -> Value {
    Value::String(age(object.meta().creation_timestamp.as_ref().map(|t| t.0), now))
}

/// Time since `then` as tables print it (`5s`, `2m10s`, `3h`, `4d`, `2y100d`), `<unknown>` without one.
pub fn age(then: Option<Timestamp>, now: Timestamp) -> String {
    match then {
        Some(then) => human_duration(now.as_second() - then.as_second()),
        None => "<unknown>".to_owned(),
    }
}

/// A duration of `seconds` in at most two units, coarser the longer it is.
pub fn human_duration(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    let pair = |big: i64, big_unit: &str, small: i64, small_unit: &str| {
        if small == 0 { format!("{big}{big_unit}") } else { format!("{big}{big_unit}{small}{small_unit}") }
    };
    match seconds {
        i64::MIN..=-2 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        s if s < 2 * MINUTE => format!("{s}s"),
        s if s < 10 * MINUTE => pair(s / MINUTE, "m", s % MINUTE, "s"),
        s if s < 3 * HOUR => format!("{}m", s / MINUTE),
        s if s < 8 * HOUR => pair(s / HOUR, "h", s % HOUR / MINUTE, "m"),
        s if s < 2 * DAY => format!("{}h", s / HOUR),
        s if s < 8 * DAY => pair(s / DAY, "d", s % DAY / HOUR, "h"),
        s if s < 2 * YEAR => format!("{}d", s / DAY),
        s if s < 8 * YEAR => pair(s / YEAR, "y", s % YEAR / DAY, "d"),
        s => format!("{}y", s / YEAR),
    }
}

/// Reads a selectable field of an object as its string form.
pub type FieldGetter = Arc<dyn Fn(&dyn Object) -> String + Send + Sync>;

/// A field that field selectors may name, besides `metadata.name` and `metadata.namespace`.
#[derive(Clone)]
pub struct SelectableField {
    /// Path such as `spec.nodeName`.
    pub path: Name,
    /// Its value, empty when unset.
    pub get: FieldGetter,
}

/// A subresource of a resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Subresource {
    /// Path segment such as `status`.
    pub name: Name,
    /// The kind that it reads or writes, where that is not the resource's own (`autoscaling/v1 Scale`).
    pub gvk: Option<GroupVersionKind>,
    /// What can be done with it.
    pub verbs: Vec<Verb>,
}

/// Where the numbers of a Scale stand in its parent: the names of fields from the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalePaths {
    /// The wanted replicas.
    pub spec: Vec<String>,
    /// The replicas that there are.
    pub status: Vec<String>,
    /// A string that selects their pods, if the resource has one.
    pub selector: Option<Vec<String>>,
}

/// The rules of a resource with the static type erased: built-in kinds get one from [`Rules`], custom
/// resources build one from their schema. Arguments are always objects of the resource's own kind.
pub trait Strategy: Send + Sync {
    /// Parses JSON.
    fn decode(&self, json: &[u8]) -> Result<Box<dyn Object>, DecodeError>;
    /// Fills unset fields.
    fn set_defaults(&self, object: &mut dyn Object);
    /// See [`Rules::prepare_create`].
    fn prepare_create(&self, object: &mut dyn Object);
    /// See [`Rules::prepare_update`].
    fn prepare_update(&self, object: &mut dyn Object, old: &dyn Object);
    /// See [`Rules::prepare_status_update`].
    fn prepare_status_update(&self, object: &mut dyn Object, old: &dyn Object);
    /// See [`Rules::validate_create`].
    fn validate_create(&self, object: &dyn Object) -> FieldErrors;
    /// See [`Rules::validate_update`].
    fn validate_update(&self, object: &dyn Object, old: &dyn Object) -> FieldErrors;
    /// See [`Rules::validate_status_update`].
    fn validate_status_update(&self, object: &dyn Object, old: &dyn Object) -> FieldErrors;
    /// See [`Rules::warnings`].
    fn warnings(&self, object: &dyn Object, old: Option<&dyn Object>) -> Vec<String>;
    /// See [`Rules::cells`].
    fn cells(&self, object: &dyn Object, now: Timestamp) -> Vec<Value>;
    /// Where a Scale finds its numbers; `None` where that is `spec.replicas`, `status.replicas` and `spec.selector`.
    fn scale(&self) -> Option<&ScalePaths> {
        None
    }
    /// The fields of `value` that the kind does not have, as `unknown field "spec.foo"`; `None` where the schema
    /// table knows them.
    fn unknown_fields(&self, value: &Value) -> Option<Vec<String>> {
        let _ = value;
        None
    }
}

/// [`Strategy`] over a kind's [`Rules`].
struct Typed<K>(PhantomData<fn() -> K>);

/// Calls `f` with the typed objects; objects of another kind are a bug of the caller and leave `fallback`.
fn typed<K: Kind, T>(object: &dyn Object, fallback: T, f: impl FnOnce(&K) -> T) -> T {
    debug_assert!(object.as_any().is::<K>(), "object of another kind: {}", object.gvk());
    object.downcast_ref::<K>().map_or(fallback, f)
}

impl<K: Rules> Strategy for Typed<K> {
    fn decode(&self, json: &[u8]) -> Result<Box<dyn Object>, DecodeError> {
        Ok(Box::new(K::from_json(json)?))
    }
    fn set_defaults(&self, object: &mut dyn Object) {
        if let Some(object) = object.downcast_mut::<K>() {
            object.set_defaults();
        }
    }
    fn prepare_create(&self, object: &mut dyn Object) {
        if let Some(object) = object.downcast_mut::<K>() {
            object.prepare_create();
        }
    }
    fn prepare_update(&self, object: &mut dyn Object, old: &dyn Object) {
        if let (Some(object), Some(old)) = (object.downcast_mut::<K>(), old.downcast_ref::<K>()) {
            object.prepare_update(old);
        }
    }
    fn prepare_status_update(&self, object: &mut dyn Object, old: &dyn Object) {
        if let (Some(object), Some(old)) = (object.downcast_mut::<K>(), old.downcast_ref::<K>()) {
            object.prepare_status_update(old);
        }
    }
    fn validate_create(&self, object: &dyn Object) -> FieldErrors {
        let mut errors = FieldErrors::new();
        typed::<K, _>(object, (), |object| object.validate_create(&mut errors));
        errors
    }
    fn validate_update(&self, object: &dyn Object, old: &dyn Object) -> FieldErrors {
        let mut errors = FieldErrors::new();
        typed::<K, _>(object, (), |object| {
            typed::<K, _>(old, (), |old| object.validate_update(old, &mut errors))
        });
        errors
    }
    fn validate_status_update(&self, object: &dyn Object, old: &dyn Object) -> FieldErrors {
        let mut errors = FieldErrors::new();
        typed::<K, _>(object, (), |object| {
            typed::<K, _>(old, (), |old| object.validate_status_update(old, &mut errors));
        });
        errors
    }
    fn warnings(&self, object: &dyn Object, old: Option<&dyn Object>) -> Vec<String> {
        typed::<K, _>(object, Vec::new(), |object| object.warnings(old.and_then(|old| old.downcast_ref())))
    }
    fn cells(&self, object: &dyn Object, now: Timestamp) -> Vec<Value> {
        typed::<K, _>(object, Vec::new(), |object| object.cells(now))
    }
}

/// Turns an object of one version into another.
pub type Convert = Arc<dyn Fn(&dyn Object) -> Result<Box<dyn Object>, DecodeError> + Send + Sync>;

/// How a served version relates to the version in which its objects are stored. Both directions keep
/// everything: what the other version cannot say travels in annotations, as upstream does it.
#[derive(Clone)]
pub struct Conversion {
    /// The version of the stored objects.
    pub stored: GroupVersionKind,
    /// Served to stored.
    pub to_stored: Convert,
    /// Stored to served.
    pub from_stored: Convert,
    /// Set where another program converts; then the two above only say another version.
    pub remote: Option<Arc<dyn ConvertRemotely>>,
}

/// Converts objects where another program knows how (CustomResourceDefinition, `spec.conversion.webhook`).
pub trait ConvertRemotely: Send + Sync {
    /// The objects in another version of their kind, in their order.
    fn convert<'a>(
        &'a self,
        objects: Vec<Value>,
        to: &'a GroupVersionKind,
    ) -> BoxFuture<'a, Result<Vec<Value>, Status>>;
}

/// One served version of a resource.
#[derive(Clone)]
pub struct ResourceDef {
    /// Group, version and kind of its objects.
    pub gvk: GroupVersionKind,
    /// Plural name, the path segment.
    pub plural: Name,
    /// Singular name for command lines.
    pub singular: Name,
    /// Kind of its lists.
    pub list_kind: Name,
    /// Short names for command lines.
    pub short_names: Vec<Name>,
    /// Categories such as `all`.
    pub categories: Vec<Name>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// What can be done with it.
    pub verbs: Vec<Verb>,
    /// Its subresources.
    pub subresources: Vec<Subresource>,
    /// Columns of its table.
    pub columns: Vec<Column>,
    /// Fields for field selectors.
    pub selectable: Vec<SelectableField>,
    /// Group and resource whose key space holds its objects; differs from its own where two groups serve the
    /// same objects (`events` and `events.k8s.io`).
    pub storage: GroupResource,
    /// Set where the stored version is another one; `None` lets stored bytes pass through untouched.
    pub conversion: Option<Conversion>,
    /// Checks its objects' names.
    pub check_name: NameCheck,
    /// Defaulting, validation, printing.
    pub strategy: Arc<dyn Strategy>,
}

impl fmt::Debug for ResourceDef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResourceDef({})", self.gvr())
    }
}

impl ResourceDef {
    /// The definition of a built-in kind: every verb, no subresources, nothing selectable.
    pub fn of<K: Rules>() -> Self {
        Self {
            gvk: GroupVersionKind::new(K::GROUP, K::VERSION, K::KIND),
            plural: K::PLURAL.into(),
            singular: K::KIND.to_lowercase().into(),
            list_kind: format!("{}List", K::KIND).into(),
            short_names: Vec::new(),
            categories: Vec::new(),
            namespaced: K::NAMESPACED,
            verbs: Verb::ALL.to_vec(),
            subresources: Vec::new(),
            columns: K::columns(),
            selectable: Vec::new(),
            storage: GroupResource::new(K::GROUP, K::PLURAL),
            conversion: None,
            check_name: K::check_name,
            strategy: Arc::new(Typed::<K>(PhantomData)),
        }
    }

    /// Adds short names.
    #[must_use]
    pub fn short(mut self, names: &[&'static str]) -> Self {
        self.short_names.extend(names.iter().map(|n| Name::from(*n)));
        self
    }

    /// Adds a category.
    #[must_use]
    pub fn category(mut self, name: &'static str) -> Self {
        self.categories.push(name.into());
        self
    }

    /// Offers only these verbs.
    #[must_use]
    pub fn verbs(mut self, verbs: &[Verb]) -> Self {
        self.verbs = verbs.to_vec();
        self
    }

    /// Adds the `status` subresource.
    #[must_use]
    pub fn status(self) -> Self {
        self.subresource("status", None, &[Verb::Get, Verb::Patch, Verb::Update])
    }

    /// Adds the `scale` subresource (`autoscaling/v1 Scale`).
    #[must_use]
    pub fn scale(self) -> Self {
        let gvk = GroupVersionKind::new("autoscaling", "v1", "Scale");
        self.subresource("scale", Some(gvk), &[Verb::Get, Verb::Patch, Verb::Update])
    }

    /// Adds a subresource.
    #[must_use]
    pub fn subresource(mut self, name: &'static str, gvk: Option<GroupVersionKind>, verbs: &[Verb]) -> Self {
        self.subresources.push(Subresource { name: name.into(), gvk, verbs: verbs.to_vec() });
        self
    }

    /// Makes a field selectable.
    #[must_use]
    pub fn select<K: Kind>(mut self, path: &'static str, get: fn(&K) -> String) -> Self {
        let get = move |object: &dyn Object| object.downcast_ref::<K>().map(get).unwrap_or_default();
        self.selectable.push(SelectableField { path: path.into(), get: Arc::new(get) });
        self
    }

    /// Stores objects of this version `K` as `S`, in the key space of `S`.
    #[must_use]
    pub fn stored_as<K: Kind, S: Kind>(mut self, to: fn(&K) -> S, from: fn(&S) -> K) -> Self {
        fn convert<A: Kind, B: Kind>(f: fn(&A) -> B) -> Convert {
            Arc::new(move |object| match object.downcast_ref::<A>() {
                Some(object) => Ok(Box::new(f(object))),
                None => Err(DecodeError(format!("{} cannot be converted to {}", object.gvk(), B::KIND))),
            })
        }
        self.storage = GroupResource::new(S::GROUP, S::PLURAL);
        self.conversion = Some(Conversion {
            stored: GroupVersionKind::new(S::GROUP, S::VERSION, S::KIND),
            to_stored: convert(to),
            from_stored: convert(from),
            remote: None,
        });
        self
    }

    /// The version in which its objects are stored.
    pub fn stored_gvk(&self) -> &GroupVersionKind {
        self.conversion.as_ref().map_or(&self.gvk, |conversion| &conversion.stored)
    }

    /// Group, version and plural.
    pub fn gvr(&self) -> GroupVersionResource {
        GroupVersionResource {
            group: self.gvk.group.clone(),
            version: self.gvk.version.clone(),
            resource: self.plural.clone(),
        }
    }

    /// Whether it has the subresource `name`.
    pub fn has_subresource(&self, name: &str) -> bool {
        self.subresources.iter().any(|s| s.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::human_duration;

    #[test]
    fn durations_get_coarser() {
        let rows = [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (130, "2m10s"),
            (600, "10m"),
            (3 * 3600, "3h"),
            (3 * 3600 + 60, "3h1m"),
            (9 * 3600, "9h"),
            (2 * 86400 + 3600, "2d1h"),
            (8 * 86400, "8d"),
            (800 * 86400, "2y70d"),
        ];
        for (seconds, text) in rows {
            assert_eq!(human_duration(seconds), text);
        }
    }
}
