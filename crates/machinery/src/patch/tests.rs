use super::{merge, strategic, three_way};
use crate::testing::{Pods, json_tree};
use proptest::prelude::*;
use serde_json::{Value, json};

fn apply(mut target: Value, patch: Value) -> Result<Value, String> {
    strategic::apply(&mut target, patch, &Pods, Pods::ROOT).map_err(|e| e.to_string())?;
    Ok(target)
}

fn names(object: &Value, list: &str) -> String {
    let items = object[list].as_array().map(Vec::as_slice).unwrap_or_default();
    items
        .iter()
        .map(|item| item["name"].as_str().or(item.as_str()).unwrap_or("?"))
        .collect::<Vec<_>>()
        .join(",")
}

#[test]
fn strategic_patches() {
    let rows = [
        // Maps merge, nulls delete, nulls in new values vanish.
        (
            json!({"a": {"b": 1, "c": 2}}),
            json!({"a": {"b": null, "d": {"e": null}}}),
            json!({"a": {"c": 2, "d": {}}}),
        ),
        // Lists of maps merge by key.
        (
            json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]}),
            json!({"containers": [{"name": "b", "image": "2"}]}),
            json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]}),
        ),
        // New items go where the patch has them: at the end when the patch knows nothing else.
        (
            json!({"containers": [{"name": "a"}]}),
            json!({"containers": [{"name": "c", "image": null}]}),
            json!({"containers": [{"name": "c"}, {"name": "a"}]}),
        ),
        (
            json!({"containers": [{"name": "a"}, {"name": "b"}]}),
            json!({"containers": [{"name": "a", "$patch": "delete"}]}),
            json!({"containers": [{"name": "b"}]}),
        ),
        (
            json!({"containers": [{"name": "a"}, {"name": "b"}]}),
            json!({"containers": [{"name": "c"}, {"$patch": "replace"}]}),
            json!({"containers": [{"name": "c"}]}),
        ),
        (
            json!({"containers": [{"name": "a", "env": [{"name": "X", "value": "1"}], "image": "i"}]}),
            json!({"containers": [{"name": "a", "$patch": "replace", "env": []}]}),
            json!({"containers": []}),
        ),
        // Atomic lists are replaced.
        (
            json!({"containers": [{"name": "a", "args": ["1", "2"]}]}),
            json!({"containers": [{"name": "a", "args": ["3"]}]}),
            json!({"containers": [{"name": "a", "args": ["3"]}]}),
        ),
        // Lists of scalars merge as sets.
        (
            json!({"finalizers": ["a", "b"]}),
            json!({"finalizers": ["b", "c"]}),
            json!({"finalizers": ["a", "b", "c"]}),
        ),
        (
            json!({"finalizers": ["a", "b", "c"]}),
            json!({"$deleteFromPrimitiveList/finalizers": ["b"]}),
            json!({"finalizers": ["a", "c"]}),
        ),
        // $setElementOrder orders, and merges the list beside it.
        (
            json!({"containers": [{"name": "a"}, {"name": "b"}]}),
            json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}),
            json!({"containers": [{"name": "b"}, {"name": "a"}]}),
        ),
        (
            json!({"containers": [{"name": "x"}, {"name": "a"}]}),
            json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}],
                   "containers": [{"name": "b", "image": "1"}]}),
            json!({"containers": [{"name": "b", "image": "1"}, {"name": "x"}, {"name": "a"}]}),
        ),
        // $retainKeys clears the rest.
        (
            json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}),
            json!({"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}),
            json!({"strategy": {"type": "Recreate"}}),
        ),
        // $patch on maps.
        (json!({"a": {"b": 1}}), json!({"a": {"$patch": "replace", "c": 2}}), json!({"a": {"c": 2}})),
        (json!({"a": {"b": 1}}), json!({"a": {"$patch": "delete"}}), json!({"a": {}})),
        (json!({}), json!({"a": {"$patch": "replace", "c": 2}}), json!({"a": {"c": 2}})),
        (json!({}), json!({"a": {"$patch": "delete", "c": 2}}), json!({})),
        // Another type replaces.
        (json!({"a": {"b": 1}}), json!({"a": [1]}), json!({"a": [1]})),
    ];
    for (target, patch, expected) in rows {
        let result = apply(target.clone(), patch.clone());
        assert_eq!(result.as_ref(), Ok(&expected), "{target} + {patch}");
        if expected["containers"].is_array() {
            assert_eq!(
                names(result.as_ref().unwrap(), "containers"),
                names(&expected, "containers"),
                "{patch}"
            );
        }
    }
}

