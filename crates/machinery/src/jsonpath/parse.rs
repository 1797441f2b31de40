//! Templates to [`Part`]s.

use super::{Compare, JsonPathError, Operand, Part, Slice, Step};
use serde_json::Value;

/// Longest template; longer ones are no templates.
const MAX_LENGTH: usize = 64 << 10;
/// Deepest `{range}`.
const MAX_DEPTH: usize = 16;

fn error<T>(text: impl Into<String>) -> Result<T, JsonPathError> {
    Err(JsonPathError(text.into()))
}

pub(super) fn template(text: &str) -> Result<Vec<Part>, JsonPathError> {
    if text.len() > MAX_LENGTH {
        return error("the template is too long");
    }
    let mut parser = Parser { rest: text, open: Vec::new(), parts: Vec::new() };
    while let Some(at) = parser.rest.find('{') {
        if at > 0 {
            parser.parts.push(Part::Text(parser.rest[..at].to_owned()));
        }
        parser.rest = &parser.rest[at + 1..];
        parser.action()?;
    }
    if !parser.rest.is_empty() {
        parser.parts.push(Part::Text(parser.rest.to_owned()));
    }
    if parser.open.is_empty() { Ok(parser.parts) } else { error("unclosed range: {end} is missing") }
}

struct Parser<'t> {
    rest: &'t str,
    /// Ranges that are not ended, with what came before each.
    open: Vec<(Vec<Step>, Vec<Part>)>,
    parts: Vec<Part>,
}

