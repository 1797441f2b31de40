//! Objects grown from the schema table: to a valid object every field is added that validation allows, with values
//! that differ by seed. What the field's name does not tell, the validation's own answers do ("supported values: …").

use api::schema::{self, FieldInfo, Primitive, Type, TypeId};
use api::{ResourceDef, meta};
use k8s_openapi::jiff::Timestamp;
use machinery::FieldErrors;
use machinery::field::FieldErrorType;
use serde_json::{Map, Value, json};

/// Validations for one object, so that no kind takes for ever.
const BUDGET: usize = 600;
const DEPTH: usize = 9;
/// Fields that tie the object to something that must exist, or that other rules of the server decide.
const LEFT_OUT: &[&str] = &[
    "apiVersion",
    "kind",
    "metadata",
    "status",
    "nodeName",
    "priority",
    "clusterIP",
    "clusterIPs",
    "ipFamilies",
    "ipFamilyPolicy",
    "nodePort",
    "healthCheckNodePort",
    "loadBalancerIP",
    "storageClassName",
    "backend",
    "overhead",
    "ephemeralContainers",
    "resourceClaims",
    "volumeAttributesClassName",
    "schedulingGroup",
    "x-kubernetes-validations",
];
/// Pod specs are grown in Pod itself; elsewhere they stay small.
const LEFT_SMALL: &[&str] = &["PodTemplateSpec"];

struct Filler<'a> {
    def: &'a ResourceDef,
    object: Value,
    seed: usize,
    left: usize,
}

enum Verdict {
    Fits,
    /// Values that were named as allowed.
    Try(Vec<String>),
}

/// The object grown from `minimal`.
pub(crate) fn object(def: &ResourceDef, minimal: &Value, seed: usize) -> Value {
    let Some(ty) = schema::lookup(&def.gvk) else { return minimal.clone() };
    let mut filler = Filler { def, object: minimal.clone(), seed, left: BUDGET };
    filler.grow("", ty, DEPTH);
    filler.object
}

/// The path of something in `sent` that `stored` does not have; amounts may be written differently.
pub(crate) fn lost(sent: &Value, stored: &Value, path: &str) -> Option<String> {
    match (sent, stored) {
        (Value::Object(sent), Value::Object(stored)) => {
            sent.iter().find_map(|(key, value)| match stored.get(key) {
                Some(found) => lost(value, found, &format!("{path}/{key}")),
                None => (!is_nothing(value)).then(|| format!("{path}/{key}")),
            })
        }
        (Value::Array(sent), Value::Array(stored)) => {
            if sent.len() > stored.len() {
                return Some(path.to_owned());
            }
            sent.iter().zip(stored).enumerate().find_map(|(at, (a, b))| lost(a, b, &format!("{path}/{at}")))
        }
        (Value::Object(_) | Value::Array(_), _) | (_, Value::Object(_) | Value::Array(_)) => {
            Some(path.to_owned())
        }
        _ => None,
    }
}

/// What may be left out: nothing, false, and what holds only that.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.values().all(is_nothing),
    }
}