#[test]
fn strategic_errors_read_as_upstream_prints_them() {
    let pod = json!({"containers": [{"name": "a"}], "strategy": {"type": "x"}, "finalizers": ["a"]});
    let rows = [
        (json!([]), "invalid JSON document"),
        (json!({"a": {"$patch": "explode"}}), "unknown patch type: explode in map: map[]"),
        (
            json!({"containers": [{"image": "b"}]}),
            "map: map[image:b] does not contain declared merge key: name",
        ),
        (json!({"strategy": {"$retainKeys": ["a"], "type": "b"}}), "invalid patch format of retainKeys"),
        (json!({"$deleteFromPrimitiveList/finalizers": "a"}), "invalid patch format of primitive list"),
        (json!({"$setElementOrder/containers": 1}), "invalid patch format of setElementOrder list"),
        (
            json!({"containers": [{"name": "a", "$patch": "merge"}]}),
            "merging lists cannot yet be specified in the patch",
        ),
        (json!({"containers": [["x"]]}), "lists of lists are not supported"),
    ];
    for (patch, expected) in rows {
        let mut target = pod.clone();
        if let Err(error) = apply(json!({"a": {}}), patch.clone())
            .and_then(|_| apply(std::mem::take(&mut target), patch.clone()))
        {
            assert_eq!(error, expected);
        } else {
            panic!("accepted {patch}");
        }
    }
    assert_eq!(
        strategic::apply(&mut json!([]), json!({}), &Pods, Pods::ROOT).unwrap_err().status().code,
        400
    );
}

#[test]
fn what_kubectl_apply_sends() {
    let three = |original: Value, modified: Value, current: Value| {
        three_way::strategic(&original, &modified, &current, &Pods, Pods::ROOT).unwrap()
    };
    let manifest = json!({"containers": [{"name": "a", "image": "1"}], "replicas": 2});
    let live =
        json!({"containers": [{"name": "a", "image": "1", "pull": "Always"}], "replicas": 2, "status": {}});
    assert_eq!(three(manifest.clone(), manifest.clone(), live.clone()), json!({}));
    let changed = json!({"containers": [{"name": "a", "image": "2"}]});
    assert_eq!(
        three(manifest.clone(), changed, live.clone()),
        json!({"replicas": null, "containers": [{"image": "2", "name": "a"}],
               "$setElementOrder/containers": [{"name": "a"}]})
    );
    let renamed = json!({"containers": [{"name": "b"}], "replicas": 2});
    assert_eq!(
        three(manifest, renamed.clone(), live.clone()),
        json!({"containers": [{"name": "b"}, {"name": "a", "$patch": "delete"}],
               "$setElementOrder/containers": [{"name": "b"}]})
    );
    assert_eq!(
        three_way::json_merge(
            &json!({"a": 1, "b": {"c": 1}}),
            &json!({"a": 2, "d": {}}),
            &json!({"a": 1, "b": {"c": 1}, "e": 1})
        ),
        json!({"a": 2, "b": null, "d": {}})
    );
}

