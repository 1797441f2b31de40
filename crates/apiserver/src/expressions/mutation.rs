//! Types that mutations construct: `Object{…}`, whose nested objects are named by their paths (`Object.spec`), and
//! `JSONPatch{…}` ("Mutating Admission Policy").

use cel::types::Field;
use cel::{FieldTable, Fields, Type, TypeLookup};
use std::sync::{Arc, LazyLock};

/// An object of any fields, known by its name only.
#[derive(Debug)]
struct Open(String);

impl Fields for Open {
    fn name(&self) -> &str {
        &self.0
    }

    fn field(&self, _: &str) -> Option<&Field> {
        None
    }

    fn open(&self) -> bool {
        true
    }
}

static PATCH: LazyLock<Type> = LazyLock::new(|| {
    let text = |name: &str| (name.to_owned(), Type::STRING);
    FieldTable::object("JSONPatch", [text("op"), text("path"), text("from"), ("value".to_owned(), Type::Dyn)])
});

/// Finds the types by name.
pub(crate) fn mutation_types() -> TypeLookup {
    Arc::new(|name| match name {
        "JSONPatch" => Some(PATCH.clone()),
        "Object" => Some(Type::Object(Arc::new(Open(name.to_owned())))),
        other if other.starts_with("Object.") => Some(Type::Object(Arc::new(Open(other.to_owned())))),
        _ => None,
    })
}
