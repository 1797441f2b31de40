//! Bodies to objects: kind checks, field validation, typed decoding, defaults.

use super::Caller;
use api::{Object, ResourceDef};
use machinery::codec::{self, Decoded};
use machinery::{GroupVersion, GroupVersionKind, Status};
use serde_json::Value;

/// How unknown and duplicate fields are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

impl FieldValidation {
    pub(super) fn parse(text: Option<&str>) -> Self {
        match text {
            Some("Ignore") => Self::Ignore,
            Some("Strict") => Self::Strict,
            _ => Self::Warn,
        }
    }
}

/// Parses a body, JSON or YAML, to a tree.
pub(super) fn parse(body: &[u8]) -> Result<Decoded, Status> {
    codec::decode_any(body)
        .map_err(|error| Status::bad_request(format!("couldn't get version/kind; json parse error: {error}")))
}

/// Checks `apiVersion` and `kind` against what is expected, and sets them where they are missing.
pub(super) fn check_kind(value: &mut Value, expected: &GroupVersionKind) -> Result<(), Status> {
    let api_version = expected.api_version();
    let Some(fields) = value.as_object_mut() else {
        return Err(Status::bad_request(
            "couldn't get version/kind; json parse error: json: cannot unmarshal into Go value of type struct",
        ));
    };
    let text = |key: &str| fields.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (found_version, found_kind) = (text("apiVersion"), text("kind"));
    if !found_version.is_empty() && found_version != api_version {
        let same_group =
            GroupVersion::parse(&found_version).is_some_and(|found| found.group == expected.group);
        let (found, wanted) = if same_group {
            (found_version, api_version)
        } else {
            (format!("{found_version}, Kind={found_kind}"), format!("{expected}"))
        };
        return Err(Status::bad_request(format!(
            "the API version in the data ({found}) does not match the expected API version ({wanted})"
        )));
    }
    if !found_kind.is_empty() && found_kind != expected.kind {
        return Err(Status::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: no kind {:?} is registered for version {:?}",
            found_kind, expected.version, expected.kind, found_kind, api_version
        )));
    }
    fields.insert("apiVersion".to_owned(), Value::String(api_version));
    fields.insert("kind".to_owned(), Value::String(expected.kind.to_string()));
    Ok(())
}

/// Refuses or warns about `problems`, as the request asks.
pub(super) fn report(
    caller: &Caller,
    gvk: &GroupVersionKind,
    level: FieldValidation,
    problems: Vec<String>,
) -> Result<(), Status> {
    match level {
        FieldValidation::Ignore => Ok(()),
        FieldValidation::Warn => {
            caller.warn(problems);
            Ok(())
        }
        FieldValidation::Strict if problems.is_empty() => Ok(()),
        FieldValidation::Strict => Err(Status::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: strict decoding error: {}",
            gvk.kind,
            gvk.version,
            gvk.kind,
            problems.join(", ")
        ))),
    }
}

/// Decodes a tree whose kind was checked, and brings it into canonical form. Sets defaults.
pub(super) fn typed(def: &ResourceDef, value: &mut Value) -> Result<Box<dyn Object>, Status> {
    api::schema::canonicalize(&def.gvk, value);
    let bytes = serde_json::to_vec(value).map_err(Status::internal)?;
    let mut object = def.strategy.decode(&bytes).map_err(|error| {
        Status::bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: {error}",
            def.gvk.kind, def.gvk.version, def.gvk.kind
        ))
    })?;
    def.strategy.set_defaults(object.as_mut());
    Ok(object)
}

/// A body to an object of `def`, with defaults.
pub(super) fn object(
    caller: &Caller,
    def: &ResourceDef,
    body: &[u8],
    validation: Option<&str>,
) -> Result<Box<dyn Object>, Status> {
    let level = FieldValidation::parse(validation);
    let Decoded { mut value, duplicates } = parse(body)?;
    check_kind(&mut value, &def.gvk)?;
    let mut problems = duplicates;
    if level != FieldValidation::Ignore {
        problems.extend(unknown_fields(def, &value));
    }
    report(caller, &def.gvk, level, problems)?;
    let object = typed(def, &mut value)?;
    crate::audit::request_object(object.as_ref());
    Ok(object)
}

/// The fields of `value` that the kind does not have, as `unknown field "spec.foo"`.
pub(super) fn unknown_fields(def: &ResourceDef, value: &Value) -> Vec<String> {
    def.strategy.unknown_fields(value).unwrap_or_else(|| api::schema::unknown_fields(&def.gvk, value))
}
