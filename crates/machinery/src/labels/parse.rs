//! The string form of label selectors: a lexer and a recursive-descent parser with upstream's error texts.

use super::{Operator, Requirement, check_key};
use crate::field::{FieldErrors, FieldPath};
use std::collections::BTreeSet;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    End,
    Identifier,
    Comma,
    Open,
    Close,
    Bang,
    Operator(Operator),
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

const SYMBOLS: &[u8] = b"=!(),><";
const SPACES: &[u8] = b" \t\r\n";

impl<'a> Lexer<'a> {
    fn next(&mut self) -> (Token, &'a str) {
        let bytes = self.text.as_bytes();
        while bytes.get(self.at).is_some_and(|b| SPACES.contains(b)) {
            self.at += 1;
        }
        let start = self.at;
        let Some(first) = bytes.get(start) else { return (Token::End, "") };
        if SYMBOLS.contains(first) {
            let pair = self.text.get(start..start + 2);
            let (token, length) = match (first, pair) {
                (_, Some("==")) => (Token::Operator(Operator::DoubleEquals), 2),
                (_, Some("!=")) => (Token::Operator(Operator::NotEquals), 2),
                (b'=', _) => (Token::Operator(Operator::Equals), 1),
                (b'!', _) => (Token::Bang, 1),
                (b'>', _) => (Token::Operator(Operator::GreaterThan), 1),
                (b'<', _) => (Token::Operator(Operator::LessThan), 1),
                (b'(', _) => (Token::Open, 1),
                (b')', _) => (Token::Close, 1),
                _ => (Token::Comma, 1),
            };
            self.at += length;
            return (token, &self.text[start..self.at]);
        }
        while bytes.get(self.at).is_some_and(|b| !SYMBOLS.contains(b) && !SPACES.contains(b)) {
            self.at += 1;
        }
        match &self.text[start..self.at] {
            "in" => (Token::Operator(Operator::In), "in"),
            "notin" => (Token::Operator(Operator::NotIn), "notin"),
            word => (Token::Identifier, word),
        }
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    ahead: Option<(Token, &'a str)>,
}

impl<'a> Parser<'a> {
    /// The next token where a key or value is expected: there the words `in` and `notin` are plain.
    fn peek(&mut self) -> (Token, &'a str) {
        let lexer = &mut self.lexer;
        match *self.ahead.get_or_insert_with(|| lexer.next()) {
            (Token::Operator(Operator::In | Operator::NotIn), word) => (Token::Identifier, word),
            other => other,
        }
    }

    fn take(&mut self) -> (Token, &'a str) {
        let token = self.peek();
        self.ahead = None;
        token
    }

    fn take_operator(&mut self) -> (Token, &'a str) {
        self.ahead.take().unwrap_or_else(|| self.lexer.next())
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let (mut token, mut word) = self.take();
        let negated = token == Token::Bang;
        if negated {
            (token, word) = self.take();
        }
        if token != Token::Identifier {
            return Err(format!("found '{word}', expected: identifier"));
        }
        let key = word;
        let mut errors = FieldErrors::new();
        check_key(key, FieldPath::root(), &mut errors);
        if !errors.is_empty() {
            return Err(errors.to_string());
        }
        if negated {
            return Requirement::new(key, Operator::DoesNotExist, []);
        }
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return Requirement::new(key, Operator::Exists, []);
        }
        let operator = match self.take_operator() {
            (Token::Operator(operator), _) => operator,
            (_, word) => return Err(format!("found '{word}', expected: in, notin, =, ==, !=, gt, lt")),
        };
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => BTreeSet::from([self.exact_value()?]),
        };
        Requirement::new(key, operator, values)
    }

    fn values(&mut self) -> Result<BTreeSet<String>, String> {
        let (token, word) = self.take();
        if token != Token::Open {
            return Err(format!("found '{word}' expected: '('"));
        }
        let (token, word) = self.peek();
        match token {
            Token::Identifier | Token::Comma => {
                let values = self.list()?;
                if self.take().0 != Token::Close {
                    return Err(format!("found '{word}', expected: ')'"));
                }
                Ok(values)
            }
            Token::Close => {
                self.take();
                Ok(BTreeSet::new())
            }
            _ => Err(format!("found '{word}', expected: ',', ')' or identifier")),
        }
    }

    /// `a,b`; an empty place between commas is the empty value.
    fn list(&mut self) -> Result<BTreeSet<String>, String> {
        let mut values = BTreeSet::new();
        loop {
            match self.take() {
                (Token::Identifier, word) => {
                    values.insert(word.to_owned());
                    match self.peek() {
                        (Token::Comma, _) => {}
                        (Token::Close, _) => return Ok(values),
                        (_, word) => return Err(format!("found '{word}', expected: ',' or ')'")),
                    }
                }
                (Token::Comma, _) => {
                    if values.is_empty() {
                        values.insert(String::new());
                    }
                    match self.peek().0 {
                        Token::Close => {
                            values.insert(String::new());
                            return Ok(values);
                        }
                        Token::Comma => {
                            self.take();
                            values.insert(String::new());
                        }
                        _ => {}
                    }
                }
                (_, word) => return Err(format!("found '{word}', expected: ',', or identifier")),
            }
        }
    }

    fn exact_value(&mut self) -> Result<String, String> {
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return Ok(String::new());
        }
        match self.take() {
            (Token::Identifier, word) => Ok(word.to_owned()),
            (_, word) => Err(format!("found '{word}', expected: identifier")),
        }
    }
}

pub(super) fn parse(text: &str) -> Result<Vec<Requirement>, String> {
    let mut parser = Parser { lexer: Lexer { text, at: 0 }, ahead: None };
    let mut requirements = Vec::new();
    loop {
        match parser.peek() {
            (Token::Identifier | Token::Bang, _) => {
                let requirement =
                    parser.requirement().map_err(|why| format!("unable to parse requirement: {why}"))?;
                requirements.push(requirement);
                match parser.take() {
                    (Token::End, _) => return Ok(requirements),
                    (Token::Comma, _) => {
                        let (token, word) = parser.peek();
                        if !matches!(token, Token::Identifier | Token::Bang) {
                            return Err(format!("found '{word}', expected: identifier after ','"));
                        }
                    }
                    (_, word) => return Err(format!("found '{word}', expected: ',' or 'end of string'")),
                }
            }
            (Token::End, _) => return Ok(requirements),
            (_, word) => return Err(format!("found '{word}', expected: !, identifier, or 'end of string'")),
        }
    }
}
