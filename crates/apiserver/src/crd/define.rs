//! From a CustomResourceDefinition to the rows of the resource table.

use super::conversion;
use super::dynamic::{DynamicObject, dynamic};
use super::jsonpath::{JsonPath, plain};
use super::schema::Schema;
use super::schema::rules::Rules;
use super::strategy::{Cell, CustomStrategy};
use crate::contract::Context;
use api::common::{items, text};
use api::k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition, CustomResourceDefinitionVersion,
    CustomResourceSubresourceScale,
};
use api::resource::{Conversion, ConvertRemotely, ScalePaths};
use api::{Column, Object, ResourceDef, SelectableField, Subresource, Verb};
use machinery::gvk::Name;
use machinery::{GroupResource, GroupVersionKind};
use serde_json::Value;
use std::sync::Arc;

/// A served version and its schema as its author wrote it.
#[derive(Clone, Debug)]
pub(super) struct Defined {
    pub(super) def: Arc<ResourceDef>,
    pub(super) schema: Option<Arc<Value>>,
}

/// The served versions, the preferred first. `tree` is the same definition as JSON.
pub(super) fn define(context: &Context, crd: &CustomResourceDefinition, tree: &Value) -> Vec<Defined> {
    let remote = conversion::webhook(context, crd);
    let mut versions: Vec<(usize, &CustomResourceDefinitionVersion)> = crd
        .spec
        .versions
        .iter()
        .enumerate()
        .filter(|(_, version)| version.served || version.storage)
        .collect();
    versions.sort_by_key(|(_, version)| std::cmp::Reverse(priority(&version.name)));
    let stored = crd.spec.versions.iter().find(|version| version.storage).map(|version| version.name.clone());
    let known = crd.status.as_ref().map(|status| items(&status.stored_versions)).unwrap_or_default();
    // Stored bytes say one version; where they may say another than is asked for, they pass through a conversion.
    let several = crd.spec.versions.len() > 1 || known.len() > 1;
    versions
        .into_iter()
        .filter(|(_, version)| version.served)
        .map(|(at, version)| {
            let schema = tree.pointer(&format!("/spec/versions/{at}/schema/openAPIV3Schema"));
            let stored = stored.as_deref().filter(|_| several).map(|stored| gvk(crd, stored));
            let def = Arc::new(row(crd, version, schema, stored, remote.clone()));
            Defined { def, schema: schema.map(|schema| Arc::new(schema.clone())) }
        })
        .collect()
}

fn gvk(crd: &CustomResourceDefinition, version: &str) -> GroupVersionKind {
    GroupVersionKind::new(crd.spec.group.clone(), version.to_owned(), crd.spec.names.kind.clone())
}

fn versions(
    own: &GroupVersionKind,
    stored: GroupVersionKind,
    remote: Option<Arc<dyn ConvertRemotely>>,
) -> Conversion {
    let to = |gvk: GroupVersionKind| -> api::resource::Convert {
        Arc::new(move |object: &dyn Object| {
            let object: &DynamicObject = dynamic(object)
                .ok_or_else(|| api::DecodeError("not an object of a custom resource".to_owned()))?;
            Ok(Box::new(object.in_version(gvk.clone())) as Box<dyn Object>)
        })
    };
    Conversion { to_stored: to(stored.clone()), from_stored: to(own.clone()), stored, remote }
}

fn row(
    crd: &CustomResourceDefinition,
    version: &CustomResourceDefinitionVersion,
    schema: Option<&Value>,
    stored: Option<GroupVersionKind>,
    remote: Option<Arc<dyn ConvertRemotely>>,
) -> ResourceDef {
    let (spec, names) = (&crd.spec, &crd.spec.names);
    let own = gvk(crd, &version.name);
    let terminating = crd.metadata.deletion_timestamp.is_some();
    let verbs = Verb::ALL.iter().copied().filter(|verb| !terminating || *verb != Verb::Create).collect();
    let status = version.subresources.as_ref().is_some_and(|subresources| subresources.status.is_some());
    let printed = items(&version.additional_printer_columns);
    let list = |values: &Option<Vec<String>>| items(values).iter().cloned().map(Name::from).collect();
    let storage = GroupResource::new(spec.group.clone(), names.plural.clone());
    ResourceDef {
        plural: names.plural.clone().into(),
        singular: text(&names.singular).to_owned().into(),
        list_kind: text(&names.list_kind).to_owned().into(),
        short_names: list(&names.short_names),
        categories: list(&names.categories),
        namespaced: spec.scope == "Namespaced",
        verbs,
        subresources: subresources(version),
        columns: columns(printed),
        selectable: selectable(version),
        storage,
        conversion: stored.map(|stored| versions(&own, stored, remote)),
        check_name: api::common::names::subdomain,
        strategy: Arc::new(CustomStrategy {
            gvk: own.clone(),
            schema: schema.map_or_else(Schema::anything, Schema::compile),
            rules: schema.and_then(Rules::of),
            status,
            cells: cells(printed),
            scale: version.subresources.as_ref().and_then(|all| all.scale.as_ref()).map(scale),
        }),
        gvk: own,
    }
}

