use super::*;
use api::{ResourceDef, Verb};
use machinery::GroupVersionKind;
use std::path::PathBuf;

fn table() -> &'static Arc<ResourceTable> {
    ResourceTable::shared()
}

fn document(name: &str) -> Option<Value> {
    v3::document(table(), &NoCustoms, name)
}

fn swagger_of(customs: Arc<dyn Customs>, table: Arc<ResourceTable>) -> Value {
    let openapi = OpenApi::new(table, customs, "v1.36.0");
    serde_json::from_slice(&openapi.v2(Format::Json).plain()).unwrap()
}

/// Where published data is: beside the repository, or where the environment says.
fn reference_dir() -> PathBuf {
    std::env::var("WINDLASS_REFERENCE").map_or_else(
        |_| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/reference"),
        PathBuf::from,
    )
}

/// The published document called `name`.
fn published(name: &str) -> Option<Value> {
    let file = format!("kubernetes-v1.36/openapi-v3/{}_openapi.json", name.replace('/', "__"));
    serde_json::from_slice(&std::fs::read(reference_dir().join(file)).ok()?).ok()
}

/// Without prose, with lists that are sets in one order, and without the values of enumerations, which upstream's
/// servers publish and the snapshot of their documents leaves out.
fn normalize(value: &mut Value, in_properties: bool) {
    match value {
        Value::Object(map) => {
            if !in_properties && map.get("description").is_some_and(Value::is_string) {
                map.shift_remove("description");
            }
            if !in_properties && map.get("enum").is_some_and(Value::is_array) {
                map.shift_remove("enum");
            }
            for (key, value) in map.iter_mut() {
                normalize(value, key == "properties" && !in_properties);
                if key == "required"
                    && let Value::Array(items) = value
                {
                    items.sort_by_key(Value::to_string);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| normalize(item, false)),
        _ => {}
    }
}

/// Where `ours` and `theirs` differ.
fn differences(at: &str, ours: &Value, theirs: &Value, out: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().filter(|key| !b.contains_key(*key)) {
                out.push(format!("{at}/{key}: not published"));
            }
            for (key, theirs) in b {
                match a.get(key) {
                    Some(ours) => differences(&format!("{at}/{key}"), ours, theirs, out),
                    None => out.push(format!("{at}/{key}: missing")),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                differences(&format!("{at}[{index}]"), a, b, out);
            }
        }
        (a, b) if a != b => out.push(format!("{at}: {a} instead of {b}")),
        _ => {}
    }
}

#[test]
fn documents_are_what_is_published() {
    let mut compared = 0;
    let mut all = Vec::new();
    for name in v3::documents(table()) {
        let Some(mut theirs) = published(&name) else { continue };
        let mut ours = document(&name).unwrap();
        normalize(&mut ours, false);
        normalize(&mut theirs, false);
        differences(&name, &ours, &theirs, &mut all);
        compared += 1;
    }
    if compared == 0 {
        println!("skipped documents_are_what_is_published: no published OpenAPI (set WINDLASS_REFERENCE)");
    }
    assert!(all.is_empty(), "{} differences:\n{}", all.len(), all.join("\n"));
}

/// The published v2 document with its shared parameters put where they are referred to.
fn published_swagger() -> Option<Value> {
    let file = reference_dir().join("kubernetes-v1.36/swagger.json");
    let mut swagger: Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    let shared = swagger["parameters"].take();
    fn inline(value: &mut Value, shared: &Value) {
        match value {
            Value::Object(map) => {
                let target =
                    map.get("$ref").and_then(Value::as_str).and_then(|to| to.strip_prefix("#/parameters/"));
                if let Some(found) = target.map(|name| shared[name].clone()) {
                    *value = found;
                } else {
                    map.values_mut().for_each(|value| inline(value, shared));
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| inline(item, shared)),
            _ => {}
        }
    }
    inline(&mut swagger, &shared);
    Some(swagger)
}

#[test]
fn the_v2_document_is_what_is_published() {
    let Some(mut theirs) = published_swagger() else {
        println!(
            "skipped the_v2_document_is_what_is_published: no published OpenAPI (set WINDLASS_REFERENCE)"
        );
        return;
    };
    let mut ours = swagger_of(Arc::new(NoCustoms), table().clone());
    // Some versions that are published are not served by default, and the other way round.
    for part in ["paths", "definitions"] {
        let known: Vec<String> = ours[part].as_object().unwrap().keys().cloned().collect();
        theirs[part].as_object_mut().unwrap().retain(|name, _| known.contains(name));
    }
    let mut all = Vec::new();
    for part in ["paths", "definitions", "securityDefinitions", "security", "swagger"] {
        normalize(&mut ours[part], false);
        normalize(&mut theirs[part], false);
        differences(part, &ours[part], &theirs[part], &mut all);
    }
    assert!(all.is_empty(), "{} differences:\n{}", all.len(), all.join("\n"));
}

#[test]
fn references_resolve() {
    for name in v3::documents(table()) {
        let document = document(&name).unwrap();
        let mut references = Vec::new();
        schemas::collect_references(&document, &mut references);
        for target in references {
            assert!(document["components"]["schemas"].get(&target).is_some(), "{name}: {target}");
        }
    }
    let swagger = swagger_of(Arc::new(NoCustoms), table().clone());
    let text = swagger.to_string();
    assert!(!text.contains("#/components/"));
    for part in text.split("\"#/definitions/").skip(1) {
        let target = part.split('"').next().unwrap();
        assert!(swagger["definitions"].get(target).is_some(), "{target}");
    }
}

#[test]
fn patches_name_their_validation_parameter() {
    let document = document("apis/apps/v1").unwrap();
    let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    let parameters = patch["parameters"].as_array().unwrap();
    assert!(parameters.iter().any(|parameter| parameter["name"] == "fieldValidation"));
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "apps", "kind": "Deployment", "version": "v1"})
    );
}

