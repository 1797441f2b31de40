//! From the text of `tables/` to the table in memory. The text is part of the program: a mistake in it is a
//! bug that the tests of this module find, so lines that make no sense are skipped here.

use super::{FieldInfo, ListType, MapType, Node, Package, Primitive, Table, Type, TypeId, TypeInfo, Union};
use std::collections::HashMap;

/// The text files. Order does not matter.
pub(super) const FILES: &[&str] = &[
    include_str!("tables/admissionregistration.v1.tbl"),
    include_str!("tables/admissionregistration.v1alpha1.tbl"),
    include_str!("tables/admissionregistration.v1beta1.tbl"),
    include_str!("tables/apiextensions.v1.tbl"),
    include_str!("tables/apiregistration.v1.tbl"),
    include_str!("tables/apiserverinternal.v1alpha1.tbl"),
    include_str!("tables/apps.v1.tbl"),
    include_str!("tables/authentication.v1.tbl"),
    include_str!("tables/authorization.v1.tbl"),
    include_str!("tables/autoscaling.v1.tbl"),
    include_str!("tables/autoscaling.v2.tbl"),
    include_str!("tables/batch.v1.tbl"),
    include_str!("tables/certificates.v1.tbl"),
    include_str!("tables/certificates.v1alpha1.tbl"),
    include_str!("tables/certificates.v1beta1.tbl"),
    include_str!("tables/coordination.v1.tbl"),
    include_str!("tables/coordination.v1alpha2.tbl"),
    include_str!("tables/coordination.v1beta1.tbl"),
    include_str!("tables/core.v1.tbl"),
    include_str!("tables/discovery.v1.tbl"),
    include_str!("tables/events.v1.tbl"),
    include_str!("tables/flowcontrol.v1.tbl"),
    include_str!("tables/meta.tbl"),
    include_str!("tables/networking.v1.tbl"),
    include_str!("tables/networking.v1beta1.tbl"),
    include_str!("tables/node.v1.tbl"),
    include_str!("tables/policy.v1.tbl"),
    include_str!("tables/rbac.v1.tbl"),
    include_str!("tables/resource.v1.tbl"),
    include_str!("tables/resource.v1alpha3.tbl"),
    include_str!("tables/resource.v1beta1.tbl"),
    include_str!("tables/resource.v1beta2.tbl"),
    include_str!("tables/scheduling.v1.tbl"),
    include_str!("tables/scheduling.v1alpha2.tbl"),
    include_str!("tables/storage.v1.tbl"),
    include_str!("tables/storage.v1beta1.tbl"),
    include_str!("tables/storagemigration.v1beta1.tbl"),
    include_str!("tables/version.tbl"),
];

/// What the published schema does not tell.
pub(super) const POINTERS: &str = include_str!("tables/pointers.tbl");

pub(super) fn parse() -> Table {
    let mut parser = Parser { table: Table::default(), aliases: HashMap::new(), interned: HashMap::new() };
    for (index, file) in FILES.iter().enumerate() {
        parser.declare(u16::try_from(index).unwrap_or_default(), file);
    }
    // Types are numbered before fields refer to them.
    let mut next = 0;
    for (index, file) in FILES.iter().enumerate() {
        parser.define(u16::try_from(index).unwrap_or_default(), file, &mut next);
    }
    parser.pointers();
    parser.wire_order();
    parser.table
}

struct Parser {
    table: Table,
    /// Package by its short name.
    aliases: HashMap<&'static str, u16>,
    interned: HashMap<Type, Node>,
}

fn arguments<'a>(word: &'a str, name: &str) -> Option<&'a str> {
    word.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')')
}