/// Paths such as `.spec.replicas`; validation lets only fields through.
fn scale(scale: &CustomResourceSubresourceScale) -> ScalePaths {
    let fields =
        |path: &str| path.split('.').filter(|f| !f.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    ScalePaths {
        spec: fields(&scale.spec_replicas_path),
        status: fields(&scale.status_replicas_path),
        selector: scale.label_selector_path.as_deref().filter(|path| !path.is_empty()).map(fields),
    }
}

fn subresources(version: &CustomResourceDefinitionVersion) -> Vec<Subresource> {
    let verbs = vec![Verb::Get, Verb::Patch, Verb::Update];
    let mut all = Vec::new();
    let Some(wanted) = &version.subresources else { return all };
    if wanted.status.is_some() {
        all.push(Subresource { name: "status".into(), gvk: None, verbs: verbs.clone() });
    }
    if wanted.scale.is_some() {
        let gvk = GroupVersionKind::new("autoscaling", "v1", "Scale");
        all.push(Subresource { name: "scale".into(), gvk: Some(gvk), verbs });
    }
    all
}

fn columns(printed: &[CustomResourceColumnDefinition]) -> Vec<Column> {
    let mut all = vec![Column::name()];
    if printed.is_empty() {
        all.push(Column::age());
    }
    all.extend(printed.iter().map(|column| Column {
        name: column.name.clone().into(),
        kind: column.type_.clone().into(),
        format: text(&column.format).to_owned().into(),
        description: match text(&column.description) {
            "" => {
                format!("Custom resource definition column (in JSONPath format): {}", column.json_path).into()
            }
            description => description.to_owned().into(),
        },
        priority: column.priority.unwrap_or(0),
    }));
    all
}

fn cells(printed: &[CustomResourceColumnDefinition]) -> Vec<Cell> {
    if printed.is_empty() {
        let path = JsonPath::parse(".metadata.creationTimestamp");
        return vec![Cell { kind: "date".to_owned(), path }];
    }
    let cell = |column: &CustomResourceColumnDefinition| Cell {
        kind: column.type_.clone(),
        path: JsonPath::parse(&column.json_path),
    };
    printed.iter().map(cell).collect()
}

fn selectable(version: &CustomResourceDefinitionVersion) -> Vec<SelectableField> {
    let all = items(&version.selectable_fields).iter();
    all.filter_map(|field| {
        let path = JsonPath::parse(&field.json_path)?;
        let get = move |object: &dyn Object| {
            let tree = dynamic(object).map(|object| Value::Object(object.fields.clone())).unwrap_or_default();
            path.find(&tree).first().map(|value| plain(value)).unwrap_or_default()
        };
        let name = field.json_path.trim_start_matches('.').to_owned();
        Some(SelectableField { path: name.into(), get: Arc::new(get) })
    })
    .collect()
}

/// Kubernetes' order of versions: stable before beta before alpha, newer first; anything else last, by name.
fn priority(version: &str) -> (u8, u64, u64, std::cmp::Reverse<String>) {
    let name = std::cmp::Reverse(version.to_owned());
    let Some(rest) = version.strip_prefix('v') else { return (0, 0, 0, name) };
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let end = digits(rest);
    let Ok(major) = rest[..end].parse() else { return (0, 0, 0, name) };
    let (level, tail) = match &rest[end..] {
        "" => return (3, major, 0, name),
        tail if tail.starts_with("beta") => (2, &tail[4..]),
        tail if tail.starts_with("alpha") => (1, &tail[5..]),
        _ => return (0, 0, 0, name),
    };
    match tail.parse() {
        Ok(minor) => (level, major, minor, name),
        Err(_) => (0, 0, 0, name),
    }
}

#[cfg(test)]
mod tests {
    use super::priority;

    #[test]
    fn versions_are_ordered() {
        let mut all = ["foo1", "v1alpha1", "v10", "v2beta1", "v1beta2", "v2", "v1", "v11beta2", "foo10"];
        all.sort_by_key(|version| std::cmp::Reverse(priority(version)));
        assert_eq!(all, ["v10", "v2", "v1", "v11beta2", "v2beta1", "v1beta2", "v1alpha1", "foo1", "foo10"]);
    }
}