/// A manifest or live object with the fields that [`Pods`] knows.
fn pod() -> impl Strategy<Value = Value> {
    let container = ("[1-3]", proptest::option::of(proptest::collection::vec("[a-c]", 0..3)), 0..4u8);
    (
        proptest::collection::btree_map("[a-d]", container, 0..4),
        proptest::collection::btree_set("[a-d]", 0..4),
        proptest::option::of(("[a-c]", proptest::option::of(0..3u8))),
        json_tree(),
    )
        .prop_map(|(containers, finalizers, strategy, other)| {
            let containers: Vec<Value> = containers
                .into_iter()
                .map(|(name, (image, args, port))| {
                    let mut c = json!({"name": name, "image": image});
                    if let Some(args) = args {
                        c["args"] = json!(args);
                    }
                    if port > 0 {
                        c["ports"] = json!([{"containerPort": port, "protocol": "TCP"}]);
                    }
                    c
                })
                .collect();
            let mut pod = json!({"containers": containers, "finalizers": finalizers, "other": other});
            if let Some((kind, surge)) = strategy {
                pod["strategy"] = json!({"type": kind});
                if let Some(surge) = surge {
                    pod["strategy"]["surge"] = json!(surge);
                }
            }
            pod
        })
}

proptest! {
    #[test]
    fn two_way_diff_then_apply_is_the_target(original in pod(), modified in pod()) {
        let patch = super::diff::two_way(&original, &modified, &Pods, Pods::ROOT).unwrap();
        let mut target = original.clone();
        strategic::apply(&mut target, patch.clone(), &Pods, Pods::ROOT).unwrap();
        prop_assert_eq!(sorted(target), sorted(modified), "patch {}", patch);
    }

    #[test]
    fn three_way_converges(original in pod(), modified in pod(), current in pod()) {
        let patch = three_way::strategic(&original, &modified, &current, &Pods, Pods::ROOT).unwrap();
        let mut live = current.clone();
        strategic::apply(&mut live, patch, &Pods, Pods::ROOT).unwrap();
        // Applying the same manifest again changes nothing.
        let again = three_way::strategic(&modified, &modified, &live, &Pods, Pods::ROOT).unwrap();
        let mut twice = live.clone();
        strategic::apply(&mut twice, again, &Pods, Pods::ROOT).unwrap();
        prop_assert_eq!(&twice, &live);
        // Every field of the manifest is there.
        let mut merged = live.clone();
        merge::merge(&mut merged, json!({"strategy": modified["strategy"], "other": modified["other"]}));
        if modified.get("strategy").is_some() {
            prop_assert_eq!(&merged["strategy"], &live["strategy"]);
        }
    }

    #[test]
    fn json_merge_three_way_reaches_the_manifest(original in json_tree(), modified in json_tree(), current in json_tree()) {
        prop_assume!(original.is_object() && modified.is_object() && current.is_object());
        let patch = three_way::json_merge(&original, &modified, &current);
        let mut live = current.clone();
        merge::merge(&mut live, patch);
        for (key, value) in modified.as_object().unwrap() {
            if !value.is_object() {
                prop_assert_eq!(&live[key], value);
            }
        }
        for key in original.as_object().unwrap().keys() {
            prop_assert!(modified.get(key).is_some() || live.get(key).is_none());
        }
    }

    #[test]
    fn never_panics(target in json_tree(), patch in json_tree(), directive in "\\$(patch|retainKeys|setElementOrder/a|deleteFromPrimitiveList/a)", with in json_tree()) {
        let mut patch = patch;
        if let Value::Object(map) = &mut patch {
            map.insert(directive, with);
        }
        let mut target = target;
        let _ = strategic::apply(&mut target, patch, &Pods, Pods::ROOT);
    }
}

/// Lists that merge, in one order, because a patch between two sets cannot say where new items go; and
/// empty lists gone, which it cannot tell from absent ones.
fn sorted(mut pod: Value) -> Value {
    for list in ["containers", "finalizers"] {
        if let Some(Value::Array(items)) = pod.get_mut(list) {
            items.sort_by_key(|item| item.get("name").unwrap_or(item).to_string());
            for item in items.iter_mut().filter(|item| item["ports"] == json!([])) {
                item.as_object_mut().unwrap().remove("ports");
            }
        }
    }
    pod
}
