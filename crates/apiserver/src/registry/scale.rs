//! The `scale` subresource: `autoscaling/v1` Scale as a view of its parent's replicas.

use super::update::{Current, Scope, Update};
use super::{Caller, Registry, Written, decode, group_resource};
use api::transport::{Patch, WriteOptions};
use api::{Object, ResourceDef, StoredObject};
use machinery::labels::Selector;
use machinery::{FieldErrors, FieldPath, GroupKind, GroupVersionKind, Status, patch as patches};
use serde_json::{Map, Value, json};
use std::sync::Arc;

fn scale_kind() -> GroupVersionKind {
    GroupVersionKind::new("autoscaling", "v1", "Scale")
}

/// The selector of the parent in the string form that Scale carries.
fn selector(parent: &Value) -> String {
    let Some(Value::Object(selector)) = parent.pointer("/spec/selector") else { return String::new() };
    let pairs = |map: &Map<String, Value>| {
        map.iter()
            .map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default().to_owned()))
            .collect::<std::collections::BTreeMap<_, _>>()
    };
    let structured = selector.contains_key("matchLabels") || selector.contains_key("matchExpressions");
    if !structured {
        return pairs(selector).iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(",");
    }
    let labels = selector.get("matchLabels").and_then(Value::as_object).map(pairs).unwrap_or_default();
    let mut terms: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    for expression in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
        let key = expression["key"].as_str().unwrap_or_default();
        let values: Vec<&str> =
            expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        terms.push(match expression["operator"].as_str().unwrap_or_default() {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    let text = terms.join(",");
    Selector::parse(&text).map(|selector| selector.to_string()).unwrap_or(text)
}

/// The field at a path.
fn at<'a>(value: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, field| value.get(field)).filter(|value| !value.is_null())
}

/// Sets the field at a path; objects on the way are made where there are none.
fn set(value: &mut Value, path: &[String], new: Value) {
    let Some((first, rest)) = path.split_first() else {
        *value = new;
        return;
    };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    if let Some(fields) = value.as_object_mut() {
        set(fields.entry(first.clone()).or_insert(Value::Null), rest, new);
    }
}

/// Wanted and present replicas and the selector of a parent.
fn numbers(def: &ResourceDef, value: &Value) -> Result<(Option<Value>, Value, String), Status> {
    let Some(paths) = def.strategy.scale() else {
        let status = value.pointer("/status/replicas").cloned().unwrap_or(json!(0));
        return Ok((value.pointer("/spec/replicas").cloned(), status, selector(value)));
    };
    let Some(wanted) = at(value, &paths.spec) else {
        let path = paths.spec.join(".");
        return Err(Status::internal(format!("the spec replicas field \".{path}\" does not exist")));
    };
    let selector = paths.selector.as_ref().and_then(|path| at(value, path)).and_then(Value::as_str);
    let status = at(value, &paths.status).cloned().unwrap_or(json!(0));
    Ok((Some(wanted.clone()), status, selector.unwrap_or_default().to_owned()))
}

/// The Scale of a parent.
fn view(def: &ResourceDef, parent: &dyn Object) -> Result<Value, Status> {
    let value: Value = serde_json::from_slice(&parent.to_json()).map_err(Status::internal)?;
    let mut metadata = Map::new();
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(field) = value["metadata"].get(key) {
            metadata.insert(key.to_owned(), field.clone());
        }
    }
    let mut spec = Map::new();
    let (wanted, present, selector) = numbers(def, &value)?;
    if let Some(replicas) = wanted.filter(|r| r.as_i64() != Some(0)) {
        spec.insert("replicas".to_owned(), replicas);
    }
    let mut status = json!({"replicas": present});
    if !selector.is_empty() {
        status["selector"] = json!(selector);
    }
    Ok(
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": metadata, "spec": spec, "status": status}),
    )
}

fn stored(mut scale: Value) -> Result<Arc<StoredObject>, Status> {
    let version =
        scale.get_mut("metadata").and_then(Value::as_object_mut).and_then(|m| m.remove("resourceVersion"));
    let revision = version.as_ref().and_then(Value::as_str).and_then(|v| v.parse().ok()).unwrap_or(0);
    let bytes = serde_json::to_vec(&scale).map_err(Status::internal)?;
    StoredObject::new(revision, bytes.into()).map(Arc::new).map_err(Status::internal)
}

