//! JSON patch (RFC 6902) with the API server's limits and errors.

use crate::status::{Reason, Status, StatusDetails};
use json_patch::PatchOperation;
use json_patch::jsonptr::PointerBuf;
use serde_json::Value;

/// Most operations in one patch.
pub const OPERATIONS_MAX: usize = 10_000;
/// Most bytes that all `copy` operations of one patch may add: they can double a document each time.
const COPIED_MAX: usize = 3 * 1024 * 1024;

/// Applies `patch` to `target`, which is unspecified after an error. 400 when the patch is malformed, 413 when
/// it is too long or copies too much, 422 when an operation fails.
pub fn apply(target: &mut Value, patch: Value) -> Result<(), Status> {
    let operations = match patch {
        Value::Array(operations) => operations,
        other => {
            let kind = if other.is_object() { "object" } else { "value" };
            return Err(Status::bad_request(format!(
                "json: cannot unmarshal {kind} into Go value of type jsonpatch.Patch"
            )));
        }
    };
    if operations.len() > OPERATIONS_MAX {
        return Err(Status::new(
            413,
            Reason::RequestEntityTooLarge,
            format!(
                "Request entity too large: The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}",
                operations.len()
            ),
        ));
    }
    let mut copied = 0;
    for operation in operations {
        let mut operation: PatchOperation = serde_json::from_value(operation)
            .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
        resolve_negative_indexes(target, &mut operation);
        if let PatchOperation::Copy(copy) = &operation {
            copied += target.pointer(copy.from.as_str()).map_or(0, |value| value.to_string().len());
            if copied > COPIED_MAX {
                return Err(unprocessable());
            }
        }
        json_patch::patch(target, std::slice::from_ref(&operation)).map_err(|_| unprocessable())?;
    }
    Ok(())
}

fn unprocessable() -> Status {
    Status::new(422, Reason::Invalid, "the server rejected our request due to an error in our request")
        .with_details(StatusDetails::default())
}

/// Upstream takes `-1` for the last element of a list, which the RFC does not know.
fn resolve_negative_indexes(target: &Value, operation: &mut PatchOperation) {
    let (path, from, inserts) = match operation {
        PatchOperation::Add(op) => (&mut op.path, None, true),
        PatchOperation::Remove(op) => (&mut op.path, None, false),
        PatchOperation::Replace(op) => (&mut op.path, None, false),
        PatchOperation::Test(op) => (&mut op.path, None, false),
        PatchOperation::Move(op) => (&mut op.path, Some(&mut op.from), true),
        PatchOperation::Copy(op) => (&mut op.path, Some(&mut op.from), true),
    };
    resolve(target, path, inserts);
    if let Some(from) = from {
        resolve(target, from, false);
    }
}

fn resolve(target: &Value, path: &mut PointerBuf, inserts: bool) {
    if !path.as_str().contains("/-") {
        return;
    }
    let last = path.as_str().matches('/').count();
    let mut resolved = String::new();
    let mut at = Some(target);
    for (depth, segment) in path.as_str().split('/').enumerate().skip(1) {
        let mut segment = segment.to_owned();
        if let Some(Value::Array(list)) = at
            && let Some(Ok(back)) = segment.strip_prefix('-').map(str::parse::<usize>)
        {
            // An insertion at -1 appends.
            let length = if inserts && depth == last { list.len() + 1 } else { list.len() };
            if let Some(index) = length.checked_sub(back).filter(|_| back > 0) {
                segment = index.to_string();
            }
        }
        resolved.push('/');
        resolved.push_str(&segment);
        at = target.pointer(&resolved);
    }
    if let Ok(pointer) = PointerBuf::parse(resolved) {
        *path = pointer;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::json_tree;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn applies() {
        let rows = [
            (json!({}), json!([{"op": "add", "path": "/a", "value": 1}]), json!({"a": 1})),
            (
                json!({"a": [1, 2]}),
                json!([{"op": "add", "path": "/a/-", "value": 3}]),
                json!({"a": [1, 2, 3]}),
            ),
            (json!({"a": [1, 2]}), json!([{"op": "remove", "path": "/a/-1"}]), json!({"a": [1]})),
            (
                json!({"a": [1, 2]}),
                json!([{"op": "replace", "path": "/a/-2", "value": 0}]),
                json!({"a": [0, 2]}),
            ),
            (json!({"a/b": {"~c": 1}}), json!([{"op": "remove", "path": "/a~1b/~0c"}]), json!({"a/b": {}})),
            (json!({"a": 1}), json!([{"op": "move", "from": "/a", "path": "/b"}]), json!({"b": 1})),
            (json!({"a": 1}), json!([{"op": "copy", "from": "/a", "path": "/b"}]), json!({"a": 1, "b": 1})),
            (
                json!({"a": 1}),
                json!([{"op": "test", "path": "/a", "value": 1}, {"op": "replace", "path": "/a", "value": 2}]),
                json!({"a": 2}),
            ),
        ];
        for (mut target, patch, expected) in rows {
            apply(&mut target, patch.clone()).unwrap_or_else(|e| panic!("{patch}: {e}"));
            assert_eq!(target, expected);
        }
    }

    #[test]
    fn refuses_as_the_api_server_does() {
        let code = |patch: Value| apply(&mut json!({"a": 1}), patch).unwrap_err().code;
        assert_eq!(code(json!({"a": 1})), 400);
        assert_eq!(code(json!([{"op": "no", "path": "/a"}])), 400);
        assert_eq!(code(json!([{"op": "test", "path": "/a", "value": 2}])), 422);
        assert_eq!(code(json!([{"op": "remove", "path": "/b"}])), 422);
        assert_eq!(code(json!([{"op": "add", "path": "/b/c", "value": 2}])), 422);
        let many = vec![json!({"op": "test", "path": "/a", "value": 1}); OPERATIONS_MAX + 1];
        assert_eq!(code(Value::Array(many)), 413);
        let mut bomb = vec![json!({"op": "add", "path": "/b", "value": ["x".repeat(1000)]})];
        bomb.extend(std::iter::repeat_n(json!({"op": "copy", "from": "/b", "path": "/b/-"}), 40));
        assert_eq!(code(Value::Array(bomb)), 422);
    }

    proptest! {
        #[test]
        fn never_panics(target in json_tree(), path in "(/[a-c0-2~\\-]{0,2}){0,3}", from in "(/[a-c0-2\\-]{0,2}){0,2}",
                        value in json_tree()) {
            for op in ["add", "remove", "replace", "move", "copy", "test"] {
                let mut target = target.clone();
                let _ = apply(&mut target, json!([{"op": op, "path": path, "from": from, "value": value}]));
            }
        }
    }
}