impl Parser<'_> {
    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn eat(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// What stands between braces, up to the closing one.
    fn action(&mut self) -> Result<(), JsonPathError> {
        loop {
            self.skip();
            match self.peek() {
                None => return error("unclosed action"),
                Some('}') => {
                    self.rest = &self.rest[1..];
                    return Ok(());
                }
                Some('"' | '\'') => {
                    let text = self.quoted()?;
                    self.parts.push(Part::Text(text));
                }
                Some(_) if self.keyword("range") => {
                    self.skip();
                    let steps = self.path(&[])?;
                    if self.open.len() >= MAX_DEPTH {
                        return error("ranges are nested too deeply");
                    }
                    self.open.push((steps, std::mem::take(&mut self.parts)));
                }
                Some(_) if self.keyword("end") => {
                    let Some((steps, before)) = self.open.pop() else {
                        return error("not in range, nothing to end");
                    };
                    let body = std::mem::replace(&mut self.parts, before);
                    self.parts.push(Part::Range(steps, body));
                }
                Some(_) => {
                    let steps = self.path(&[])?;
                    self.parts.push(Part::Path(steps));
                }
            }
        }
    }

    fn keyword(&mut self, word: &str) -> bool {
        match self.rest.strip_prefix(word) {
            Some(rest) if rest.is_empty() || rest.starts_with([' ', '}', '\t']) => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// A string in quotes, with backslash escapes.
    fn quoted(&mut self) -> Result<String, JsonPathError> {
        let mut characters = self.rest.char_indices();
        let Some((_, quote)) = characters.next() else { return error("unterminated quoted string") };
        let mut text = String::new();
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' => match characters.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, 't')) => text.push('\t'),
                    Some((_, 'r')) => text.push('\r'),
                    Some((_, other)) => text.push(other),
                    None => break,
                },
                character if character == quote => {
                    self.rest = &self.rest[at + quote.len_utf8()..];
                    return Ok(text);
                }
                other => text.push(other),
            }
        }
        error("unterminated quoted string")
    }

    /// Steps up to white space, a closing brace, or one of `stops`.
    fn path(&mut self, stops: &[char]) -> Result<Vec<Step>, JsonPathError> {
        let mut steps = Vec::new();
        let start = self.rest;
        loop {
            match self.peek() {
                None | Some('}' | ' ' | '\t' | '\n') => break,
                Some(character) if stops.contains(&character) => break,
                Some('$') => {
                    self.rest = &self.rest[1..];
                    steps.push(Step::Root);
                }
                Some('@') => self.rest = &self.rest[1..],
                Some('[') => steps.push(self.bracket()?),
                Some('.') if self.rest.starts_with("..") => {
                    self.rest = &self.rest[2..];
                    steps.push(Step::Recursive);
                    if !matches!(self.peek(), None | Some('[' | '}' | '.')) {
                        steps.push(self.field(stops)?);
                    }
                }
                Some('.') => {
                    self.rest = &self.rest[1..];
                    if !matches!(self.peek(), None | Some('}' | ' ' | '[')) {
                        steps.push(self.field(stops)?);
                    }
                }
                Some(character) if character.is_alphanumeric() || character == '_' => {
                    steps.push(self.field(stops)?);
                }
                Some(other) => {
                    return error(format!(
                        "unrecognized character in action: U+{:04X} '{other}'",
                        u32::from(other)
                    ));
                }
            }
        }
        if self.rest.len() == start.len() {
            return error("unexpected empty path");
        }
        Ok(steps)
    }

    /// A field's name; a backslash takes the next character as it is.
    fn field(&mut self, stops: &[char]) -> Result<Step, JsonPathError> {
        let mut name = String::new();
        let mut end = self.rest.len();
        let mut characters = self.rest.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' => name.extend(characters.next().map(|(_, next)| next)),
                '.' | '[' | ']' | '}' | '{' | ' ' | '\t' | '\n' | ',' | '(' | ')' | '=' | '!' | '<' | '>'
                | '|' | '&' => {
                    end = at;
                    break;
                }
                character if stops.contains(&character) => {
                    end = at;
                    break;
                }
                other => name.push(other),
            }
        }
        self.rest = &self.rest[end..];
        if name.is_empty() {
            return error("unexpected empty field name");
        }
        Ok(if name == "*" { Step::Wildcard } else { Step::Field(name) })
    }

    /// What stands in square brackets.
    fn bracket(&mut self) -> Result<Step, JsonPathError> {
        self.rest = &self.rest[1..];
        self.skip();
        if self.eat("?(") {
            return self.filter();
        }
        let mut members = Vec::new();
        loop {
            self.skip();
            members.push(match self.peek() {
                None => return error("unterminated array"),
                Some('*') => {
                    self.rest = &self.rest[1..];
                    Step::Wildcard
                }
                Some('\'' | '"') => Step::Field(self.quoted()?),
                Some(_) => self.slice()?,
            });
            self.skip();
            if self.eat("]") {
                break;
            }
            if !self.eat(",") {
                return error(format!(
                    "invalid array index {:?}",
                    self.rest.chars().take(20).collect::<String>()
                ));
            }
        }
        Ok(if members.len() == 1 { members.remove(0) } else { Step::Union(members) })
    }

    fn slice(&mut self) -> Result<Step, JsonPathError> {
        let end = self.rest.find([',', ']']).unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(end);
        let bad = || JsonPathError(format!("invalid array index {text}"));
        let bounds: Vec<Option<i64>> = text
            .split(':')
            .map(|bound| match bound.trim() {
                "" => Ok(None),
                number => number.parse().map(Some).map_err(|_| bad()),
            })
            .collect::<Result<_, _>>()?;
        self.rest = rest;
        Ok(Step::Slice(match *bounds.as_slice() {
            [Some(at)] => Slice { start: Some(at), single: true, ..Slice::default() },
            [start, end] => Slice { start, end, ..Slice::default() },
            [start, end, step] => Slice { start, end, step, single: false },
            _ => return Err(bad()),
        }))
    }

    fn filter(&mut self) -> Result<Step, JsonPathError> {
        self.skip();
        let left = self.operand()?;
        self.skip();
        let operators = [
            ("==", Compare::Equal),
            ("!=", Compare::NotEqual),
            ("<=", Compare::LessOrEqual),
            (">=", Compare::GreaterOrEqual),
            ("<", Compare::Less),
            (">", Compare::Greater),
        ];
        let compare = operators.iter().find(|(token, _)| self.rest.starts_with(token));
        let (compare, right) = match compare {
            None => (Compare::Exists, None),
            Some((token, compare)) => {
                self.eat(token);
                self.skip();
                (*compare, Some(self.operand()?))
            }
        };
        self.skip();
        if !self.eat(")") {
            return error("unterminated filter");
        }
        self.skip();
        if !self.eat("]") {
            return error("unclosed array expect ]");
        }
        Ok(Step::Filter(left, compare, right))
    }

    fn operand(&mut self) -> Result<Operand, JsonPathError> {
        Ok(match self.peek() {
            Some('"' | '\'') => Operand::Literal(Value::String(self.quoted()?)),
            Some('@' | '$' | '.') => Operand::Path(self.path(&[')', '=', '!', '<', '>'])?),
            _ => {
                let end = self.rest.find([')', ' ', '=', '!', '<', '>']).unwrap_or(self.rest.len());
                let (word, rest) = self.rest.split_at(end);
                let literal: Value = serde_json::from_str(word)
                    .map_err(|_| JsonPathError(format!("unrecognized operand {word:?} in filter")))?;
                self.rest = rest;
                Operand::Literal(literal)
            }
        })
    }
}
