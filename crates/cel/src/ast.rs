//! The tree of an expression: nodes in one vector, children by number.
//!
//! Macros are nodes of their own ([`Expr::Fold`], [`Expr::Bind`], [`Expr::OptMap`]) instead of being rewritten into
//! comprehensions: their cost is counted as if they were (see `cost`).

/// Number of a node.
pub(crate) type Id = u32;

/// A constant.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(std::sync::Arc<str>),
    Bytes(std::sync::Arc<[u8]>),
}

/// What a macro over a range makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FoldKind {
    All,
    Exists,
    ExistsOne,
    /// `map` with one and `transformList` with two variables; with or without a filter.
    Map,
    Filter,
    /// `transformMap`.
    TransformMap,
    /// `transformMapEntry`.
    TransformEntry,
    SortBy,
}

/// A macro over a range.
#[derive(Clone, Debug)]
pub(crate) struct Fold {
    pub(crate) kind: FoldKind,
    pub(crate) range: Id,
    /// The variables: the item (or key), or index/key and value.
    pub(crate) first: Box<str>,
    pub(crate) second: Option<Box<str>>,
    /// Predicate of `map` and the transforms, when they have one.
    pub(crate) filter: Option<Id>,
    /// Predicate or transformation.
    pub(crate) step: Id,
}

/// One node.
#[derive(Clone, Debug)]
pub(crate) enum Expr {
    Literal(Literal),
    Ident(Box<str>),
    /// A variable of a macro, by its place among those in scope.
    Local(u32),
    /// A declared variable, by its place in [`crate::Program`]'s list.
    Global(u16),
    /// The name of a type as a value.
    TypeName(Box<str>),
    /// `operand.field`, `operand.?field`, and `has(operand.field)`.
    Select {
        operand: Id,
        field: Box<str>,
        test: bool,
        optional: bool,
    },
    /// `operand[index]`, `operand[?index]`.
    Index {
        operand: Id,
        index: Id,
        optional: bool,
    },
    /// A function, or a method when it has a target. Operators are functions with names like `_+_`.
    Call {
        function: Box<str>,
        target: Option<Id>,
        args: Vec<Id>,
    },
    /// The same, once its function is known.
    Invoke {
        function: u16,
        /// Target first.
        args: Vec<Id>,
    },
    And(Vec<Id>),
    Or(Vec<Id>),
    Ternary(Id, Id, Id),
    /// Items, and whether each is optional (`[?x]`).
    List(Vec<(Id, bool)>),
    Map(Vec<(Id, Id, bool)>),
    Struct {
        name: Box<str>,
        fields: Vec<(Box<str>, Id, bool)>,
    },
    Fold(Box<Fold>),
    /// `cel.bind(name, init, body)`.
    Bind {
        name: Box<str>,
        init: Id,
        body: Id,
    },
    /// `target.optMap(name, body)`, `target.optFlatMap(name, body)`.
    OptMap {
        name: Box<str>,
        target: Id,
        body: Id,
        flat: bool,
    },
}

/// A node and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) expr: Expr,
    /// Byte offset in the text.
    pub(crate) at: u32,
    /// Levels below it, itself included.
    pub(crate) depth: u16,
}

/// A parsed expression.
#[derive(Clone, Debug)]
pub(crate) struct Ast {
    pub(crate) nodes: Vec<Node>,
    pub(crate) root: Id,
}

impl Ast {
    pub(crate) fn node(&self, id: Id) -> &Node {
        &self.nodes[id as usize]
    }

    pub(crate) fn expr(&self, id: Id) -> &Expr {
        &self.nodes[id as usize].expr
    }
}
