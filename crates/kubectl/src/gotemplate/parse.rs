//! Tokens as a tree. Names of functions and variables are checked here, as Go does.

use super::lex::{Kind, Token};
use super::{MAX_DEPTH, funcs, place};
use serde_json::{Number, Value};
use std::collections::HashMap;
use std::fmt;

/// A piece of a template.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Text(String),
    Print(Pipe),
    If(Pipe, Vec<Node>, Vec<Node>),
    With(Pipe, Vec<Node>, Vec<Node>),
    Range(Pipe, Vec<Node>, Vec<Node>),
    Call { name: String, written: String, pipe: Option<Pipe>, at: usize },
    Break,
    Continue,
}

/// `$a, $b := command | command`.
#[derive(Clone, Debug)]
pub(super) struct Pipe {
    pub(super) at: usize,
    pub(super) variables: Vec<String>,
    pub(super) assigns: bool,
    pub(super) commands: Vec<Command>,
}

/// An operand and its arguments.
#[derive(Clone, Debug)]
pub(super) struct Command {
    pub(super) at: usize,
    pub(super) words: Vec<Operand>,
}

/// A value and where it is.
#[derive(Clone, Debug)]
pub(super) struct Operand {
    pub(super) at: usize,
    pub(super) kind: What,
}

/// What an operand is.
#[derive(Clone, Debug)]
pub(super) enum What {
    Dot,
    Nil,
    /// A constant: as written, and its value.
    Constant(String, Value),
    Field(Vec<String>),
    Variable(String, Vec<String>),
    Function(String),
    Pipe(Box<Pipe>),
    Chain(Box<Operand>, Vec<String>),
}

/// A number as templates write it.
pub(super) fn number(written: &str) -> Option<Value> {
    let plain = written.replace('_', "");
    let (sign, digits) = match plain.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    let lower = digits.to_lowercase();
    let based = [("0x", 16), ("0o", 8), ("0b", 2)].iter().find_map(|(prefix, base)| {
        lower.strip_prefix(prefix).map(|rest| i64::from_str_radix(rest, *base).ok())
    });
    if let Some(parsed) = based {
        return Some((sign * parsed?).into());
    }
    if lower.len() > 1 && lower.starts_with('0') && lower.bytes().all(|digit| digit.is_ascii_digit()) {
        return i64::from_str_radix(&lower, 8).ok().map(|value| (sign * value).into());
    }
    if let Ok(value) = digits.parse::<i64>() {
        return Some((sign * value).into());
    }
    if !lower.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let value: f64 = lower.parse().ok()?;
    #[allow(clippy::cast_precision_loss, reason = "signs are small")]
    Number::from_f64(value * sign as f64).map(Value::Number)
}

type Defined = HashMap<String, Vec<Node>>;

struct Parser<'t> {
    text: &'t str,
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    variables: Vec<String>,
    defined: Defined,
    at: usize,
    depth: usize,
    loops: usize,
}

/// How a list of nodes ended.
enum End {
    Eof,
    Closed,
    Else,
}

/// Parses tokens; what `define` and `block` define comes beside.
pub(super) fn parse(text: &str, tokens: Vec<Token>) -> Result<(Vec<Node>, Defined), String> {
    let mut parser = Parser {
        text,
        tokens: tokens.into_iter().peekable(),
        variables: vec!["$".to_owned()],
        defined: HashMap::new(),
        at: 0,
        depth: 0,
        loops: 0,
    };
    let (root, end) = parser.list()?;
    match end {
        End::Eof => Ok((root, parser.defined)),
        End::Closed => parser.fail("unexpected {{end}}"),
        End::Else => parser.fail("unexpected {{else}}"),
    }
}