impl Filler<'_> {
    fn grow(&mut self, path: &str, ty: TypeId, depth: usize) {
        if depth == 0 || LEFT_SMALL.contains(&ty.name()) {
            return;
        }
        // From both ends, so that a small budget reaches all fields of large kinds.
        let mut fields: Vec<&FieldInfo> = ty.fields().iter().collect();
        if self.seed % 2 == 1 {
            fields.reverse();
        }
        for field in fields {
            if LEFT_OUT.contains(&field.name) {
                continue;
            }
            let at = format!("{path}/{}", field.name);
            if self.object.pointer(&at).is_none() && !self.add(path, field) {
                continue;
            }
            self.descend(&at, field, depth);
        }
    }

    fn descend(&mut self, at: &str, field: &FieldInfo, depth: usize) {
        match field.node.ty() {
            Type::Struct { id, .. } => self.grow(at, *id, depth - 1),
            Type::List { element, .. } => {
                if let Type::Struct { id, .. } = element.ty()
                    && self.object.pointer(&format!("{at}/0")).is_some()
                {
                    self.grow(&format!("{at}/0"), *id, depth - 1);
                }
            }
            _ => {}
        }
    }

    /// Adds a field, with the first value that fits.
    fn add(&mut self, parent: &str, field: &FieldInfo) -> bool {
        let mut waiting = candidates(field, self.seed, 3);
        let mut told = false;
        while let Some(value) = waiting.pop() {
            match self.try_value(parent, field.name, value) {
                Verdict::Fits => return true,
                Verdict::Try(values) if !told && !values.is_empty() => {
                    told = true;
                    let shift = self.seed % values.len();
                    let wrap = |text: String| match field.node.ty() {
                        Type::List { .. } => json!([text]),
                        _ => json!(text),
                    };
                    waiting.extend(values.iter().cycle().skip(shift).take(values.len()).cloned().map(wrap));
                }
                Verdict::Try(_) => {}
            }
        }
        false
    }

    fn try_value(&mut self, parent: &str, name: &str, value: Value) -> Verdict {
        let Some(left) = self.left.checked_sub(1) else { return Verdict::Try(Vec::new()) };
        self.left = left;
        let Some(Value::Object(map)) = self.object.pointer_mut(parent) else {
            return Verdict::Try(Vec::new());
        };
        map.insert(name.to_owned(), value.clone());
        let verdict = self.check(&format!("{parent}/{name}"), &value);
        if !matches!(verdict, Verdict::Fits)
            && let Some(Value::Object(map)) = self.object.pointer_mut(parent)
        {
            map.remove(name);
        }
        verdict
    }

    /// Whether the object is valid, and the value at `path` stays.
    fn check(&self, path: &str, value: &Value) -> Verdict {
        let strategy = &self.def.strategy;
        let Ok(mut object) = strategy.decode(self.object.to_string().as_bytes()) else {
            return Verdict::Try(Vec::new());
        };
        if self.def.namespaced {
            object.meta_mut().namespace = Some("default".to_owned());
        }
        meta::prepare_create(object.meta_mut(), Timestamp::UNIX_EPOCH, "0-0".to_owned());
        strategy.set_defaults(object.as_mut());
        strategy.prepare_create(object.as_mut());
        let errors: FieldErrors = strategy.validate_create(object.as_ref());
        if errors.is_empty() {
            let stored: Value = serde_json::from_slice(&object.to_json()).unwrap_or_default();
            let kept = stored.pointer(path).is_some_and(|found| lost(value, found, "").is_none());
            return if kept || is_nothing(value) { Verdict::Fits } else { Verdict::Try(Vec::new()) };
        }
        let named = errors.0.iter().filter(|error| error.kind == FieldErrorType::NotSupported);
        let values = named.flat_map(|error| error.detail.split('"').skip(1).step_by(2).map(str::to_owned));
        Verdict::Try(values.filter(|value| !value.is_empty()).collect())
    }
}

/// Values for a field; the last is tried first.
fn candidates(field: &FieldInfo, seed: usize, depth: usize) -> Vec<Value> {
    of_type(field.node.ty(), field.name, seed, depth)
}

fn of_type(ty: &Type, name: &str, seed: usize, depth: usize) -> Vec<Value> {
    match ty {
        Type::Primitive(primitive) => primitives(*primitive, name, seed),
        Type::Struct { id, .. } => structs(*id, seed, depth),
        Type::List { element, .. } => {
            let singular = name.strip_suffix('s').unwrap_or(name);
            let mut all = vec![json!([])];
            all.extend(of_type(element.ty(), singular, seed, depth).into_iter().map(|value| json!([value])));
            all
        }
        Type::Map { element, .. } => {
            let keys = ["example.com/k", "cpu", "storage", "k"];
            let values = of_type(element.ty(), "value", seed, depth);
            keys.iter().flat_map(|key| values.iter().map(move |value| json!({*key: value}))).collect()
        }
    }
}