impl Parser {
    fn declare(&mut self, package: u16, file: &'static str) {
        for line in file.lines() {
            let mut words = line.split(' ');
            if let Some(header) = line.strip_prefix("package ") {
                let mut words = header.split(' ');
                let (alias, full) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
                let mut value = |name: &str| words.next().and_then(|word| word.strip_prefix(name));
                let group = value("group=");
                let version = value("version=").unwrap_or_default();
                self.aliases.insert(alias, package);
                self.table.packages.push(Package { full, group, version });
            } else if let Some(name) = words.next().filter(|name| !name.is_empty()) {
                let id = TypeId(u16::try_from(self.table.types.len()).unwrap_or_default());
                let mut info = TypeInfo {
                    name,
                    package,
                    is_kind: false,
                    everywhere: false,
                    atomic: false,
                    first_field: 0,
                    end_field: 0,
                    wire_len: 0,
                    unions: Vec::new(),
                };
                for word in words {
                    match word {
                        "kind" => info.is_kind = true,
                        "everywhere" => (info.is_kind, info.everywhere) = (true, true),
                        "atomic" => info.atomic = true,
                        word => info.unions.extend(arguments(word, "union").map(union)),
                    }
                }
                let own = &self.table.packages[usize::from(package)];
                if let (true, Some(group)) = (info.is_kind, own.group) {
                    self.table.kinds.insert((group, own.version, name), id);
                }
                self.table.names.insert((package, name), id);
                self.table.types.push(info);
            }
        }
    }

    fn define(&mut self, package: u16, file: &'static str, next: &mut usize) {
        for line in file.lines().filter(|line| !line.starts_with("package ")) {
            let end = u32::try_from(self.table.fields.len()).unwrap_or_default();
            if let Some(field) = line.strip_prefix(' ') {
                if let Some(field) = self.field(package, field) {
                    self.table.fields.push(field);
                    self.table.types[*next - 1].end_field = end + 1;
                }
            } else if !line.is_empty() {
                self.table.types[*next].first_field = end;
                self.table.types[*next].end_field = end;
                *next += 1;
            }
        }
    }

    fn field(&mut self, package: u16, line: &'static str) -> Option<FieldInfo> {
        // The default is JSON and may contain spaces.
        let (line, default) = match line.split_once(" =") {
            Some((line, default)) => (line, serde_json::from_str(default).ok()),
            None => (line, None),
        };
        let mut words = line.split(' ');
        let name = words.next()?;
        let ty = words.next()?;
        let mut field = FieldInfo {
            name: name.trim_end_matches('!'),
            node: Node(0),
            required: name.ends_with('!'),
            proto: Box::default(),
            merge: false,
            retain_keys: false,
            replace: false,
            merge_key: None,
            values: Box::default(),
            bare: false,
            atomic: false,
            default,
            pointer: false,
            kept: false,
        };
        let mut list = ListType::Unset;
        let mut map = None;
        for word in words {
            match word {
                "atomic" => (list, map) = (ListType::Atomic, Some(MapType::Atomic)),
                "granular" => map = Some(MapType::Granular),
                "set" => list = ListType::Set,
                "merge" => field.merge = true,
                "retainKeys" => field.retain_keys = true,
                "replace" => field.replace = true,
                "bare" => field.bare = true,
                word if word.starts_with(|c: char| c.is_ascii_digit()) => {
                    field.proto = word.split('.').filter_map(|n| n.parse().ok()).collect();
                }
                word => {
                    if let Some(keys) = arguments(word, "keys") {
                        list = ListType::Keys(keys.split(',').collect());
                    } else if let Some(values) = arguments(word, "enum") {
                        field.values = values.split(',').collect();
                    } else if let Some(key) = arguments(word, "merge") {
                        (field.merge, field.merge_key) = (true, Some(key));
                    }
                }
            }
        }
        field.atomic = list == ListType::Atomic;
        field.node = self.node(package, ty, list, map)?;
        let is_struct = matches!(self.table.nodes[usize::from(field.node.0)], Type::Struct { .. });
        field.pointer = is_struct && field.default.is_none();
        Some(field)
    }

