//! Generators and a schema shared by this crate's tests.

use crate::schema::{Field, ListKey, ListKind, PatchStrategy, Schema, Shape};
use proptest::prelude::*;
use serde_json::{Map, Value};
use std::sync::LazyLock;

/// A small tree with no nulls and few keys, so that trees overlap.
pub(crate) fn json_tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        (-3i64..4).prop_map(Value::from),
        "[a-c]{0,2}".prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            1 => proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            3 => proptest::collection::btree_map("[a-e]", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// A schema with one field of each sort, in the manner of pods.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pods;

/// Types of [`Pods`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pod {
    Root,
    Containers,
    Container,
    Ports,
    Port,
    Strings { set: bool },
    Strategy,
    Selector,
    Labels,
    Meta,
    Ref,
    Scalar,
    Any,
}

impl Pods {
    pub(crate) const ROOT: Pod = Pod::Root;
}

static TCP: LazyLock<Value> = LazyLock::new(|| Value::from("TCP"));

impl Schema for Pods {
    type Type = Pod;

    fn shape(&self, ty: Pod) -> Shape<'_, Pod> {
        let key = |name| ListKey { name, default: None };
        match ty {
            Pod::Root | Pod::Container | Pod::Port | Pod::Strategy | Pod::Meta => {
                Shape::Struct { atomic: false }
            }
            Pod::Ref => Shape::Struct { atomic: true },
            Pod::Containers => {
                Shape::List { element: Pod::Container, kind: ListKind::Map(vec![key("name")]) }
            }
            Pod::Ports => Shape::List {
                element: Pod::Port,
                kind: ListKind::Map(vec![
                    key("containerPort"),
                    ListKey { name: "protocol", default: Some(&TCP) },
                ]),
            },
            Pod::Strings { set: true } => Shape::List { element: Pod::Scalar, kind: ListKind::Set },
            Pod::Strings { set: false } => Shape::List { element: Pod::Scalar, kind: ListKind::Atomic },
            Pod::Selector => Shape::Map { element: Pod::Scalar, atomic: true },
            Pod::Labels => Shape::Map { element: Pod::Scalar, atomic: false },
            Pod::Scalar => Shape::Scalar,
            Pod::Any => Shape::Deduced,
        }
    }

    fn field(&self, ty: Pod, name: &str) -> Option<Field<'_, Pod>> {
        let plain = PatchStrategy::default();
        let merge = |key| PatchStrategy { merge: true, key, ..plain };
        let (ty, patch) = match (ty, name) {
            (Pod::Root, "containers") => (Pod::Containers, merge(Some("name"))),
            (Pod::Root, "finalizers") => (Pod::Strings { set: true }, merge(None)),
            (Pod::Root, "strategy") => (Pod::Strategy, PatchStrategy { retain_keys: true, ..plain }),
            (Pod::Root, "selector") => (Pod::Selector, plain),
            (Pod::Root, "ref") => (Pod::Ref, plain),
            (Pod::Root, "metadata") => (Pod::Meta, plain),
            (Pod::Root, "replicas" | "apiVersion" | "kind") => (Pod::Scalar, plain),
            (Pod::Root, "other") => (Pod::Any, plain),
            (Pod::Meta, "labels" | "annotations") => (Pod::Labels, plain),
            (Pod::Meta, "name" | "namespace" | "resourceVersion") => (Pod::Scalar, plain),
            (Pod::Container, "ports") => (Pod::Ports, merge(Some("containerPort"))),
            (Pod::Container, "args") => (Pod::Strings { set: false }, plain),
            (Pod::Container, "name" | "image") => (Pod::Scalar, plain),
            (Pod::Port, "containerPort" | "protocol" | "name" | "hostPort") => (Pod::Scalar, plain),
            (Pod::Strategy, "type" | "surge") | (Pod::Ref, _) => (Pod::Scalar, plain),
            _ => return None,
        };
        Some(Field { ty, patch, always: matches!(name, "containers" | "metadata" | "strategy") })
    }
}