/// What is required, alone and with each of the other fields: one of several is often asked for.
fn structs(id: TypeId, seed: usize, depth: usize) -> Vec<Value> {
    if depth == 0 {
        return Vec::new();
    }
    let mut base = Map::new();
    for field in id.fields().iter().filter(|field| field.required) {
        if let Some(value) = simplest(field, seed, depth - 1) {
            base.insert(field.name.to_owned(), value);
        }
    }
    let mut all = Vec::new();
    for field in id.fields().iter().filter(|field| !field.required) {
        if let Some(value) = simplest(field, seed, depth - 1) {
            let mut one = base.clone();
            one.insert(field.name.to_owned(), value);
            all.push(Value::Object(one));
        }
    }
    all.push(Value::Object(base));
    all
}

/// The likeliest value of a field; of structs, what they require.
fn simplest(field: &FieldInfo, seed: usize, depth: usize) -> Option<Value> {
    let of = |id: TypeId| {
        let depth = depth.checked_sub(1)?;
        let required = id.fields().iter().filter(|field| field.required);
        let fields =
            required.filter_map(|field| Some((field.name.to_owned(), simplest(field, seed, depth)?)));
        Some(Value::Object(fields.collect()))
    };
    match field.node.ty() {
        Type::Struct { id, .. } => of(*id),
        Type::List { element, .. } => match element.ty() {
            Type::Struct { id, .. } => of(*id).map(|value| json!([value])),
            _ => candidates(field, seed, 0).pop(),
        },
        _ => candidates(field, seed, 0).pop(),
    }
}

fn primitives(primitive: Primitive, name: &str, seed: usize) -> Vec<Value> {
    let texts = |all: &[&str]| all.iter().map(|text| json!(text)).collect::<Vec<Value>>();
    match primitive {
        Primitive::String => {
            let lower = name.to_lowercase();
            let mut all =
                texts(&["10.9.8.0/24", "10.9.8.7", "https://example.com", "IPv4", "TCP", "Always", "v1"]);
            all.extend(texts(&["example.com/a", "a.example.com", "A", "a"]));
            if lower.contains("path") {
                all.extend(texts(&["/a", "a"]));
            }
            let len = all.len();
            if seed % 2 == 1 && len > 1 {
                all.swap(len - 1, len - 2);
            }
            // What the server compiles, and what it has a list for.
            match name {
                "expression" => all.push(json!("true")),
                "messageExpression" | "valueExpression" => all.push(json!("'a'")),
                "reason" => all.push(json!("Forbidden")),
                _ => {}
            }
            all
        }
        Primitive::Int32 | Primitive::Int64 => vec![json!(0), json!(600), json!(80 + seed), json!(1 + seed)],
        Primitive::Bool => vec![json!(false), json!(true)],
        Primitive::Double => vec![json!(1.5)],
        Primitive::Bytes => vec![json!("YQ==")],
        Primitive::Quantity => vec![json!(format!("{}Gi", 1 + seed))],
        Primitive::IntOrString => vec![json!("10%"), json!("http"), json!(1 + seed)],
        Primitive::Time => vec![json!("2026-01-02T03:04:05Z")],
        Primitive::MicroTime => vec![json!("2026-01-02T03:04:05.000006Z")],
        Primitive::Raw => vec![json!({"apiVersion": "example.com/v1", "kind": "A"})],
        Primitive::Fields => Vec::new(),
        Primitive::Json => vec![json!({"a": [1, "b"]}), json!("a")],
        Primitive::SchemaOrArray | Primitive::SchemaOrBool => Vec::new(),
        Primitive::SchemaOrStrings => Vec::new(),
    }
}

/// Values to try for a field, the likeliest first.
pub(crate) fn values(field: &FieldInfo) -> Vec<Value> {
    let mut all = candidates(field, 0, 3);
    all.reverse();
    all
}
