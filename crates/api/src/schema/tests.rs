use super::*;
use machinery::apply::{self, FieldSet, Write};
use machinery::patch::strategic;
use serde_json::json;

fn deployment() -> GroupVersionKind {
    GroupVersionKind::new("apps", "v1", "Deployment")
}

#[test]
fn every_line_of_the_text_is_understood() {
    let fields =
        parse::FILES.iter().flat_map(|file| file.lines()).filter(|line| line.starts_with(' ')).count();
    let types = parse::FILES
        .iter()
        .flat_map(|file| file.lines())
        .filter(|line| !line.starts_with(' ') && !line.starts_with("package "))
        .count();
    assert_eq!((TABLE.fields.len(), TABLE.types.len()), (fields, types));
    for id in types_sorted() {
        assert!(id.fields().is_sorted_by(|a, b| a.name < b.name), "{}", id.full_name());
    }
}

fn types_sorted() -> Vec<TypeId> {
    types().collect()
}

#[test]
fn every_pointer_names_a_field() {
    let (mut packages, mut named) = (Vec::new(), 0);
    for line in parse::POINTERS.lines() {
        let mut words = line.split(' ');
        let ty = words.next().unwrap();
        if ty == "package" {
            packages = words.collect();
            continue;
        }
        for name in words {
            for package in &packages {
                let file =
                    parse::FILES.iter().find(|f| f.starts_with(&format!("package {package} "))).unwrap();
                let full = file.split(' ').nth(1).map(str::to_owned).unwrap();
                assert_eq!(&full, package);
                let full = file.lines().next().unwrap().split(' ').nth(2).unwrap();
                let id = by_name(&format!("{full}.{ty}")).unwrap_or_else(|| panic!("{full}.{ty}"));
                let field =
                    id.field(name.trim_start_matches('+')).unwrap_or_else(|| panic!("{full}.{ty}.{name}"));
                assert_eq!((field.kept, field.pointer), (name.starts_with('+'), !name.starts_with('+')));
                named += 1;
            }
        }
    }
    assert!(named > 300);
}

#[test]
fn looks_up_kinds() {
    let id = lookup(&deployment()).unwrap();
    assert_eq!(id.full_name(), "io.k8s.api.apps.v1.Deployment");
    assert_eq!(id.gvk(), Some(deployment()));
    assert_eq!(by_name("io.k8s.api.apps.v1.Deployment"), Some(id));
    assert!(lookup(&GroupVersionKind::new("apps", "v1", "Pod")).is_none());
    let options = lookup(&GroupVersionKind::new("apps", "v1", "DeleteOptions")).unwrap();
    assert_eq!(options.full_name(), "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions");
    let volume = by_name("io.k8s.api.core.v1.Volume").unwrap();
    assert_eq!(&*volume.field("hostPath").unwrap().proto, [2, 1]);
}

#[test]
fn strict_validation_reads_as_upstream() {
    let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "labls": {}},
        "spec": {"replica": 1, "template": {"spec": {"nodeSelector": {"any": "x"}, "containers": [
            {"name": "a", "imag": "b", "resources": {"limits": {"x.io/y": "1"}}}]}}}, "spek": {}});
    let found = unknown_fields(&deployment(), &object);
    assert_eq!(
        found,
        [
            r#"unknown field "metadata.labls""#,
            r#"unknown field "spec.replica""#,
            r#"unknown field "spec.template.spec.containers[0].imag""#,
            r#"unknown field "spek""#
        ]
    );
    assert_eq!(
        strict_message(&deployment(), &found[..1]),
        "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: unknown field \
         \"metadata.labls\""
    );
}

