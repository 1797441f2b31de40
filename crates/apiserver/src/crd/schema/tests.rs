//! Schemas against values.

use super::*;
use machinery::FieldErrors;
use serde_json::json;

fn schema() -> Schema {
    Schema::compile(&json!({
        "type": "object",
        "required": ["spec"],
        "properties": {"spec": {
            "type": "object",
            "required": ["image"],
            "properties": {
                "image": {"type": "string", "minLength": 2, "pattern": "^[a-z:]+$"},
                "replicas": {"type": "integer", "minimum": 1, "maximum": 10, "default": 1},
                "port": {"x-kubernetes-int-or-string": true},
                "mode": {"type": "string", "enum": ["a", "b"]},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                         "properties": {"known": {"type": "object", "properties": {}}}},
                "rules": {"type": "array", "x-kubernetes-list-type": "map",
                          "x-kubernetes-list-map-keys": ["name"], "maxItems": 3,
                          "items": {"type": "object", "properties": {"name": {"type": "string"},
                                    "weight": {"type": "integer", "default": 5}}}},
                "either": {"type": "object", "oneOf": [{"required": ["x"]}, {"required": ["y"]}],
                           "properties": {"x": {"type": "string"}, "y": {"type": "string"}}},
                "none": {"type": "string", "nullable": true},
            },
        }},
    }))
}

fn errors(value: &Value) -> Vec<String> {
    let mut errors = FieldErrors::new();
    schema().validate(value.as_object().unwrap(), None, &mut errors);
    errors.0.iter().map(ToString::to_string).collect()
}

#[test]
fn good_objects_pass() {
    let good = json!({"spec": {"image": "a:b", "replicas": 3, "port": "http", "mode": "a", "labels": {"x": "y"},
        "rules": [{"name": "a"}, {"name": "b"}], "either": {"x": "1"}, "none": null}});
    assert_eq!(errors(&good), Vec::<String>::new());
}

#[test]
fn bad_objects_are_explained_as_upstream_does() {
    assert_eq!(errors(&json!({})), ["spec: Required value"]);
    let bad = json!({"spec": {"image": "A", "replicas": 11, "port": 1.5, "mode": "c", "labels": {"x": 1},
        "rules": [{"name": "a"}, {"name": "a"}], "either": {"x": "1", "y": "2"}}});
    assert_eq!(
        errors(&bad),
        [
            "spec.image: Invalid value: \"A\": spec.image in body should be at least 2 chars long",
            "spec.image: Invalid value: \"A\": spec.image in body should match '^[a-z:]+$'",
            "spec.replicas: Invalid value: 11: spec.replicas in body should be less than or equal to 10",
            "spec.port: Invalid value: \"number\": spec.port in body must be of type integer,string: \"number\"",
            "spec.mode: Unsupported value: \"c\": supported values: \"a\", \"b\"",
            "spec.labels[x]: Invalid value: \"integer\": spec.labels[x] in body must be of type string: \"integer\"",
            "spec.rules[1]: Duplicate value: {\"name\":\"a\"}",
            "spec.either: Invalid value: {\"x\":\"1\",\"y\":\"2\"}: \"spec.either\" must validate one and only one \
             schema (oneOf). Found 2 valid alternatives",
        ]
    );
}

#[test]
fn unknown_fields_go_and_defaults_come() {
    let Value::Object(mut object) = json!({"apiVersion": "x/v1", "kind": "X", "metadata": {"name": "n"}, "extra": 1,
        "spec": {"image": "a", "replicas": null, "junk": {}, "free": {"anything": 1, "known": {"gone": 1}},
                 "rules": [{"name": "a", "junk": 2}]}})
    else {
        panic!("not an object")
    };
    let schema = schema();
    let mut removed = schema.prune(&mut object);
    removed.sort();
    assert_eq!(removed, ["extra", "spec.free.known.gone", "spec.junk", "spec.rules[0].junk"]);
    schema.set_defaults(&mut object);
    assert_eq!(
        Value::Object(object),
        json!({"apiVersion": "x/v1", "kind": "X", "metadata": {"name": "n"},
            "spec": {"image": "a", "replicas": 1, "free": {"anything": 1, "known": {}},
                     "rules": [{"name": "a", "weight": 5}]}})
    );
}

#[test]
fn hostile_depth_is_bounded() {
    let mut deep = json!({"type": "string"});
    for _ in 0..500 {
        deep = json!({"type": "object", "properties": {"a": deep}});
    }
    let schema = Schema::compile(&deep);
    let mut object = Map::new();
    object.insert("a".to_owned(), json!({"b": 1}));
    assert_eq!(schema.prune(&mut object), ["a.b"]);
}