    /// The field of a line of `pointers.tbl`.
    fn named(&mut self, alias: &str, ty: &str, name: &str) -> Option<&mut FieldInfo> {
        let id = *self.table.names.get(&(*self.aliases.get(alias)?, ty))?;
        let info = &self.table.types[usize::from(id.0)];
        let fields = &mut self.table.fields[info.first_field as usize..info.end_field as usize];
        fields.iter_mut().find(|field| field.name == name)
    }

    fn pointers(&mut self) {
        let mut packages: Vec<&'static str> = Vec::new();
        for line in POINTERS.lines() {
            let mut words = line.split(' ');
            let Some(ty) = words.next() else { continue };
            if ty == "package" {
                packages = words.collect();
                continue;
            }
            for name in words {
                for package in &packages {
                    let (kept, name) = (name.starts_with('+'), name.trim_start_matches('+'));
                    if let Some(field) = self.named(package, ty, name) {
                        (field.kept, field.pointer) = (kept, !kept);
                    }
                }
            }
        }
    }

    fn wire_order(&mut self) {
        self.table.wire = vec![0; self.table.fields.len()];
        for info in &mut self.table.types {
            let fields = &self.table.fields[info.first_field as usize..info.end_field as usize];
            let mut order: Vec<u32> =
                (0_u32..).zip(fields).filter(|(_, f)| !f.proto.is_empty()).map(|(i, _)| i).collect();
            order.sort_by_key(|at| &fields[*at as usize].proto);
            info.wire_len = u32::try_from(order.len()).unwrap_or_default();
            let start = info.first_field as usize;
            self.table.wire[start..start + order.len()].copy_from_slice(&order);
        }
    }

    fn node(&mut self, package: u16, text: &str, list: ListType, map: Option<MapType>) -> Option<Node> {
        let ty = if let Some(inner) = text.strip_prefix('[') {
            let element = self.node(package, inner.strip_suffix(']')?, ListType::Unset, None)?;
            Type::List { element, kind: list }
        } else if let Some(inner) = text.strip_prefix('{') {
            let element = self.node(package, inner.strip_suffix('}')?, ListType::Unset, None)?;
            Type::Map { element, kind: map }
        } else if let Some(primitive) = primitive(text) {
            Type::Primitive(primitive)
        } else {
            let (package, name) = match text.split_once(':') {
                Some((alias, name)) => (*self.aliases.get(alias)?, name),
                None => (package, text),
            };
            let id = *self.table.names.get(&(package, name))?;
            let atomic = match map {
                Some(map) => map == MapType::Atomic,
                None => self.table.types[usize::from(id.0)].atomic,
            };
            Type::Struct { id, atomic, at_field: map }
        };
        if let Some(node) = self.interned.get(&ty) {
            return Some(*node);
        }
        let node = Node(u16::try_from(self.table.nodes.len()).ok()?);
        self.table.nodes.push(ty.clone());
        self.interned.insert(ty, node);
        Some(node)
    }
}

fn union(text: &'static str) -> Union {
    let (discriminator, fields) = text.split_once(':').unwrap_or(("", text));
    Union {
        discriminator: Some(discriminator).filter(|name| !name.is_empty()),
        fields: fields.split(',').filter_map(|pair| pair.split_once('=')).collect(),
    }
}

fn primitive(text: &str) -> Option<Primitive> {
    Some(match text {
        "string" => Primitive::String,
        "int32" => Primitive::Int32,
        "int64" => Primitive::Int64,
        "bool" => Primitive::Bool,
        "double" => Primitive::Double,
        "bytes" => Primitive::Bytes,
        "quantity" => Primitive::Quantity,
        "intstr" => Primitive::IntOrString,
        "time" => Primitive::Time,
        "microtime" => Primitive::MicroTime,
        "raw" => Primitive::Raw,
        "fields" => Primitive::Fields,
        "json" => Primitive::Json,
        "schemaOrArray" => Primitive::SchemaOrArray,
        "schemaOrBool" => Primitive::SchemaOrBool,
        "schemaOrStrings" => Primitive::SchemaOrStrings,
        _ => return None,
    })
}