#[test]
fn drives_strategic_merges() {
    let mut target = json!({"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "1",
        "ports": [{"containerPort": 80}]}], "volumes": [{"name": "v", "emptyDir": {}}], "tolerations": [1]}}}});
    let patch = json!({"spec": {"template": {"spec": {
        "containers": [{"name": "a", "image": "2", "ports": [{"containerPort": 81}]}],
        "volumes": [{"$retainKeys": ["name", "hostPath"], "name": "v", "hostPath": {"path": "/"}}],
        "tolerations": []}}}});
    strategic::apply(&mut target, patch, &BuiltIn, BuiltIn.root(&deployment()).unwrap()).unwrap();
    assert_eq!(
        target,
        json!({"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "2",
            "ports": [{"containerPort": 81}, {"containerPort": 80}]}],
            "volumes": [{"name": "v", "hostPath": {"path": "/"}}], "tolerations": []}}}})
    );
}

/// What upstream records when kubectl creates a Deployment.
#[test]
fn drives_field_ownership() {
    let mut object = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web"}},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}, "type": "RollingUpdate"},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
                "containers": [{"image": "nginx", "name": "nginx", "resources": {}, "ports": [
                    {"containerPort": 80, "protocol": "TCP"}]}],
                "dnsPolicy": "ClusterFirst", "securityContext": {}}}},
        "status": {}});
    let reset = FieldSet::of_fields(&[&["status"]]);
    let write = Write {
        manager: "kubectl-create",
        api_version: "apps/v1",
        subresource: "",
        time: "t",
        reset: &reset,
    };
    let root = BuiltIn.root(&deployment()).unwrap();
    apply::update(&BuiltIn, root, None, &mut object, &write);
    assert_eq!(
        object["metadata"]["managedFields"][0]["fieldsV1"],
        json!({
            "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
            "f:spec": {
                "f:replicas": {},
                "f:selector": {},
                "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}, "f:maxUnavailable": {}}, "f:type": {}},
                "f:template": {
                    "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
                    "f:spec": {
                        "f:containers": {"k:{\"name\":\"nginx\"}": {
                            ".": {},
                            "f:image": {},
                            "f:name": {},
                            "f:ports": {".": {}, "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {
                                ".": {}, "f:containerPort": {}, "f:protocol": {}}},
                            "f:resources": {},
                        }},
                        "f:dnsPolicy": {},
                        "f:securityContext": {},
                    },
                },
            },
        })
    );
}

/// Where the published OpenAPI is: beside the repository, or where the environment says.
fn reference() -> Option<Value> {
    let dir = std::env::var("WINDLASS_REFERENCE").map_or_else(
        |_| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/reference"),
        std::path::PathBuf::from,
    );
    let text = std::fs::read(dir.join("kubernetes-v1.36/swagger.json")).ok()?;
    serde_json::from_slice(&text).ok()
}

#[test]
fn the_table_is_what_is_published() {
    let Some(swagger) = reference() else {
        println!("skipped the_table_is_what_is_published: no published OpenAPI (set WINDLASS_REFERENCE)");
        return;
    };
    let definitions = swagger["definitions"].as_object().unwrap();
    let mut compared = 0;
    for (name, definition) in definitions {
        let Some(properties) = definition["properties"].as_object() else { continue };
        let id = by_name(name).unwrap_or_else(|| panic!("{name} is not in the table"));
        let required = definition["required"].as_array().cloned().unwrap_or_default();
        let ours: Vec<&str> = id.fields().iter().map(|f| f.name).collect();
        let mut theirs: Vec<&str> = properties.keys().map(String::as_str).collect();
        theirs.sort_unstable();
        assert_eq!(ours, theirs, "{name}");
        for field in id.fields() {
            let published = &properties[field.name];
            let at = format!("{name}.{}", field.name);
            assert_eq!(field.required, required.contains(&json!(field.name)), "{at}");
            let strategy = published["x-kubernetes-patch-strategy"].as_str().unwrap_or_default();
            assert_eq!(field.merge, strategy.split(',').any(|s| s == "merge"), "{at}");
            assert_eq!(field.retain_keys, strategy.contains("retainKeys"), "{at}");
            assert_eq!(field.replace, strategy.contains("replace"), "{at}");
            assert_eq!(field.merge_key, published["x-kubernetes-patch-merge-key"].as_str(), "{at}");
            check_type(field.node, published, &at);
            compared += 1;
        }
    }
    assert!(compared > 3000, "{compared}");
}

