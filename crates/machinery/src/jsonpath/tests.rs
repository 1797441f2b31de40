use super::*;
use serde_json::json;

fn pods() -> Value {
    json!({"kind": "List", "items": [
        {"metadata": {"name": "a", "labels": {"x.y/z": "1"}}, "status": {"capacity": {"cpu": "4"}, "n": 1}},
        {"metadata": {"name": "b"}, "status": {"capacity": {"cpu": "8"}, "n": 2}},
    ], "data": {"ca.crt": "PEM"}})
}

#[test]
fn the_documented_dialect() {
    let rows = [
        ("{.kind}", "List"),
        ("{$.kind}", "List"),
        ("{@.kind}", "List"),
        ("{kind}", "List"),
        ("kind is {.kind}!", "kind is List!"),
        ("{['kind']}", "List"),
        ("{.items[*].metadata.name}", "a b"),
        ("{.items[0].metadata.name}", "a"),
        ("{.items[-1].metadata.name}", "b"),
        ("{.items[-1:].metadata.name}", "b"),
        ("{.items[0:1].metadata.name}", "a"),
        ("{..name}", "a b"),
        ("{.items[*]['metadata.name', 'status.capacity']}", ""),
        ("{.items[*].status['n','x']}", "1 2"),
        ("{.items[?(@.metadata.name==\"b\")].status.capacity.cpu}", "8"),
        ("{.items[?(@.status.n > 1)].metadata.name}", "b"),
        ("{.items[?(@.metadata.labels)].metadata.name}", "a"),
        ("{range .items[*]}{.metadata.name}{\"\\t\"}{.status.capacity.cpu}{\"\\n\"}{end}", "a\t4\nb\t8\n"),
        ("{.data.ca\\.crt}", "PEM"),
        ("{.data['ca\\.crt']}", "PEM"),
        ("{.items[0].metadata.labels.x\\.y/z}", "1"),
        ("{.items[0].status.capacity}", "{\"cpu\":\"4\"}"),
        ("{.missing.field}", ""),
        ("{.items[0].status.n}", "1"),
    ];
    for (template, expected) in rows {
        let parsed = JsonPath::parse(template).unwrap_or_else(|error| panic!("{template}: {error}"));
        assert_eq!(parsed.render(&pods()).unwrap(), expected, "{template}");
    }
}

#[test]
fn relaxed_paths() {
    for path in [".kind", "kind", "{.kind}", "{kind}"] {
        let parsed = JsonPath::parse_relaxed(path).unwrap();
        assert_eq!(parsed.find(&pods()).unwrap(), [&json!("List")], "{path}");
    }
    assert!(JsonPath::parse_relaxed("{.a}{.b}").is_err());
}

#[test]
fn refuses_what_makes_no_sense() {
    for template in [
        "{",
        "{.a",
        "{range .a}",
        "{end}",
        "{.a[}",
        "{.a[x]}",
        "{.a[?(@.b==)]}",
        "{\"a}",
        "{}x{",
        "{.a[?(@.b",
    ] {
        assert!(JsonPath::parse(template).is_err(), "{template}");
    }
    let far = JsonPath::parse("{.items[7]}").unwrap();
    assert_eq!(far.render(&pods()).unwrap_err().to_string(), "array index out of bounds: index 7, length 2");
}
