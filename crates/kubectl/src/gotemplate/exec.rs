//! Evaluation of a parsed template over a JSON tree.

use super::format;
use super::funcs;
use super::parse::{Command, Node, Operand, Pipe, What};
use super::{MAX_DEPTH, MAX_OUTPUT, Template};
use serde_json::Value;
use std::borrow::Cow;

/// What an expression gives: part of the tree, something made, or nothing at all (Go's zero value).
pub(super) type Val<'v> = Option<Cow<'v, Value>>;

/// Prints `value` through a template.
pub(super) fn render(template: &Template, value: &Value) -> Result<String, String> {
    let root = Some(Cow::Borrowed(value));
    let mut run =
        Run { template, out: String::new(), variables: vec![("$".to_owned(), root.clone())], depth: 0 };
    run.nodes(&template.root, &root)?;
    Ok(run.out)
}

enum Flow {
    Next,
    Break,
    Continue,
}

struct Run<'t, 'v> {
    template: &'t Template,
    out: String,
    variables: Vec<(String, Val<'v>)>,
    depth: usize,
}

/// Whether a value counts as true.
pub(super) fn truth(value: &Val<'_>) -> bool {
    match value.as_deref() {
        None | Some(Value::Null) => false,
        Some(Value::Bool(set)) => *set,
        Some(Value::Number(number)) => number.as_f64() != Some(0.0),
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(map)) => !map.is_empty(),
    }
}

/// Part of a value, borrowed as long as the value is.
pub(super) fn part<'v>(
    value: Cow<'v, Value>,
    take: impl for<'a> Fn(&'a Value) -> Option<&'a Value>,
) -> Val<'v> {
    match value {
        Cow::Borrowed(value) => take(value).map(Cow::Borrowed),
        Cow::Owned(value) => take(&value).map(|part| Cow::Owned(part.clone())),
    }
}

impl<'t, 'v> Run<'t, 'v> {
    fn fail<T>(
        &self,
        at: usize,
        context: impl std::fmt::Display,
        what: impl std::fmt::Display,
    ) -> Result<T, String> {
        let before = &self.template.text[..at];
        let column = before.rfind('\n').map_or(at, |line| at - line - 1);
        let line = super::place(&self.template.text, at);
        Err(format!("{line}:{column}: executing \"output\" at <{context}>: {what}"))
    }

    fn print(&mut self, at: usize, text: &str) -> Result<(), String> {
        self.out.push_str(text);
        if self.out.len() > MAX_OUTPUT { self.fail(at, "output", "the output is too large") } else { Ok(()) }
    }

    fn nodes(&mut self, nodes: &'t [Node], dot: &Val<'v>) -> Result<Flow, String> {
        for node in nodes {
            match self.node(node, dot)? {
                Flow::Next => {}
                flow => return Ok(flow),
            }
        }
        Ok(Flow::Next)
    }