#[test]
fn types_are_described() {
    let all = Descriptions::default();
    let spec = all.of("io.k8s.api.core.v1.PodSpec").expect("descriptions were built in");
    assert!(spec.text.starts_with("PodSpec is"), "{}", spec.text);
    assert!(spec.field("containers").is_some_and(|text| text.starts_with("List of containers")));
    // A type with quotes, line breaks and tabs in its text.
    let quantity = all.of("io.k8s.apimachinery.pkg.api.resource.Quantity").unwrap();
    assert!(quantity.text.contains("\"canonical form\"") && quantity.text.contains("\n\n\t(Note"));
    assert!(spec.field("nope").is_none() && all.of("io.k8s.api.core.v1.Nope").is_none());
    let described = types().filter_map(|id| Some((id, all.of(&id.full_name())?)));
    let fields = described.flat_map(|(id, d)| id.fields().iter().filter_map(move |f| d.field(f.name)));
    assert!(fields.count() > 2_400);
}

/// The words are those of the release that is described elsewhere.
#[test]
fn descriptions_are_the_published_ones() {
    let Some(swagger) = reference() else {
        println!(
            "skipped descriptions_are_the_published_ones: no published OpenAPI (set WINDLASS_REFERENCE)"
        );
        return;
    };
    let all = Descriptions::default();
    let mut different = Vec::new();
    for (name, definition) in swagger["definitions"].as_object().unwrap() {
        let Some(ours) = all.of(name) else {
            assert!(name.ends_with("List"), "{name}");
            continue;
        };
        if definition["description"].as_str().unwrap_or_default() != ours.text {
            different.push(name.clone());
        }
        for (field, published) in definition["properties"].as_object().into_iter().flatten() {
            if published["description"].as_str() != ours.field(field) {
                different.push(format!("{name}.{field}"));
            }
        }
    }
    let event = "io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent";
    assert_eq!(different, [event.to_owned(), format!("{event}.object")]);
}

fn check_type(node: Node, published: &Value, at: &str) {
    match node.ty() {
        Type::Struct { id, .. } => {
            assert_eq!(published["$ref"], format!("#/definitions/{}", id.full_name()), "{at}");
        }
        Type::List { element, kind } => {
            let list_type = match kind {
                ListType::Unset => Value::Null,
                ListType::Atomic => json!("atomic"),
                ListType::Set => json!("set"),
                ListType::Keys(keys) => {
                    assert_eq!(published["x-kubernetes-list-map-keys"], json!(keys), "{at}");
                    json!("map")
                }
            };
            assert_eq!(published["x-kubernetes-list-type"], list_type, "{at}");
            check_type(*element, &published["items"], at);
        }
        Type::Map { element, kind } => {
            let map_type = kind.map(|kind| if kind == MapType::Atomic { "atomic" } else { "granular" });
            assert_eq!(published["x-kubernetes-map-type"].as_str(), map_type, "{at}");
            check_type(*element, &published["additionalProperties"], at);
        }
        Type::Primitive(primitive) => {
            let expected = match primitive {
                Primitive::String => json!({"type": "string"}),
                Primitive::Int32 => json!({"type": "integer", "format": "int32"}),
                Primitive::Int64 => json!({"type": "integer", "format": "int64"}),
                Primitive::Bool => json!({"type": "boolean"}),
                Primitive::Double => json!({"type": "number", "format": "double"}),
                Primitive::Bytes => json!({"type": "string", "format": "byte"}),
                _ => return assert!(published["$ref"].is_string(), "{at}"),
            };
            for key in ["type", "format"] {
                assert_eq!(published.get(key), expected.get(key), "{at}");
            }
        }
    }
}
