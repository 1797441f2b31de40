//! Strict field validation (`fieldValidation=Strict|Warn`, KEP-2885): which fields of a document no type has.

use super::{Primitive, Type, TypeId, lookup};
use machinery::GroupVersionKind;
use machinery::codec::json::STRICT_MAX;
use serde_json::{Map, Value};

/// The fields of `object` that its kind does not have, in upstream's words (`unknown field "spec.foo"`), in
/// document order, at most as many as upstream collects. Kinds that are not built in have none.
pub fn unknown_fields(gvk: &GroupVersionKind, object: &Value) -> Vec<String> {
    let mut walk = Walk { path: Vec::new(), found: Vec::new() };
    if let (Some(id), Value::Object(map)) = (lookup(gvk), object) {
        walk.fields(id, map);
    }
    walk.found
}

/// The message of the 400 for an object that strict validation refuses.
pub fn strict_message(gvk: &GroupVersionKind, errors: &[String]) -> String {
    let GroupVersionKind { version, kind, .. } = gvk;
    format!(
        "{kind} in version {version:?} cannot be handled as a {kind}: strict decoding error: {}",
        errors.join(", ")
    )
}

enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

struct Walk<'a> {
    path: Vec<Step<'a>>,
    found: Vec<String>,
}

impl<'a> Walk<'a> {
    fn fields(&mut self, id: TypeId, map: &'a Map<String, Value>) {
        for (key, value) in map {
            self.path.push(Step::Key(key));
            match id.field(key) {
                Some(field) => self.value(field.node.ty(), value),
                None if self.found.len() < STRICT_MAX => {
                    let text = format!("unknown field {:?}", self.print());
                    self.found.push(text);
                }
                None => {}
            }
            self.path.pop();
        }
    }

    fn value(&mut self, ty: &Type, value: &'a Value) {
        match (ty, value) {
            (Type::Struct { id, .. }, Value::Object(map)) => self.fields(*id, map),
            (Type::List { element, .. }, Value::Array(items)) => {
                for (index, item) in items.iter().enumerate() {
                    self.path.push(Step::Index(index));
                    self.value(element.ty(), item);
                    self.path.pop();
                }
            }
            (Type::Map { element, .. }, Value::Object(map)) => {
                if matches!(element.ty(), Type::Primitive(p) if *p != Primitive::Raw) {
                    return;
                }
                for (key, item) in map {
                    self.path.push(Step::Key(key));
                    self.value(element.ty(), item);
                    self.path.pop();
                }
            }
            _ => {}
        }
    }

    fn print(&self) -> String {
        let mut text = String::new();
        for step in &self.path {
            match step {
                Step::Key(key) => {
                    if !text.is_empty() {
                        text.push('.');
                    }
                    text.push_str(key);
                }
                Step::Index(index) => text.push_str(&format!("[{index}]")),
            }
        }
        text
    }
}
