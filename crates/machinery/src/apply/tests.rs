use super::*;
use crate::schema::Deduced;
use crate::testing::{Pods, json_tree};
use proptest::prelude::*;
use serde_json::json;

fn write<'a>(manager: &'a str, time: &'a str, reset: &'a FieldSet) -> Write<'a> {
    Write { manager, api_version: "v1", subresource: "", time, reset }
}

/// An object under the test, written by named managers one after the other.
#[derive(Default)]
struct Live(Option<Value>);

impl Live {
    fn apply(&mut self, manager: &str, config: &Value, force: bool) -> Result<&Value, Status> {
        let reset = FieldSet::new();
        let config = with_head(config);
        let new =
            super::apply(&Pods, Pods::ROOT, self.0.as_ref(), &config, &write(manager, "t", &reset), force)?;
        Ok(self.0.insert(new))
    }

    fn update(&mut self, manager: &str, new: &Value) -> &Value {
        let reset = FieldSet::new();
        let mut new = with_head(new);
        super::update(&Pods, Pods::ROOT, self.0.as_ref(), &mut new, &write(manager, "t", &reset));
        self.0.insert(new)
    }

    fn body(&self) -> Value {
        let mut body = self.0.clone().unwrap_or_default();
        let map = body.as_object_mut().unwrap();
        for name in ["apiVersion", "kind"] {
            map.shift_remove(name);
        }
        map.get_mut("metadata").and_then(Value::as_object_mut).unwrap().shift_remove("managedFields");
        if map["metadata"] == json!({}) {
            map.shift_remove("metadata");
        }
        body
    }

    fn owned(&self, manager: &str) -> Vec<String> {
        Managed::decode(self.0.as_ref().unwrap())
            .unwrap()
            .0
            .into_iter()
            .filter(|(m, _)| m.name == manager)
            .flat_map(|(_, entry)| entry.set.paths())
            .collect()
    }
}

fn with_head(object: &Value) -> Value {
    let mut full = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {}});
    full.as_object_mut().unwrap().extend(object.as_object().unwrap().clone());
    full
}

#[test]
fn applying_owns_what_is_applied() {
    let mut live = Live::default();
    let config = json!({"replicas": 1, "containers": [{"name": "a", "image": "1", "args": ["x"],
        "ports": [{"containerPort": 80}]}], "metadata": {"labels": {"app": "web"}}, "selector": {"a": "b"}});
    live.apply("me", &config, false).unwrap();
    assert_eq!(live.body(), config);
    assert_eq!(
        live.owned("me"),
        [
            ".containers[name=\"a\"]",
            ".containers[name=\"a\"].args",
            ".containers[name=\"a\"].image",
            ".containers[name=\"a\"].name",
            ".containers[name=\"a\"].ports[containerPort=80,protocol=\"TCP\"]",
            ".containers[name=\"a\"].ports[containerPort=80,protocol=\"TCP\"].containerPort",
            ".metadata.labels.app",
            ".replicas",
            ".selector"
        ]
    );
    let entry = &live.0.as_ref().unwrap()["metadata"]["managedFields"][0];
    assert_eq!(entry["manager"], "me");
    assert_eq!(entry["operation"], "Apply");
    assert_eq!(entry["fieldsV1"]["f:metadata"], json!({"f:labels": {"f:app": {}}}));
}