    fn node(&mut self, node: &'t Node, dot: &Val<'v>) -> Result<Flow, String> {
        match node {
            Node::Text(text) => self.print(0, text)?,
            Node::Print(pipe) => {
                let value = self.pipe(pipe, dot)?;
                if pipe.variables.is_empty() {
                    self.print(pipe.at, &format::printed(&value))?;
                }
            }
            Node::If(pipe, yes, no) | Node::With(pipe, yes, no) => {
                let known = self.variables.len();
                let value = self.pipe(pipe, dot)?;
                let flow = if !truth(&value) {
                    self.nodes(no, dot)
                } else if matches!(node, Node::With(..)) {
                    self.nodes(yes, &value)
                } else {
                    self.nodes(yes, dot)
                };
                self.variables.truncate(known);
                return flow;
            }
            Node::Range(pipe, body, no) => return self.range(pipe, body, no, dot),
            Node::Call { name, written, pipe, at } => self.call(name, written, pipe.as_ref(), *at, dot)?,
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn call(
        &mut self,
        name: &str,
        written: &str,
        pipe: Option<&'t Pipe>,
        at: usize,
        dot: &Val<'v>,
    ) -> Result<(), String> {
        let shown = match pipe {
            Some(pipe) => format!("{{{{template {written} {pipe}}}}}"),
            None => format!("{{{{template {written}}}}}"),
        };
        let template: &'t Template = self.template;
        let Some(body) = template.defined.get(name) else {
            return self.fail(at, shown, format!("template {name:?} not defined"));
        };
        if self.depth >= MAX_DEPTH {
            return self.fail(at, shown, format!("exceeded maximum template depth ({MAX_DEPTH})"));
        }
        let dot = match pipe {
            Some(pipe) => self.pipe(pipe, dot)?,
            None => None,
        };
        let outer = std::mem::replace(&mut self.variables, vec![("$".to_owned(), dot.clone())]);
        self.depth += 1;
        let done = self.nodes(body, &dot);
        self.depth -= 1;
        self.variables = outer;
        done.map(|_| ())
    }

    fn range(
        &mut self,
        pipe: &'t Pipe,
        body: &'t [Node],
        no: &'t [Node],
        dot: &Val<'v>,
    ) -> Result<Flow, String> {
        let known = self.variables.len();
        let value = self.commands(pipe, dot)?;
        let entries: Vec<(Value, Cow<'v, Value>)> = match value {
            None => Vec::new(),
            Some(Cow::Borrowed(value)) => match entries(value) {
                Some(all) => all.into_iter().map(|(key, item)| (key, Cow::Borrowed(item))).collect(),
                None => return self.unrangeable(pipe, value),
            },
            Some(Cow::Owned(value)) => match entries(&value) {
                Some(all) => all.into_iter().map(|(key, item)| (key, Cow::Owned(item.clone()))).collect(),
                None => return self.unrangeable(pipe, &value),
            },
        };
        if entries.is_empty() {
            return self.nodes(no, dot);
        }
        for (key, item) in entries {
            let item = Some(item);
            match pipe.variables.as_slice() {
                [value] => self.set(value, item.clone(), pipe.assigns),
                [index, value] => {
                    self.set(index, Some(Cow::Owned(key)), pipe.assigns);
                    self.set(value, item.clone(), pipe.assigns);
                }
                _ => {}
            }
            let flow = self.nodes(body, &item)?;
            self.variables.truncate(known);
            if matches!(flow, Flow::Break) {
                break;
            }
        }
        Ok(Flow::Next)
    }

    fn unrangeable<T>(&self, pipe: &Pipe, value: &Value) -> Result<T, String> {
        self.fail(pipe.at, pipe, format!("range can't iterate over {}", format::display(value)))
    }

    fn set(&mut self, name: &str, value: Val<'v>, assigns: bool) {
        if assigns {
            if let Some((_, old)) = self.variables.iter_mut().rev().find(|(known, _)| known == name) {
                *old = value;
            }
        } else {
            self.variables.push((name.to_owned(), value));
        }
    }

    fn pipe(&mut self, pipe: &'t Pipe, dot: &Val<'v>) -> Result<Val<'v>, String> {
        let value = self.commands(pipe, dot)?;
        for name in &pipe.variables {
            self.set(name, value.clone(), pipe.assigns);
        }
        Ok(value)
    }

    fn commands(&mut self, pipe: &'t Pipe, dot: &Val<'v>) -> Result<Val<'v>, String> {
        let mut last = None;
        for command in &pipe.commands {
            last = Some(self.command(command, dot, last)?);
        }
        Ok(last.flatten().filter(|value| !value.is_null()))
    }

