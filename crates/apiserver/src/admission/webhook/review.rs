//! `AdmissionReview` (admission.k8s.io/v1): the question and the answer.

use crate::contract::{AdmissionRequest, UserInfo};
use api::Object;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use machinery::{Reason, Status};
use serde_json::{Map, Value, json};

/// What a webhook says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Verdict {
    /// Set when it refuses; as it explains itself.
    pub(super) denied: Option<Value>,
    /// RFC 6902.
    pub(super) patch: Option<Value>,
    pub(super) warnings: Vec<String>,
}

fn user(user: &UserInfo) -> Value {
    let mut shown = Map::new();
    shown.insert("username".to_owned(), json!(user.name));
    if !user.uid.is_empty() {
        shown.insert("uid".to_owned(), json!(user.uid));
    }
    shown.insert("groups".to_owned(), json!(user.groups));
    if !user.extra.is_empty() {
        shown.insert("extra".to_owned(), json!(user.extra));
    }
    Value::Object(shown)
}

fn tree(object: Option<&dyn Object>) -> Value {
    object.and_then(|object| serde_json::from_slice(&object.to_json()).ok()).unwrap_or_default()
}

/// The question.
pub(super) fn request(request: &AdmissionRequest, uid: &str) -> Bytes {
    let (def, object) = (&request.def, request.object.as_deref());
    let gvk = object.map_or_else(|| def.gvk.clone(), |object| object.gvk());
    let kind = json!({"group": gvk.group, "version": gvk.version, "kind": gvk.kind});
    let resource = json!({"group": def.gvk.group, "version": def.gvk.version, "resource": def.plural});
    let mut asked = json!({
        "uid": uid,
        "kind": kind,
        "resource": resource,
        "requestKind": kind,
        "requestResource": resource,
        "operation": request.operation.as_str(),
        "userInfo": user(&request.user),
        "object": tree(object),
        "oldObject": tree(request.old.as_deref()),
        "dryRun": request.dry_run,
        "options": request.options,
    });
    for (keys, value) in [
        (&["name"][..], request.name.as_str()),
        (&["namespace"], request.namespace.as_str()),
        (&["subResource", "requestSubResource"], request.subresource.as_ref()),
    ] {
        for key in keys.iter().filter(|_| !value.is_empty()) {
            asked[*key] = json!(value);
        }
    }
    let review = json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": asked});
    Bytes::from(review.to_string())
}

/// Reads the answer to the question `uid`; an error says what is wrong with it.
pub(super) fn verdict(answer: &[u8], uid: &str) -> Result<Verdict, String> {
    let review: Value = serde_json::from_slice(answer).map_err(|e| format!("the answer is not JSON: {e}"))?;
    let text = |pointer: &str| review.pointer(pointer).and_then(Value::as_str);
    if text("/kind") != Some("AdmissionReview") || text("/apiVersion") != Some("admission.k8s.io/v1") {
        return Err("expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview".to_owned());
    }
    let Some(response) = review.get("response").filter(|response| response.is_object()) else {
        return Err("webhook response was absent".to_owned());
    };
    if text("/response/uid") != Some(uid) {
        return Err(format!(
            "expected response.uid={uid:?}, got {:?}",
            text("/response/uid").unwrap_or_default()
        ));
    }
    let warnings = response.get("warnings").and_then(Value::as_array).into_iter().flatten();
    let mut verdict = Verdict {
        warnings: warnings.filter_map(Value::as_str).map(str::to_owned).collect(),
        ..Verdict::default()
    };
    if response.get("allowed").and_then(Value::as_bool) != Some(true) {
        verdict.denied = Some(response.get("status").cloned().unwrap_or_default());
        return Ok(verdict);
    }
    if let Some(patch) = text("/response/patch").filter(|patch| !patch.is_empty()) {
        if text("/response/patchType") != Some("JSONPatch") {
            return Err("webhook returned response.patch but not response.patchType".to_owned());
        }
        let bytes = STANDARD.decode(patch).map_err(|error| format!("the patch is not base64: {error}"))?;
        let patch =
            serde_json::from_slice(&bytes).map_err(|error| format!("the patch is not JSON: {error}"))?;
        verdict.patch = Some(patch);
    }
    Ok(verdict)
}

/// A refusal in upstream's words.
pub(super) fn refusal(webhook: &str, status: Value) -> Status {
    let text = |key: &str| status.get(key).and_then(Value::as_str).unwrap_or_default();
    let denied = format!("admission webhook {webhook:?} denied the request");
    let message = match (text("message"), text("reason")) {
        ("", "") => format!("{denied} without explanation"),
        ("", reason) => format!("{denied}: {reason}"),
        (message, _) => format!("{denied}: {message}"),
    };
    let code = status.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
    let code = code.filter(|code| (400..600).contains(code)).unwrap_or(400);
    let reason = match text("reason") {
        "" => Reason::Unknown,
        reason => serde_json::from_value(json!(reason)).unwrap_or(Reason::Unknown),
    };
    Status::new(code, reason, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_checked() {
        let answer = |response: Value| {
            json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response})
                .to_string()
        };
        let read = |response: Value| verdict(answer(response).as_bytes(), "u");
        assert_eq!(read(json!({"uid": "u", "allowed": true})), Ok(Verdict::default()));
        assert!(read(json!({"uid": "x", "allowed": true})).unwrap_err().contains("expected response.uid"));
        assert!(read(Value::Null).is_err());
        let patch = STANDARD.encode(r#"[{"op":"remove","path":"/a"}]"#);
        assert!(read(json!({"uid": "u", "allowed": true, "patch": patch})).is_err());
        let good =
            read(json!({"uid": "u", "allowed": true, "patch": patch, "patchType": "JSONPatch"})).unwrap();
        assert!(good.patch.is_some());
        let refused =
            read(json!({"uid": "u", "allowed": false, "status": {"message": "no", "code": 403}})).unwrap();
        let status = refusal("w", refused.denied.unwrap());
        assert_eq!(
            (status.code, status.message.as_str()),
            (403, "admission webhook \"w\" denied the request: no")
        );
        assert_eq!(refusal("w", Value::Null).code, 400);
    }
}