impl Parser<'_> {
    fn fail<T>(&self, what: impl fmt::Display) -> Result<T, String> {
        Err(format!("{}: {what}", place(self.text, self.at)))
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.next()?;
        self.at = token.at;
        Some(token)
    }

    fn peek(&mut self) -> Option<&Kind> {
        self.tokens.peek().map(|token| &token.kind)
    }

    fn deeper(&mut self) -> Result<(), String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { self.fail("max expression depth exceeded") } else { Ok(()) }
    }

    /// Nodes up to `end`, `else`, or the end of all.
    fn list(&mut self) -> Result<(Vec<Node>, End), String> {
        self.deeper()?;
        let mut out = Vec::new();
        let end = loop {
            let Some(token) = self.next() else { break End::Eof };
            match token.kind {
                Kind::Text(text) => out.push(Node::Text(text)),
                Kind::Left => match self.peek() {
                    Some(Kind::Word(word)) if word == "end" => {
                        self.next();
                        self.close("end")?;
                        break End::Closed;
                    }
                    Some(Kind::Word(word)) if word == "else" => {
                        self.next();
                        break End::Else;
                    }
                    _ => out.extend(self.action()?),
                },
                _ => return self.fail("unexpected token in input"),
            }
        };
        self.depth -= 1;
        Ok((out, end))
    }

    fn close(&mut self, context: &str) -> Result<(), String> {
        match self.next() {
            Some(Token { kind: Kind::Right, .. }) => Ok(()),
            Some(token) => self.fail(format!("unexpected {} in {context}", shown(&token.kind))),
            None => self.fail("unexpected EOF"),
        }
    }

    fn action(&mut self) -> Result<Option<Node>, String> {
        let word = match self.peek() {
            Some(Kind::Word(word)) => word.clone(),
            _ => String::new(),
        };
        match word.as_str() {
            "if" | "with" | "range" => {
                self.next();
                self.control(&word).map(Some)
            }
            "define" => self.define().map(|()| None),
            "block" => self.block().map(Some),
            "template" => self.template().map(Some),
            "break" | "continue" => {
                self.next();
                if self.loops == 0 {
                    return self.fail(format!("{{{{{word}}}}} outside {{{{range}}}}"));
                }
                self.close(&word)?;
                Ok(Some(if word == "break" { Node::Break } else { Node::Continue }))
            }
            _ => {
                let pipe = self.pipe("command")?;
                self.close("command")?;
                Ok(Some(Node::Print(pipe)))
            }
        }
    }

    fn control(&mut self, word: &str) -> Result<Node, String> {
        let known = self.variables.len();
        let pipe = self.pipe(word)?;
        self.close(word)?;
        self.loops += usize::from(word == "range");
        let (body, end) = self.list()?;
        self.loops -= usize::from(word == "range");
        let otherwise = match end {
            End::Closed => Vec::new(),
            End::Eof => return self.fail("unexpected EOF"),
            End::Else => self.otherwise(word)?,
        };
        self.variables.truncate(known);
        Ok(match word {
            "if" => Node::If(pipe, body, otherwise),
            "with" => Node::With(pipe, body, otherwise),
            _ => Node::Range(pipe, body, otherwise),
        })
    }

    /// What follows `{{else`.
    fn otherwise(&mut self, word: &str) -> Result<Vec<Node>, String> {
        if let Some(Kind::Word(next)) = self.peek()
            && next == word
            && word != "range"
        {
            self.next();
            self.deeper()?;
            let inner = self.control(word)?;
            self.depth -= 1;
            return Ok(vec![inner]);
        }
        self.close("else")?;
        match self.list()? {
            (nodes, End::Closed) => Ok(nodes),
            (_, End::Else) => self.fail("expected end; found {{else}}"),
            (_, End::Eof) => self.fail("unexpected EOF"),
        }
    }

    fn name(&mut self, context: &str) -> Result<(String, String), String> {
        self.next();
        match self.next() {
            Some(Token { kind: Kind::Quoted(written, name), .. }) => Ok((written, name)),
            Some(token) => self.fail(format!("unexpected {} in {context}", shown(&token.kind))),
            None => self.fail("unexpected EOF"),
        }
    }

    fn body(&mut self) -> Result<Vec<Node>, String> {
        let outer = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let (nodes, end) = self.list()?;
        self.variables = outer;
        if matches!(end, End::Closed) { Ok(nodes) } else { self.fail("unexpected EOF") }
    }

    fn define(&mut self) -> Result<(), String> {
        let (_, name) = self.name("define clause")?;
        self.close("define clause")?;
        let body = self.body()?;
        self.defined.insert(name, body);
        Ok(())
    }

    fn block(&mut self) -> Result<Node, String> {
        let (written, name) = self.name("block clause")?;
        let at = self.at;
        let pipe = self.pipe("block clause")?;
        self.close("block clause")?;
        let body = self.body()?;
        self.defined.insert(name.clone(), body);
        Ok(Node::Call { name, written, pipe: Some(pipe), at })
    }

    fn template(&mut self) -> Result<Node, String> {
        let (written, name) = self.name("template clause")?;
        let at = self.at;
        let pipe = if self.peek() == Some(&Kind::Right) { None } else { Some(self.pipe("template clause")?) };
        self.close("template clause")?;
        Ok(Node::Call { name, written, pipe, at })
    }

    /// `$a, $b :=` at the beginning of a pipeline.
    fn declaration(&mut self, context: &str) -> Result<(Vec<String>, bool), String> {
        let mut ahead = self.tokens.clone();
        let mut names = Vec::new();
        let mut taken = 0;
        while let Some(Token { kind: Kind::Variable(name), .. }) = ahead.next() {
            names.push(name);
            taken += 1;
            let Some(token) = ahead.next() else { break };
            taken += 1;
            match token.kind {
                Kind::Comma if context == "range" && names.len() < 2 => {}
                Kind::Declare | Kind::Assign => {
                    let assigns = token.kind == Kind::Assign;
                    for _ in 0..taken {
                        self.next();
                    }
                    if !assigns {
                        return Ok((names, false));
                    }
                    for name in &names {
                        self.known(name)?;
                    }
                    return Ok((names, true));
                }
                _ => break,
            }
        }
        Ok((Vec::new(), false))
    }

    fn known(&self, name: &str) -> Result<(), String> {
        if self.variables.iter().any(|known| known == name) {
            return Ok(());
        }
        self.fail(format!("undefined variable {name:?}"))
    }

    fn pipe(&mut self, context: &str) -> Result<Pipe, String> {
        self.deeper()?;
        let at = self.tokens.peek().map_or(self.at, |token| token.at);
        let (variables, assigns) = self.declaration(context)?;
        let mut commands = Vec::new();
        loop {
            if let Some(command) = self.command()? {
                commands.push(command);
            } else if commands.is_empty() {
                if !matches!(self.peek(), None | Some(Kind::Right | Kind::Close)) {
                    let kind = self.peek().cloned().unwrap_or(Kind::Right);
                    return self.fail(format!("unexpected {} in {context}", shown(&kind)));
                }
                return self.fail(format!("missing value for {context}"));
            } else {
                return self.fail(format!("missing value for {context}"));
            }
            if self.peek() != Some(&Kind::Pipe) {
                break;
            }
            self.next();
        }
        if !assigns {
            self.variables.extend(variables.iter().cloned());
        }
        self.depth -= 1;
        Ok(Pipe { at, variables, assigns, commands })
    }

    fn command(&mut self) -> Result<Option<Command>, String> {
        let at = self.tokens.peek().map_or(self.at, |token| token.at);
        let mut words: Vec<Operand> = Vec::new();
        while let Some(operand) = self.operand()? {
            words.push(operand);
            let Some(next) = self.tokens.peek() else { break };
            if !next.spaced && !matches!(next.kind, Kind::Right | Kind::Close | Kind::Pipe) {
                let kind = next.kind.clone();
                return self.fail(format!("unexpected {} in operand", shown(&kind)));
            }
        }
        Ok((!words.is_empty()).then_some(Command { at, words }))
    }

    fn operand(&mut self) -> Result<Option<Operand>, String> {
        let Some(token) = self.tokens.peek() else { return self.fail("unexpected EOF") };
        let at = token.at;
        let kind = match token.kind.clone() {
            Kind::Right | Kind::Pipe | Kind::Close => return Ok(None),
            Kind::Dot => What::Dot,
            Kind::Field(name) => What::Field(vec![name]),
            Kind::Variable(name) => {
                self.at = at;
                self.known(&name)?;
                What::Variable(name, Vec::new())
            }
            Kind::Quoted(written, text) => What::Constant(written, text.into()),
            Kind::Character(written, value) => What::Constant(written, value.into()),
            Kind::Number(written) => {
                let value = number(&written).unwrap_or(Value::Null);
                What::Constant(written, value)
            }
            Kind::Word(word) => match word.as_str() {
                "nil" => What::Nil,
                "true" | "false" => What::Constant(word.clone(), (word == "true").into()),
                _ if funcs::is_known(&word) => What::Function(word),
                _ => {
                    self.at = at;
                    return self.fail(format!("function {word:?} not defined"));
                }
            },
            Kind::Open => {
                self.next();
                let pipe = self.pipe("parenthesized pipeline")?;
                if self.peek() != Some(&Kind::Close) {
                    return self.fail("unclosed left paren");
                }
                What::Pipe(Box::new(pipe))
            }
            other => {
                self.at = at;
                return self.fail(format!("unexpected {} in command", shown(&other)));
            }
        };
        self.next();
        self.chain(Operand { at, kind }).map(Some)
    }

    /// Fields that follow an operand without space.
    fn chain(&mut self, mut operand: Operand) -> Result<Operand, String> {
        let mut names = Vec::new();
        let mut at = operand.at;
        while let Some(Token { kind: Kind::Field(name), spaced: false, at: here }) = self.tokens.peek() {
            if names.is_empty() {
                at = *here;
            }
            names.push(name.clone());
            self.next();
        }
        if names.is_empty() {
            return Ok(operand);
        }
        match &mut operand.kind {
            What::Field(fields) | What::Variable(_, fields) => {
                fields.extend(names);
                operand.at = at;
                Ok(operand)
            }
            What::Constant(written, _) => {
                let written = written.clone();
                self.fail(format!("unexpected . after term {written:?}"))
            }
            What::Nil => self.fail("unexpected . after term \"nil\""),
            _ => Ok(Operand { at, kind: What::Chain(Box::new(operand), names) }),
        }
    }
}