#[test]
fn what_is_no_longer_applied_goes_unless_another_owns_it() {
    let mut live = Live::default();
    live.apply(
        "me",
        &json!({"replicas": 1, "finalizers": ["a", "b"], "metadata": {"labels": {"x": "1", "y": "2"}},
        "containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]}),
        false,
    )
    .unwrap();
    live.apply("you", &json!({"metadata": {"labels": {"y": "2"}}, "containers": [{"name": "b"}]}), false)
        .unwrap();
    live.apply("me", &json!({"finalizers": ["b"]}), false).unwrap();
    assert_eq!(
        live.body(),
        json!({"finalizers": ["b"], "metadata": {"labels": {"y": "2"}}, "containers": [{"name": "b"}]})
    );
    assert_eq!(live.owned("me"), [".finalizers[=\"b\"]"]);
}

#[test]
fn conflicts_read_as_upstream_prints_them() {
    let mut live = Live::default();
    live.update(
        "kubectl-client-side-apply",
        &json!({"replicas": 1, "containers": [{"name": "a", "image": "1"}]}),
    );
    let conflict = live.apply("me", &json!({"replicas": 2}), false).unwrap_err();
    assert_eq!(conflict.code, 409);
    assert_eq!(
        conflict.message,
        "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using v1: .replicas"
    );
    let cause = &conflict.details.unwrap().causes[0];
    assert_eq!((cause.reason.as_str(), cause.field.as_str()), ("FieldManagerConflict", ".replicas"));
    assert_eq!(cause.message, "conflict with \"kubectl-client-side-apply\" using v1");

    let both = json!({"replicas": 2, "containers": [{"name": "a", "image": "2"}]});
    let conflict = live.apply("me", &both, false).unwrap_err();
    assert_eq!(
        conflict.message,
        "Apply failed with 2 conflicts: conflicts with \"kubectl-client-side-apply\" using v1:\n\
         - .containers[name=\"a\"].image\n- .replicas"
    );
    live.apply("me", &both, true).unwrap();
    assert_eq!(live.body(), both);
    assert_eq!(
        live.owned("kubectl-client-side-apply"),
        [".containers[name=\"a\"]", ".containers[name=\"a\"].name"]
    );
    // The same value is shared.
    live.apply("you", &json!({"replicas": 2}), false).unwrap();
    assert_eq!(live.owned("you"), [".replicas"]);
    let conflict = live.apply("you", &json!({"replicas": 3}), false).unwrap_err();
    assert_eq!(conflict.message, "Apply failed with 1 conflict: conflict with \"me\": .replicas");
}

#[test]
fn updates_own_what_they_change() {
    let mut live = Live::default();
    let first = json!({"replicas": 1, "metadata": {"labels": {"app": "web"}},
        "containers": [{"name": "a", "image": "1"}], "ref": {"x": 1}});
    live.update("maker", &first);
    let entry = &live.0.as_ref().unwrap()["metadata"]["managedFields"][0];
    assert_eq!(
        entry["fieldsV1"],
        json!({"f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:image": {}, "f:name": {}}},
               "f:metadata": {"f:labels": {".": {}, "f:app": {}}}, "f:ref": {}, "f:replicas": {}})
    );
    assert_eq!(entry["operation"], "Update");
    let mut second = first.clone();
    second["replicas"] = json!(2);
    second["metadata"]["labels"] = json!({});
    live.update("scaler", &second);
    assert_eq!(live.owned("scaler"), [".replicas"]);
    assert!(!live.owned("maker").iter().any(|path| path == ".replicas" || path == ".metadata.labels.app"));
    // A write that changes nothing leaves no trace.
    live.update("idler", &second);
    assert!(live.owned("idler").is_empty());
}

