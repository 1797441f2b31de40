//! OpenAPI v3 in protobuf (`openapi.v3.Document`).

use super::proto::Kind::{Anys, Bool, Double, Int, Many, Map, One, Text, Texts};
use super::proto::{Layout, Message, fill, map, wrapped};
use serde_json::{Value, json};

const SCHEMA: Layout = Layout {
    fields: &[
        ("nullable", 1, Bool),
        ("readOnly", 3, Bool),
        ("writeOnly", 4, Bool),
        ("deprecated", 8, Bool),
        ("title", 9, Text),
        ("multipleOf", 10, Double),
        ("maximum", 11, Double),
        ("exclusiveMaximum", 12, Bool),
        ("minimum", 13, Double),
        ("exclusiveMinimum", 14, Bool),
        ("maxLength", 15, Int),
        ("minLength", 16, Int),
        ("pattern", 17, Text),
        ("maxItems", 18, Int),
        ("minItems", 19, Int),
        ("uniqueItems", 20, Bool),
        ("maxProperties", 21, Int),
        ("minProperties", 22, Int),
        ("required", 23, Texts),
        ("enum", 24, Anys),
        ("type", 25, Text),
        ("allOf", 26, Many(schema)),
        ("oneOf", 27, Many(schema)),
        ("anyOf", 28, Many(schema)),
        ("not", 29, One(plain)),
        ("items", 30, One(items)),
        ("properties", 31, Map(schema)),
        ("additionalProperties", 32, One(additional)),
        ("default", 33, One(default)),
        ("description", 34, Text),
        ("format", 35, Text),
    ],
    extensions: 36,
};

const OPERATION: Layout = Layout {
    fields: &[
        ("tags", 1, Texts),
        ("description", 3, Text),
        ("operationId", 5, Text),
        ("parameters", 6, Many(parameter)),
        ("requestBody", 7, One(request_body)),
        ("responses", 8, One(responses)),
    ],
    extensions: 13,
};

const PATH_ITEM: Layout = Layout {
    fields: &[
        ("get", 4, One(operation)),
        ("put", 5, One(operation)),
        ("post", 6, One(operation)),
        ("delete", 7, One(operation)),
        ("options", 8, One(operation)),
        ("head", 9, One(operation)),
        ("patch", 10, One(operation)),
        ("parameters", 13, Many(parameter)),
    ],
    extensions: 14,
};

const PARAMETER: Layout = Layout {
    fields: &[
        ("name", 1, Text),
        ("in", 2, Text),
        ("description", 3, Text),
        ("required", 4, Bool),
        ("schema", 10, One(schema)),
    ],
    extensions: 14,
};

const REQUEST_BODY: Layout = Layout {
    fields: &[("description", 1, Text), ("content", 2, Map(media_type)), ("required", 3, Bool)],
    extensions: 4,
};

const RESPONSE: Layout =
    Layout { fields: &[("description", 1, Text), ("content", 3, Map(media_type))], extensions: 5 };

const MEDIA_TYPE: Layout = Layout { fields: &[("schema", 1, One(schema))], extensions: 5 };

const SECURITY_SCHEME: Layout = Layout {
    fields: &[("type", 1, Text), ("description", 2, Text), ("name", 3, Text), ("in", 4, Text)],
    extensions: 9,
};

const COMPONENTS: Layout = Layout {
    fields: &[("schemas", 1, Map(schema)), ("securitySchemes", 7, Map(security_scheme))],
    extensions: 10,
};

const DOCUMENT: Layout = Layout {
    fields: &[
        ("openapi", 1, Text),
        ("info", 2, One(info)),
        ("paths", 4, One(paths)),
        ("components", 5, One(components)),
    ],
    extensions: 9,
};

/// A schema, or a reference to one.
fn schema(value: &Value) -> Message {
    match value.get("$ref") {
        Some(target) => {
            let mut reference = Message::default();
            reference.text(1, target);
            wrapped(2, &reference)
        }
        None => wrapped(1, &plain(value)),
    }
}

fn plain(value: &Value) -> Message {
    fill(&SCHEMA, value)
}

fn items(value: &Value) -> Message {
    wrapped(1, &schema(value))
}

fn additional(value: &Value) -> Message {
    if value.is_object() {
        return wrapped(1, &schema(value));
    }
    fill(&Layout { fields: &[("flag", 2, Bool)], extensions: 0 }, &json!({ "flag": value }))
}

/// A number, boolean or text; the format has no word for other defaults.
fn default(value: &Value) -> Message {
    const LAYOUT: Layout =
        Layout { fields: &[("number", 1, Double), ("boolean", 2, Bool), ("string", 3, Text)], extensions: 0 };
    let key = match value {
        Value::String(_) => "string",
        Value::Bool(_) => "boolean",
        _ => "number",
    };
    fill(&LAYOUT, &json!({ key: value }))
}

fn operation(value: &Value) -> Message {
    fill(&OPERATION, value)
}

fn parameter(value: &Value) -> Message {
    wrapped(1, &fill(&PARAMETER, value))
}

fn request_body(value: &Value) -> Message {
    wrapped(1, &fill(&REQUEST_BODY, value))
}

fn response(value: &Value) -> Message {
    wrapped(1, &fill(&RESPONSE, value))
}

fn responses(value: &Value) -> Message {
    map(2, value, response)
}

fn media_type(value: &Value) -> Message {
    fill(&MEDIA_TYPE, value)
}

fn security_scheme(value: &Value) -> Message {
    wrapped(1, &fill(&SECURITY_SCHEME, value))
}

fn info(value: &Value) -> Message {
    fill(&Layout { fields: &[("title", 1, Text), ("version", 6, Text)], extensions: 7 }, value)
}

fn path_item(value: &Value) -> Message {
    fill(&PATH_ITEM, value)
}

fn paths(value: &Value) -> Message {
    map(1, value, path_item)
}

fn components(value: &Value) -> Message {
    fill(&COMPONENTS, value)
}

/// A document in protobuf.
pub(super) fn encode(document: &Value) -> Vec<u8> {
    fill(&DOCUMENT, document).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_document() {
        let document = json!({"openapi": "3.0.0", "components": {"schemas": {"A": {"properties": {
            "b": {"allOf": [{"$ref": "#/B"}], "default": "x"}}}}}});
        let b = [&[0xd2, 1, 7, 0x12, 5, 0x0a, 3][..], b"#/B", &[0x8a, 2, 3, 0x1a, 1], b"x"].concat();
        let wrap = |tag: &[u8], inner: &[u8]| [tag, &[u8::try_from(inner.len()).unwrap()], inner].concat();
        let named = |name: &[u8], inner: &[u8]| {
            let schema = wrap(&[0x12], &wrap(&[0x0a], inner));
            wrap(&[0x0a], &[&[0x0a, u8::try_from(name.len()).unwrap()][..], name, &schema].concat())
        };
        let a = wrap(&[0xfa, 1], &named(b"b", &b));
        let components = wrap(&[0x2a], &wrap(&[0x0a], &named(b"A", &a)));
        assert_eq!(encode(&document), [&[0x0a, 5][..], b"3.0.0", &components].concat());
    }
}
