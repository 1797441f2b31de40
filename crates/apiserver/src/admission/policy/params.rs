//! Parameters of policies: objects of any kind, built in or custom, named or selected by a binding.

use crate::contract::{AdmissionRequest, Context};
use api::common::{selector, text};
use api::k8s_openapi::api::admissionregistration::v1::{ParamKind, ParamRef};
use api::k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use api::{ResourceTable, StoredObject};
use machinery::{GroupResource, GroupVersionKind};
use serde_json::Value;
use std::sync::Arc;

/// Where objects of a kind are kept.
struct Kept {
    storage: GroupResource,
    namespaced: bool,
}

async fn kept(context: &Context, kind: &ParamKind) -> Result<Option<Kept>, String> {
    let (group, version) = text(&kind.api_version).rsplit_once('/').unwrap_or(("", text(&kind.api_version)));
    let name = text(&kind.kind);
    let gvk = GroupVersionKind::new(group.to_owned(), version.to_owned(), name.to_owned());
    if let Some(def) = ResourceTable::shared().by_gvk(&gvk) {
        return Ok(Some(Kept { storage: def.storage.clone(), namespaced: def.namespaced }));
    }
    let definitions = GroupResource::new("apiextensions.k8s.io", "customresourcedefinitions");
    let all = context.lookup.list(&definitions, "").await.map_err(|error| error.to_string())?;
    for stored in all {
        let Ok(crd) = stored.get::<CustomResourceDefinition>() else { continue };
        let spec = &crd.spec;
        let served = spec.versions.iter().any(|known| known.name == version && known.served);
        if spec.group == group && spec.names.kind == name && served {
            let storage = GroupResource::new(spec.group.clone(), spec.names.plural.clone());
            return Ok(Some(Kept { storage, namespaced: spec.scope == "Namespaced" }));
        }
    }
    Ok(None)
}

/// What to evaluate a policy with: once for each parameter, `None` standing for no parameters at all.
pub(super) async fn of(
    context: &Context,
    request: &AdmissionRequest,
    kind: Option<&ParamKind>,
    reference: Option<&ParamRef>,
) -> Result<Vec<Option<Value>>, String> {
    let Some(kind) = kind else { return Ok(vec![None]) };
    let Some(reference) = reference else { return Ok(vec![None]) };
    let Some(kept) = kept(context, kind).await? else {
        let (version, name) = (text(&kind.api_version), text(&kind.kind));
        return Err(format!("failed to find resource referenced by paramKind: '{version}, Kind={name}'"));
    };
    let namespace = match (kept.namespaced, text(&reference.namespace)) {
        (true, "") if request.namespace.is_empty() => {
            return Err(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                    .to_owned(),
            );
        }
        (true, "") => request.namespace.as_str(),
        (true, given) => given,
        (false, "") => "",
        (false, _) => {
            return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".to_owned());
        }
    };
    let found: Vec<Arc<StoredObject>> = match (text(&reference.name), &reference.selector) {
        ("", Some(wanted)) => {
            let wanted = selector::convert(Some(wanted))?;
            let all =
                context.lookup.list(&kept.storage, namespace).await.map_err(|error| error.to_string())?;
            let labels = |object: &StoredObject| object.meta().labels.clone().unwrap_or_default();
            all.into_iter().filter(|object| wanted.matches(&labels(object))).collect()
        }
        ("", None) => return Err("one of name or selector must be provided".to_owned()),
        (name, _) => {
            let found = context.lookup.get(&kept.storage, namespace, name).await;
            found.map_err(|error| error.to_string())?.into_iter().collect()
        }
    };
    if found.is_empty() {
        return match text(&reference.parameter_not_found_action) {
            "Allow" => Ok(Vec::new()),
            _ => Err("no params found for policy binding with `Deny` parameterNotFoundAction".to_owned()),
        };
    }
    let tree = |object: &Arc<StoredObject>| serde_json::from_slice(&object.to_json());
    found.iter().map(|object| tree(object).map(Some).map_err(|error| error.to_string())).collect()
}

/// Whether a list of actions names one.
pub(super) fn acts(actions: &[String], wanted: &str) -> bool {
    actions.iter().any(|action| action == wanted)
}