#[test]
fn endpoints_own_only_what_they_write() {
    let reset = FieldSet::of_fields(&[&["other"]]);
    let mut new = with_head(&json!({"replicas": 1, "other": {"a": {"b": 1}}}));
    super::update(&Pods, Pods::ROOT, None, &mut new, &write("me", "t", &reset));
    assert_eq!(new["metadata"]["managedFields"][0]["fieldsV1"], json!({"f:replicas": {}}));
    let status = Write { subresource: "status", ..write("me", "u", &reset) };
    let mut next = new.clone();
    next["replicas"] = json!(2);
    super::update(&Pods, Pods::ROOT, Some(&new), &mut next, &status);
    let entries = next["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!((&entries[0]["subresource"], &entries[0]["time"]), (&json!("status"), &json!("u")));
}

#[test]
fn objects_without_managers() {
    let reset = FieldSet::new();
    let old = with_head(&json!({"replicas": 1}));
    let mut new = with_head(&json!({"replicas": 2}));
    super::update(&Pods, Pods::ROOT, Some(&old), &mut new, &write("me", "t", &reset));
    assert_eq!(new["metadata"].get("managedFields"), None);
    let mut live = Live(Some(old));
    let conflict = live.apply("me", &json!({"replicas": 2}), false).unwrap_err();
    assert!(conflict.message.contains("conflict with \"before-first-apply\" using v1: .replicas"));
}

#[test]
fn managers_are_forgotten_on_request() {
    let mut live = Live::default();
    live.update("me", &json!({"replicas": 1}));
    let reset = json!({"replicas": 1, "metadata": {"managedFields": [{}]}});
    assert_eq!(live.update("me", &reset)["metadata"].get("managedFields"), None);
}

#[test]
fn old_updaters_are_put_together() {
    let reset = FieldSet::new();
    let mut live: Option<Value> = None;
    for n in 0..15 {
        let mut new = live.clone().unwrap_or_else(|| with_head(&json!({})));
        new["metadata"]["labels"][format!("l{n}")] = json!("x");
        let time = format!("2026-01-01T00:00:{n:02}Z");
        super::update(&Pods, Pods::ROOT, live.as_ref(), &mut new, &write(&format!("m{n}"), &time, &reset));
        live = Some(new);
    }
    let live = live.unwrap();
    let entries = live["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(entries.len(), 10);
    assert_eq!(entries.iter().filter(|entry| entry["manager"] == "ancient-changes").count(), 1);
}

#[test]
fn kubectl_moves_from_client_side_apply() {
    let mut live = Live::default();
    let manifest = json!({"apiVersion": "v1", "kind": "Pod", "replicas": 1});
    let annotated = json!({"replicas": 1, "metadata": {"annotations": {LAST_APPLIED: manifest.to_string()}}});
    live.update("kubectl-client-side-apply", &annotated);
    assert_eq!(live.apply("me", &json!({"replicas": 2}), false).unwrap_err().code, 409);
    live.apply("kubectl", &json!({"replicas": 2}), false).unwrap();
    let body = live.body();
    assert_eq!(body["replicas"], 2);
    let annotation = body["metadata"]["annotations"][LAST_APPLIED].as_str().unwrap();
    assert!(annotation.contains("\"replicas\":2"), "{annotation}");
    assert_eq!(live.owned("kubectl"), [".replicas"]);
    // A field that someone changed since is a conflict.
    live.update("scaler", &json!({"replicas": 5, "metadata": body["metadata"]}));
    assert_eq!(live.apply("kubectl", &json!({"replicas": 3}), false).unwrap_err().code, 409);
}

#[test]
fn lists_keep_a_sensible_order() {
    let mut live = Live::default();
    live.update("maker", &json!({"finalizers": ["s", "a", "x", "b", "y"]}));
    live.apply("me", &json!({"finalizers": ["b", "n", "a"]}), false).unwrap();
    assert_eq!(live.body()["finalizers"], json!(["s", "b", "y", "n", "a", "x"]));
}

#[test]
fn configurations_must_fit_the_schema() {
    let mut live = Live::default();
    let rows = [
        (json!({"repliacs": 1}), ".repliacs: field not declared in schema"),
        (json!({"containers": {}}), ".containers: expected list, got &{{}}"),
        (json!({"metadata": {"labels": 1}}), ".metadata.labels: expected map, got &{1}"),
        (
            json!({"containers": [{"name": "a"}, {"name": "a"}]}),
            ".containers: duplicate entries for key [name=\"a\"]",
        ),
        (
            json!({"containers": [{"image": "a"}]}),
            ".containers: element 0: associative list with keys has an element that omits key field \"name\" (and \
             doesn't have default value)",
        ),
        (
            json!({"a": 1, "b": 1}),
            "errors:\n  .a: field not declared in schema\n  .b: field not declared in schema",
        ),
    ];
    for (config, expected) in rows {
        let error = live.apply("me", &config, false).unwrap_err();
        assert_eq!(
            error.message,
            format!("failed to create typed patch object (; v1, Kind=Pod): {expected}")
        );
        assert_eq!(error.code, 500);
    }
    let managed = json!({"metadata": {"managedFields": []}});
    assert_eq!(live.apply("me", &managed, false).unwrap_err().message, "metadata.managedFields must be nil");
    let old = json!({"apiVersion": "v0"});
    assert_eq!(live.apply("me", &old, false).unwrap_err().code, 400);
}

#[test]
fn manager_names() {
    assert_eq!(manager_name("me", "kubectl/v1"), "me");
    assert_eq!(manager_name("", "kubectl/v1.33 (linux)"), "kubectl");
    assert_eq!(manager_name("", &"ä".repeat(100)).len(), 128);
}

fn config() -> impl Strategy<Value = Value> {
    let container =
        (proptest::option::of("[1-3]"), proptest::option::of(proptest::collection::vec("[a-c]", 1..3)));
    (
        proptest::collection::btree_map("[a-c]", container, 0..3),
        proptest::collection::btree_set("[a-c]", 0..3),
        proptest::option::of(0..3),
        proptest::collection::btree_map("[a-c]", "[0-1]", 0..3),
    )
        .prop_map(|(containers, finalizers, replicas, labels)| {
            let mut config = json!({});
            let containers: Vec<Value> = containers
                .into_iter()
                .map(|(name, (image, args))| {
                    let mut c = json!({"name": name});
                    if let Some(image) = image {
                        c["image"] = json!(image);
                    }
                    if let Some(args) = args {
                        c["args"] = json!(args);
                    }
                    c
                })
                .collect();
            if !containers.is_empty() {
                config["containers"] = json!(containers);
            }
            if !finalizers.is_empty() {
                config["finalizers"] = json!(finalizers);
            }
            if let Some(replicas) = replicas {
                config["replicas"] = json!(replicas);
            }
            if !labels.is_empty() {
                config["metadata"] = json!({"labels": labels});
            }
            config
        })
}

/// The object with items in one order: which one comes first is not what these properties are about.
fn canonical(mut body: Value) -> Value {
    for list in ["containers", "finalizers"] {
        if let Some(Value::Array(items)) = body.get_mut(list) {
            items.sort_by_key(|item| item.get("name").unwrap_or(item).to_string());
        }
    }
    body
}

proptest! {
    #[test]
    fn one_manager_gets_just_what_it_applies(configs in proptest::collection::vec(config(), 1..5)) {
        let mut live = Live::default();
        for config in &configs {
            live.apply("me", config, false).unwrap();
            prop_assert_eq!(canonical(live.body()), canonical(config.clone()));
        }
    }

    #[test]
    fn applying_again_changes_nothing(first in config(), second in config(), third in config()) {
        let mut live = Live::default();
        live.update("maker", &first);
        live.apply("you", &second, true).unwrap();
        live.apply("me", &third, true).unwrap();
        let before = live.0.clone();
        prop_assert!(live.apply("me", &third, false).is_ok());
        prop_assert_eq!(&live.0, &before);
    }

    #[test]
    fn what_is_applied_is_there_and_owned(first in config(), second in config(), third in config()) {
        let mut live = Live::default();
        live.apply("you", &first, true).unwrap();
        live.update("maker", &second);
        live.apply("me", &third, true).unwrap();
        let typed = Typed(&Pods);
        let wanted = typed.field_set(Some(Pods::ROOT), &third);
        let there = typed.field_set(Some(Pods::ROOT), &live.body());
        prop_assert!(wanted.difference(&there).is_empty());
        prop_assert_eq!(live.owned("me"), wanted.difference(&STRIPPED).paths());
        // Nobody owns what is not there.
        let managed = Managed::decode(live.0.as_ref().unwrap()).unwrap();
        let named = typed.with_named_parents(Some(Pods::ROOT), &there);
        for entry in managed.0.values() {
            let lost = entry.set.difference(&named);
            prop_assert!(lost.paths().iter().all(|path| path.ends_with("labels") || path.ends_with("finalizers")), "{:?}", lost.paths());
        }
    }

    #[test]
    fn custom_objects_without_schema(first in json_tree(), second in json_tree()) {
        prop_assume!(first.is_object() && second.is_object());
        let reset = FieldSet::new();
        let (first, second) = (with_head(&json!({"spec": first})), with_head(&json!({"spec": second})));
        let one = super::apply(&Deduced, (), None, &first, &write("me", "t", &reset), false).unwrap();
        let two = super::apply(&Deduced, (), Some(&one), &second, &write("me", "t", &reset), false).unwrap();
        prop_assert_eq!(&two["spec"], &second["spec"]);
        let mut three = one.clone();
        three["spec"] = second["spec"].clone();
        super::update(&Deduced, (), Some(&one), &mut three, &write("you", "t", &reset));
        prop_assert!(Managed::decode(&three).is_some());
    }
}
