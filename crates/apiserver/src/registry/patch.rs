//! Patch: JSON patch, merge patch, strategic merge patch and server-side apply, on the object as served.

use super::create::check_namespace;
use super::update::{At, Current, Update, check_name, scope};
use super::{Caller, Registry, Written, decode, group_resource};
use api::schema::BuiltIn;
use api::transport::{Patch, WriteOptions};
use api::{Object, ResourceDef};
use machinery::codec::Decoded;
use machinery::{FieldErrors, FieldPath, GroupKind, Status, patch as patches};
use serde_json::Value;
use std::sync::Arc;

/// Checks what `PatchOptions` allow for the kind of patch.
fn check_options(patch: &Patch, options: &WriteOptions) -> Result<(), Status> {
    let mut errors = FieldErrors::new();
    let apply = matches!(patch, Patch::Apply(_));
    if apply && options.field_manager.as_deref().unwrap_or_default().is_empty() {
        errors.required(FieldPath::new("fieldManager"), "is required for apply patch");
    }
    if !apply && options.force {
        errors.forbidden(FieldPath::new("force"), "may not be specified for non-apply patch");
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(&GroupKind::new("meta.k8s.io", "PatchOptions"), "", &errors))
}

impl Registry {
    /// Patches an object, or one of its subresources that writes it.
    pub async fn patch(
        &self,
        caller: &Caller,
        def: &Arc<ResourceDef>,
        at: At<'_>,
        patch: &Patch,
        options: &WriteOptions,
    ) -> Result<Written, Status> {
        let At { namespace, name, subresource } = at;
        check_options(patch, options)?;
        if let Patch::Apply(body) = patch {
            return self.apply(caller, def, at, body, options).await;
        }
        let Decoded { value: document, duplicates } = decode::parse(patch.body())?;
        let handler = self.subresource(def, subresource);
        let level = decode::FieldValidation::parse(options.field_validation.as_deref());
        let make = move |_: &Registry, current: Option<&Current>| -> Result<Box<dyn Object>, Status> {
            let Some(current) = current else {
                return Err(Status::not_found(&group_resource(def), name));
            };
            let mut value: Value =
                serde_json::from_slice(&current.object.to_json()).map_err(Status::internal)?;
            let before = known_problems(def, level, &value);
            run(def, &mut value, patch, document.clone())?;
            decode::check_kind(&mut value, &def.gvk)?;
            let mut problems = duplicates.clone();
            problems.extend(known_problems(def, level, &value).into_iter().filter(|p| !before.contains(p)));
            decode::report(caller, &def.gvk, level, problems)?;
            let mut object =
                decode::typed(def, &mut value).map_err(|status| unprocessable(def, name, status))?;
            check_namespace(def, namespace, object.as_mut())?;
            check_name(name, object.as_mut())?;
            // A patch that leaves the version alone goes on top of whatever is there.
            if object.meta().resource_version == current.object.meta().resource_version
                && !names_version(&document)
            {
                object.meta_mut().resource_version = None;
            }
            Ok(object)
        };
        let update = Update {
            def,
            namespace,
            name,
            subresource: subresource.to_owned().into(),
            scope: scope(def, subresource, handler.as_deref())?,
            options,
            options_kind: "PatchOptions",
            may_create: false,
            unconditional: true,
            tracked: false,
            make: Box::new(make),
        };
        self.write(caller, update).await
    }

    async fn apply(
        &self,
        caller: &Caller,
        def: &Arc<ResourceDef>,
        at: At<'_>,
        body: &[u8],
        options: &WriteOptions,
    ) -> Result<Written, Status> {
        let At { namespace, name, subresource } = at;
        let Decoded { mut value, duplicates } = decode::parse(body)?;
        check_applied_kind(&value)?;
        decode::check_kind(&mut value, &def.gvk)?;
        let level = decode::FieldValidation::parse(options.field_validation.as_deref());
        let mut problems = duplicates;
        if level != decode::FieldValidation::Ignore {
            problems.extend(decode::unknown_fields(def, &value));
        }
        decode::report(caller, &def.gvk, level, problems)?;
        let handler = self.subresource(def, subresource);
        let sub = subresource.to_owned();
        let make = move |registry: &Registry, current: Option<&Current>| {
            let mut merged = registry.merge_applied(def, &sub, &value, current, options)?;
            let mut object = decode::typed(def, &mut merged)?;
            if value.pointer("/metadata/resourceVersion").is_none() {
                // It is on top of whatever is there; the version is only that of what it was merged with.
                object.meta_mut().resource_version = None;
            }
            check_namespace(def, namespace, object.as_mut())?;
            check_name(name, object.as_mut())?;
            Ok(object)
        };
        let update = Update {
            def,
            namespace,
            name,
            subresource: subresource.to_owned().into(),
            scope: scope(def, subresource, handler.as_deref())?,
            options,
            options_kind: "PatchOptions",
            may_create: subresource.is_empty(),
            unconditional: true,
            tracked: true,
            make: Box::new(make),
        };
        self.write(caller, update).await
    }
}

fn known_problems(def: &ResourceDef, level: decode::FieldValidation, value: &Value) -> Vec<String> {
    match level {
        decode::FieldValidation::Ignore => Vec::new(),
        _ => decode::unknown_fields(def, value),
    }
}

/// Whether a patch itself says which version it is for.
fn names_version(document: &Value) -> bool {
    match document {
        Value::Object(_) => document.pointer("/metadata/resourceVersion").is_some_and(|v| !v.is_null()),
        Value::Array(operations) => operations.iter().any(|operation| {
            let path = operation.get("path").and_then(Value::as_str).unwrap_or_default();
            let test = operation.get("op").and_then(Value::as_str) == Some("test");
            path == "/metadata/resourceVersion" && !test
        }),
        _ => false,
    }
}

fn run(def: &ResourceDef, value: &mut Value, patch: &Patch, document: Value) -> Result<(), Status> {
    match patch {
        Patch::Json(_) => patches::json::apply(value, document),
        Patch::Merge(_) => patches::merge::apply(value, document),
        Patch::Strategic(_) => strategic(def, value, document),
        Patch::Apply(_) => Err(Status::internal("apply is not a patch of this kind")),
    }
}

/// Strategic merge patch; custom resources have no merge keys and answer 415 as upstream does.
fn strategic(def: &ResourceDef, value: &mut Value, document: Value) -> Result<(), Status> {
    let Some(ty) = BuiltIn.root(&def.gvk) else {
        return Err(Status::new(
            415,
            machinery::Reason::UnsupportedMediaType,
            "strategic merge patch is not supported for custom resources",
        ));
    };
    patches::strategic::apply(value, document, &BuiltIn, ty).map_err(|error| error.status())
}

/// The result of a patch that is not an object of its kind is the patch's fault: 422.
fn unprocessable(def: &ResourceDef, name: &str, status: Status) -> Status {
    let mut errors = FieldErrors::new();
    errors.invalid(FieldPath::new("patch"), "", status.message);
    Status::invalid(&def.gvk.group_kind(), name, &errors)
}

fn check_applied_kind(value: &Value) -> Result<(), Status> {
    for key in ["apiVersion", "kind"] {
        if value.get(key).and_then(Value::as_str).is_none_or(str::is_empty) {
            return Err(Status::bad_request(format!(
                "invalid object type: {key} must be set in an apply patch"
            )));
        }
    }
    Ok(())
}
