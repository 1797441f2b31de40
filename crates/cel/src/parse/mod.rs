//! From text to a tree (CEL specification, "Grammar"), macros included.
//!
//! Bounded: length of the text, levels of nesting, number of nodes. Deliberately absent: names and types, which the
//! checker looks at.

mod lex;
mod macros;

use crate::ast::{Ast, Expr, Id, Literal, Node};
use crate::error::{CompileError, Issue};
use lex::{Kind, Token};

/// Bytes of an expression.
const MAX_LENGTH: usize = 100_000;
/// Levels of nesting, of the text as of the tree.
const MAX_DEPTH: u16 = 200;
/// Nodes of a tree.
const MAX_NODES: usize = 100_000;

/// Words that are no identifiers.
const RESERVED: &[&str] = &[
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// Parses an expression.
pub(crate) fn parse(text: &str) -> Result<Ast, CompileError> {
    let fail = |issue| CompileError::new(text, vec![issue]);
    if text.len() > MAX_LENGTH {
        let message = format!(
            "expression code point size exceeds limit: size: {}, limit {MAX_LENGTH}",
            text.chars().count()
        );
        return Err(fail(Issue { at: 0, message }));
    }
    let tokens = lex::tokens(text).map_err(fail)?;
    let mut parser = Parser { tokens, at: 0, nodes: Vec::new(), depth: 0 };
    let root = parser.whole().map_err(fail)?;
    Ok(Ast { nodes: parser.nodes, root })
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    nodes: Vec<Node>,
    depth: u16,
}

type Parsed = Result<Id, Issue>;

/// How strongly a binary operator binds, and the name of its function.
fn binary(kind: &Kind) -> Option<(u8, &'static str)> {
    let found = match kind {
        Kind::Punct(punct) => match *punct {
            "||" => (1, "_||_"),
            "&&" => (2, "_&&_"),
            "==" => (3, "_==_"),
            "!=" => (3, "_!=_"),
            "<" => (3, "_<_"),
            "<=" => (3, "_<=_"),
            ">" => (3, "_>_"),
            ">=" => (3, "_>=_"),
            "+" => (4, "_+_"),
            "-" => (4, "_-_"),
            "*" => (5, "_*_"),
            "/" => (5, "_/_"),
            "%" => (5, "_%_"),
            _ => return None,
        },
        Kind::Ident(word) if word == "in" => (3, "@in"),
        _ => return None,
    };
    Some(found)
}

fn shown(kind: &Kind) -> String {
    match kind {
        Kind::End => "<EOF>".to_owned(),
        Kind::Punct(punct) => format!("'{punct}'"),
        Kind::Ident(name) => format!("'{name}'"),
        Kind::Int(n) => format!("'{n}'"),
        Kind::Uint(n) => format!("'{n}u'"),
        Kind::Double(n) => format!("'{n}'"),
        Kind::String(text) => format!("{text:?}"),
        Kind::Bytes(_) => "bytes".to_owned(),
    }
}

impl Parser {
    fn peek(&self) -> &Kind {
        &self.tokens[self.at].kind
    }

    fn here(&self) -> usize {
        self.tokens[self.at].at
    }

    fn is(&self, punct: &str) -> bool {
        matches!(self.peek(), Kind::Punct(found) if *found == punct)
    }

    fn eat(&mut self, punct: &str) -> bool {
        let found = self.is(punct);
        self.at += usize::from(found);
        found
    }

    fn advance(&mut self) -> Kind {
        let kind = self.tokens[self.at].kind.clone();
        // The last token is the end, which stays.
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        kind
    }

    fn unexpected(&self, wanted: &str) -> Issue {
        let message = format!("Syntax error: mismatched input {} expecting {wanted}", shown(self.peek()));
        Issue { at: self.here(), message }
    }

    fn expect(&mut self, punct: &str) -> Result<(), Issue> {
        if self.eat(punct) { Ok(()) } else { Err(self.unexpected(&format!("'{punct}'"))) }
    }

    /// Adds a node above `below`.
    fn add(&mut self, at: usize, expr: Expr, below: &[Id]) -> Parsed {
        let deepest = below.iter().map(|id| self.nodes[*id as usize].depth).max().unwrap_or(0);
        let depth = deepest + 1;
        if depth > MAX_DEPTH {
            return Err(too_deep(at));
        }
        if self.nodes.len() >= MAX_NODES {
            return Err(Issue { at, message: "Syntax error: the expression is too large".to_owned() });
        }
        let at = u32::try_from(at).unwrap_or(u32::MAX);
        self.nodes.push(Node { expr, at, depth });
        // Bounded by MAX_NODES.
        Ok(u32::try_from(self.nodes.len() - 1).unwrap_or_default())
    }

    fn call(&mut self, at: usize, function: &str, args: Vec<Id>) -> Parsed {
        let below = args.clone();
        self.add(at, Expr::Call { function: function.into(), target: None, args }, &below)
    }

    fn whole(&mut self) -> Parsed {
        let root = self.expression()?;
        if *self.peek() == Kind::End { Ok(root) } else { Err(self.unexpected("<EOF>")) }
    }

    fn expression(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(too_deep(self.here()));
        }
        let condition = self.operators(1)?;
        let at = self.here();
        let found = if self.eat("?") {
            let yes = self.operators(1)?;
            self.expect(":")?;
            let no = self.expression()?;
            self.add(at, Expr::Ternary(condition, yes, no), &[condition, yes, no])
        } else {
            Ok(condition)
        };
        self.depth -= 1;
        found
    }

    fn operators(&mut self, least: u8) -> Parsed {
        let mut left = self.unary()?;
        while let Some((strength, function)) = binary(self.peek()) {
            if strength < least {
                break;
            }
            let at = self.here();
            self.advance();
            if strength <= 2 {
                // One flat node for a chain of the same logical operator.
                let mut terms = vec![left, self.operators(strength + 1)?];
                while binary(self.peek()).is_some_and(|(_, next)| next == function) {
                    self.advance();
                    terms.push(self.operators(strength + 1)?);
                }
                let below = terms.clone();
                let expr = if strength == 1 { Expr::Or(terms) } else { Expr::And(terms) };
                left = self.add(at, expr, &below)?;
            } else {
                let right = self.operators(strength + 1)?;
                left = self.call(at, function, vec![left, right])?;
            }
        }
        Ok(left)
    }

    fn unary(&mut self) -> Parsed {
        let at = self.here();
        let mark = if self.is("!") {
            "!"
        } else if self.is("-") {
            "-"
        } else {
            return self.member();
        };
        let mut count = 0_usize;
        while self.eat(mark) {
            count += 1;
        }
        if mark == "-" && count % 2 == 1 {
            // The least integer has no positive counterpart, so the sign belongs to the number.
            let literal = match self.peek() {
                Kind::Int(n) => 0_i64.checked_sub_unsigned(*n).map(Literal::Int),
                Kind::Double(n) => Some(Literal::Double(-n)),
                _ => None,
            };
            if let Some(literal) = literal {
                self.advance();
                let id = self.add(at, Expr::Literal(literal), &[])?;
                return self.postfix(id);
            }
        }
        let operand = self.member()?;
        if count.is_multiple_of(2) {
            return Ok(operand);
        }
        self.call(at, if mark == "!" { "!_" } else { "-_" }, vec![operand])
    }

    fn member(&mut self) -> Parsed {
        let id = self.primary()?;
        self.postfix(id)
    }

    fn postfix(&mut self, mut id: Id) -> Parsed {
        loop {
            let at = self.here();
            if self.eat(".") {
                let optional = self.eat("?");
                let name_at = self.here();
                let Kind::Ident(name) = self.peek().clone() else {
                    return Err(self.unexpected("IDENTIFIER"));
                };
                if ["in", "true", "false", "null"].contains(&name.as_str()) {
                    return Err(self.unexpected("IDENTIFIER"));
                }
                self.advance();
                if !optional && self.is("(") {
                    id = self.method(id, &name, at, name_at)?;
                    continue;
                }
                let expr = Expr::Select { operand: id, field: name.into(), test: false, optional };
                id = self.add(at, expr, &[id])?;
            } else if self.eat("[") {
                let optional = self.eat("?");
                let index = self.expression()?;
                self.expect("]")?;
                id = self.add(at, Expr::Index { operand: id, index, optional }, &[id, index])?;
            } else if self.is("{") {
                match self.struct_name(id) {
                    Some(name) => id = self.structure(name, at)?,
                    None => return Ok(id),
                }
            } else {
                return Ok(id);
            }
        }
    }

    fn primary(&mut self) -> Parsed {
        let at = self.here();
        let leading = self.eat(".");
        if leading && !matches!(self.peek(), Kind::Ident(_)) {
            return Err(self.unexpected("IDENTIFIER"));
        }
        match self.advance() {
            Kind::Int(n) => match i64::try_from(n) {
                Ok(n) => self.add(at, Expr::Literal(Literal::Int(n)), &[]),
                Err(_) => Err(Issue { at, message: "Syntax error: invalid int literal".to_owned() }),
            },
            Kind::Uint(n) => self.add(at, Expr::Literal(Literal::Uint(n)), &[]),
            Kind::Double(n) => self.add(at, Expr::Literal(Literal::Double(n)), &[]),
            Kind::String(text) => self.add(at, Expr::Literal(Literal::String(text.into())), &[]),
            Kind::Bytes(bytes) => self.add(at, Expr::Literal(Literal::Bytes(bytes.into())), &[]),
            Kind::Ident(name) => self.named(name, at),
            Kind::Punct("(") => {
                let inner = self.expression()?;
                self.expect(")")?;
                Ok(inner)
            }
            Kind::Punct("[") => self.list(at),
            Kind::Punct("{") => self.map(at),
            other => {
                let message =
                    format!("Syntax error: mismatched input {} expecting an expression", shown(&other));
                Err(Issue { at, message })
            }
        }
    }

    fn named(&mut self, name: String, at: usize) -> Parsed {
        let literal = match name.as_str() {
            "true" => Some(Literal::Bool(true)),
            "false" => Some(Literal::Bool(false)),
            "null" => Some(Literal::Null),
            _ => None,
        };
        if let Some(literal) = literal {
            return self.add(at, Expr::Literal(literal), &[]);
        }
        if RESERVED.contains(&name.as_str()) {
            return Err(Issue { at, message: format!("Syntax error: reserved identifier: {name}") });
        }
        if !self.eat("(") {
            return self.add(at, Expr::Ident(name.into()), &[]);
        }
        let args = self.args()?;
        self.function(&name, args, at)
    }

    fn args(&mut self) -> Result<Vec<Id>, Issue> {
        let mut args = Vec::new();
        if self.eat(")") {
            return Ok(args);
        }
        loop {
            args.push(self.expression()?);
            if self.eat(")") {
                return Ok(args);
            }
            self.expect(",")?;
        }
    }

    fn list(&mut self, at: usize) -> Parsed {
        let (mut items, mut below) = (Vec::new(), Vec::new());
        while !self.eat("]") {
            let optional = self.eat("?");
            let item = self.expression()?;
            items.push((item, optional));
            below.push(item);
            if !self.eat(",") {
                self.expect("]")?;
                break;
            }
        }
        self.add(at, Expr::List(items), &below)
    }

    fn map(&mut self, at: usize) -> Parsed {
        let (mut entries, mut below) = (Vec::new(), Vec::new());
        while !self.eat("}") {
            let optional = self.eat("?");
            let key = self.expression()?;
            self.expect(":")?;
            let value = self.expression()?;
            entries.push((key, value, optional));
            below.extend([key, value]);
            if !self.eat(",") {
                self.expect("}")?;
                break;
            }
        }
        self.add(at, Expr::Map(entries), &below)
    }

    /// The dotted name that a node spells, if it is one.
    fn struct_name(&self, id: Id) -> Option<String> {
        match &self.nodes[id as usize].expr {
            Expr::Ident(name) => Some(name.to_string()),
            Expr::Select { operand, field, test: false, optional: false } => {
                Some(format!("{}.{field}", self.struct_name(*operand)?))
            }
            _ => None,
        }
    }

    fn structure(&mut self, name: String, at: usize) -> Parsed {
        self.expect("{")?;
        let (mut fields, mut below) = (Vec::new(), Vec::new());
        while !self.eat("}") {
            let optional = self.eat("?");
            let Kind::Ident(field) = self.peek().clone() else { return Err(self.unexpected("IDENTIFIER")) };
            self.advance();
            self.expect(":")?;
            let value = self.expression()?;
            fields.push((field.into(), value, optional));
            below.push(value);
            if !self.eat(",") {
                self.expect("}")?;
                break;
            }
        }
        self.add(at, Expr::Struct { name: name.into(), fields }, &below)
    }
}

fn too_deep(at: usize) -> Issue {
    Issue { at, message: format!("expression recursion limit exceeded: {MAX_DEPTH}") }
}