    fn command(
        &mut self,
        command: &'t Command,
        dot: &Val<'v>,
        last: Option<Val<'v>>,
    ) -> Result<Val<'v>, String> {
        let Some((first, arguments)) = command.words.split_first() else { return Ok(None) };
        let given = !arguments.is_empty() || last.is_some();
        match &first.kind {
            What::Function(name) => return self.function(name, command, dot, last),
            What::Nil => return self.fail(first.at, first, "nil is not a command"),
            What::Field(names) | What::Chain(_, names) if given => {
                self.operand(first, dot)?;
                let name = names.last().map(String::as_str).unwrap_or_default();
                return self.fail(first.at, first, format!("{name} is not a method but has arguments"));
            }
            _ if given => {
                return self.fail(command.at, first, format!("can't give argument to non-function {first}"));
            }
            _ => {}
        }
        self.operand(first, dot)
    }

    fn function(
        &mut self,
        name: &str,
        command: &'t Command,
        dot: &Val<'v>,
        last: Option<Val<'v>>,
    ) -> Result<Val<'v>, String> {
        let arguments = command.words.get(1..).unwrap_or_default();
        if name == "and" || name == "or" {
            // Evaluated only as far as needed.
            let mut value = None;
            for (at, argument) in arguments.iter().enumerate() {
                value = self.operand(argument, dot)?;
                let is_last = at + 1 == arguments.len() && last.is_none();
                if !is_last && truth(&value) == (name == "or") {
                    return Ok(value);
                }
            }
            return Ok(last.unwrap_or(value));
        }
        let mut values = Vec::with_capacity(arguments.len() + 1);
        for argument in arguments {
            values.push(self.operand(argument, dot)?);
        }
        values.extend(last);
        match funcs::call(name, values) {
            Ok(value) => Ok(value),
            Err(why) => self.fail(command.at, command, why),
        }
    }

    fn operand(&mut self, operand: &'t Operand, dot: &Val<'v>) -> Result<Val<'v>, String> {
        match &operand.kind {
            What::Dot => Ok(dot.clone()),
            What::Nil => Ok(None),
            What::Constant(_, value) => Ok(Some(Cow::Owned(value.clone()))),
            What::Field(names) => self.fields(dot.clone(), names, operand),
            What::Variable(name, names) => {
                let value = self.variables.iter().rev().find(|(known, _)| known == name);
                let value = value.and_then(|(_, value)| value.clone());
                self.fields(value, names, operand)
            }
            What::Function(name) => {
                funcs::call(name, Vec::new()).or_else(|why| self.fail(operand.at, operand, why))
            }
            What::Pipe(pipe) => self.pipe(pipe, dot),
            What::Chain(inner, names) => {
                let value = self.operand(inner, dot)?;
                self.fields(value, names, operand)
            }
        }
    }

    fn fields(&self, value: Val<'v>, names: &[String], operand: &Operand) -> Result<Val<'v>, String> {
        let mut value = value;
        for name in names {
            value = match value {
                None if self.template.missing_is_error => {
                    return self.fail(operand.at, operand, format!("nil data; no entry for key {name:?}"));
                }
                None => None,
                Some(found) => match &*found {
                    Value::Object(map) => {
                        if self.template.missing_is_error && !map.contains_key(name) {
                            return self.fail(
                                operand.at,
                                operand,
                                format!("map has no entry for key {name:?}"),
                            );
                        }
                        part(found, |value| value.get(name))
                    }
                    Value::Null => {
                        return self.fail(
                            operand.at,
                            operand,
                            format!("nil pointer evaluating interface {{}}.{name}"),
                        );
                    }
                    _ => {
                        return self.fail(
                            operand.at,
                            operand,
                            format!("can't evaluate field {name} in type interface {{}}"),
                        );
                    }
                },
            };
        }
        Ok(value)
    }
}

/// Keys and items of what can be walked through; maps by key.
fn entries(value: &Value) -> Option<Vec<(Value, &Value)>> {
    match value {
        Value::Null => Some(Vec::new()),
        Value::Array(items) => {
            Some(items.iter().enumerate().map(|(at, item)| (Value::from(at), item)).collect())
        }
        Value::Object(map) => {
            let mut all: Vec<(&String, &Value)> = map.iter().collect();
            all.sort_by_key(|(key, _)| *key);
            Some(all.into_iter().map(|(key, item)| (Value::from(key.clone()), item)).collect())
        }
        _ => None,
    }
}