#[test]
fn enumerations_name_their_values() {
    let document = document("api/v1").unwrap();
    let of = |name: &str, field: &str| {
        document["components"]["schemas"][format!("io.k8s.api.core.v1.{name}")]["properties"][field].clone()
    };
    assert_eq!(of("Container", "imagePullPolicy")["enum"], json!(["Always", "IfNotPresent", "Never"]));
    let modes = of("PersistentVolumeClaimSpec", "accessModes");
    assert_eq!((modes["items"]["enum"][0].as_str(), &modes["enum"]), (Some("ReadOnlyMany"), &Value::Null));
    assert_eq!(of("HostPathVolumeSource", "type")["enum"][0], "");
    assert!(of("Container", "image")["enum"].is_null());
}

struct Widgets;

impl Customs for Widgets {
    fn schema(&self, gvk: &GroupVersionKind) -> Option<Arc<Value>> {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "required": ["n", "m"],
            "properties": {"n": {"type": "string", "nullable": true, "oneOf": []}, "m": {"type": "integer"},
            "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {}},
            "all": {"type": "array", "x-kubernetes-preserve-unknown-fields": true, "items": {}}}}}});
        (gvk.kind == "Widget").then(|| Arc::new(schema))
    }
}

#[test]
fn custom_resources_have_documents_too() {
    let mut def: ResourceDef = (**table().rows().first().unwrap()).clone();
    def.gvk = GroupVersionKind::new("example.com", "v1", "Widget");
    def.plural = "widgets".into();
    def.list_kind = "WidgetList".into();
    def.namespaced = true;
    def.verbs = Verb::ALL.to_vec();
    let table = ResourceTable::new([Arc::new(def)]);
    let openapi = OpenApi::new(Arc::new(table), Arc::new(Widgets), "v1.36.0");
    let document = openapi.v3("apis/example.com/v1", Format::Json).unwrap();
    let value: Value = serde_json::from_slice(&document.plain()).unwrap();
    let schema = &value["components"]["schemas"]["com.example.v1.Widget"];
    assert_eq!(schema["properties"]["spec"]["type"], "object");
    assert_eq!(schema["x-kubernetes-group-version-kind"][0]["kind"], "Widget");
    let item = &value["paths"]["/apis/example.com/v1/namespaces/{namespace}/widgets/{name}"];
    assert_eq!(item["get"]["operationId"], "readComExampleV1NamespacedWidget");
    assert!(item["patch"]["requestBody"]["content"].get("application/strategic-merge-patch+json").is_none());
    let index: Value = serde_json::from_slice(&openapi.index().plain()).unwrap();
    assert_eq!(
        index["paths"]["apis/example.com/v1"]["serverRelativeURL"],
        format!("/openapi/v3/apis/example.com/v1?hash={}", document.hash)
    );
    assert!(openapi.v3("apis/nothing/v1", Format::Json).is_none());
    // The older form has neither null nor junctors, and no types that kubectl could not read.
    let older: Value = serde_json::from_slice(&openapi.v2(Format::Json).plain()).unwrap();
    let spec = &older["definitions"]["com.example.v1.Widget"]["properties"]["spec"];
    let keeps = json!({"x-kubernetes-preserve-unknown-fields": true});
    assert_eq!(
        *spec,
        json!({"type": "object", "required": ["m"],
            "properties": {"n": {}, "m": {"type": "integer"}, "any": keeps, "all": keeps}})
    );
    assert_eq!(
        value["components"]["schemas"]["com.example.v1.Widget"]["properties"]["spec"]["properties"]["n"]["nullable"],
        true
    );
    assert!(openapi.v2(Format::Proto).gzip.len() > 10_000);
}