/// A token as errors show it.
fn shown(kind: &Kind) -> String {
    match kind {
        Kind::Text(text) => format!("{text:?}"),
        Kind::Left => "\"{{\"".to_owned(),
        Kind::Right => "\"}}\"".to_owned(),
        Kind::Field(name) => format!("<.{name}>"),
        Kind::Dot => "<.>".to_owned(),
        Kind::Word(name) | Kind::Variable(name) | Kind::Number(name) => format!("{name:?}"),
        Kind::Quoted(written, _) | Kind::Character(written, _) => format!("{written:?}"),
        Kind::Declare => "\":=\"".to_owned(),
        Kind::Assign => "\"=\"".to_owned(),
        Kind::Pipe => "\"|\"".to_owned(),
        Kind::Comma => "\",\"".to_owned(),
        Kind::Open => "\"(\"".to_owned(),
        Kind::Close => "\")\"".to_owned(),
        Kind::Other(c) => format!("{:?}", c.to_string()),
    }
}

fn dotted(f: &mut fmt::Formatter<'_>, names: &[String]) -> fmt::Result {
    names.iter().try_for_each(|name| write!(f, ".{name}"))
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            What::Dot => f.write_str("."),
            What::Nil => f.write_str("nil"),
            What::Constant(written, _) => f.write_str(written),
            What::Field(names) => dotted(f, names),
            What::Variable(name, names) => {
                f.write_str(name)?;
                dotted(f, names)
            }
            What::Function(name) => f.write_str(name),
            What::Pipe(pipe) => write!(f, "({pipe})"),
            What::Chain(operand, names) => {
                write!(f, "{operand}")?;
                dotted(f, names)
            }
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, word) in self.words.iter().enumerate() {
            if at > 0 {
                f.write_str(" ")?;
            }
            write!(f, "{word}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            write!(f, "{} {} ", self.variables.join(", "), if self.assigns { "=" } else { ":=" })?;
        }
        for (at, command) in self.commands.iter().enumerate() {
            if at > 0 {
                f.write_str(" | ")?;
            }
            write!(f, "{command}")?;
        }
        Ok(())
    }
}