/// The parent with the replicas that a Scale asks for.
fn scaled(
    def: &ResourceDef,
    name: &str,
    parent: &dyn Object,
    scale: &Value,
) -> Result<Box<dyn Object>, Status> {
    let replicas = scale.pointer("/spec/replicas").cloned().unwrap_or(json!(0));
    let mut errors = FieldErrors::new();
    let field = FieldPath::new("spec").child("replicas");
    match replicas.as_i64() {
        Some(count) if count < 0 => errors.invalid(field, count, "must be greater than or equal to 0"),
        Some(count) if count > i64::from(i32::MAX) => errors.invalid(field, count, "must fit 32 bits"),
        Some(_) => {}
        None => errors.type_invalid(field, replicas.clone(), "must be an integer"),
    }
    if !errors.is_empty() {
        return Err(Status::invalid(&GroupKind::new("autoscaling", "Scale"), name, &errors));
    }
    let mut value: Value = serde_json::from_slice(&parent.to_json()).map_err(Status::internal)?;
    match def.strategy.scale() {
        Some(paths) => set(&mut value, &paths.spec, replicas),
        None => value["spec"]["replicas"] = replicas,
    }
    let mut object = decode::typed(def, &mut value)?;
    let version =
        scale.pointer("/metadata/resourceVersion").and_then(Value::as_str).filter(|v| !v.is_empty());
    object.meta_mut().resource_version = version.map(str::to_owned);
    if let Some(uid) = scale.pointer("/metadata/uid").and_then(Value::as_str).filter(|uid| !uid.is_empty()) {
        object.meta_mut().uid = Some(uid.to_owned());
    }
    Ok(object)
}

/// What a write of a Scale brings.
pub enum ScaleBody<'a> {
    /// A whole Scale.
    Put(&'a [u8]),
    /// A change of it.
    Patch(&'a Patch),
}

impl Registry {
    /// The Scale of an object.
    pub async fn get_scale(
        &self,
        def: &Arc<ResourceDef>,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<StoredObject>, Status> {
        let parent = self.require_current(def, namespace, name).await?;
        stored(view(def, self.served_object(def, &parent).await?.as_ref())?)
    }

    /// Writes the Scale of an object.
    pub async fn write_scale(
        &self,
        caller: &Caller,
        def: &Arc<ResourceDef>,
        namespace: &str,
        name: &str,
        body: ScaleBody<'_>,
        options: &WriteOptions,
    ) -> Result<Written, Status> {
        let (document, patch) = match &body {
            ScaleBody::Put(bytes) => {
                let mut value = decode::parse(bytes)?.value;
                decode::check_kind(&mut value, &scale_kind())?;
                let found = value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
                if !found.is_empty() && found != name {
                    return Err(Status::bad_request(format!(
                        "the name of the object ({found}) does not match the name on the URL ({name})"
                    )));
                }
                (value, None)
            }
            ScaleBody::Patch(patch) => (decode::parse(patch.body())?.value, Some(*patch)),
        };
        let make = move |_: &Registry, current: Option<&Current>| {
            let Some(current) = current else { return Err(Status::not_found(&group_resource(def), name)) };
            let scale = match patch {
                None => document.clone(),
                Some(patch) => {
                    let mut scale = view(def, current.object.as_ref())?;
                    match patch {
                        Patch::Json(_) => patches::json::apply(&mut scale, document.clone())?,
                        // A Scale has no lists: the three say the same.
                        Patch::Merge(_) | Patch::Strategic(_) | Patch::Apply(_) => {
                            patches::merge::apply(&mut scale, document.clone())?;
                        }
                    }
                    if document.pointer("/metadata/resourceVersion").is_none()
                        && let Some(metadata) = scale["metadata"].as_object_mut()
                    {
                        metadata.remove("resourceVersion");
                    }
                    scale
                }
            };
            scaled(def, name, current.object.as_ref(), &scale)
        };
        let update = Update {
            def,
            namespace,
            name,
            subresource: "scale".into(),
            scope: Scope::Main,
            options,
            options_kind: if patch.is_some() { "PatchOptions" } else { "UpdateOptions" },
            may_create: false,
            unconditional: true,
            tracked: false,
            make: Box::new(make),
        };
        let written = self.write(caller, update).await?;
        let object = written.object.object(def.strategy.as_ref()).map_err(Status::internal)?;
        Ok(Written { object: stored(view(def, object.as_ref())?)?, created: false })
    }
}
