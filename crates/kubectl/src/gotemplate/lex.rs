//! Text and actions of a template as tokens.

use super::place;

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Text(String),
    Left,
    Right,
    /// `.name`
    Field(String),
    Dot,
    /// `$name`, or `$`.
    Variable(String),
    Word(String),
    /// A string: as written, and what it means.
    Quoted(String, String),
    /// A character: as written, and its number.
    Character(String, i64),
    Number(String),
    Declare,
    Assign,
    Pipe,
    Comma,
    Open,
    Close,
    /// Anything that no action has; the parser says so.
    Other(char),
}

/// A token and where it is.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) at: usize,
    /// White space stands before it.
    pub(super) spaced: bool,
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    out: Vec<Token>,
}

/// Takes a template apart.
pub(super) fn lex(text: &str) -> Result<Vec<Token>, String> {
    let mut lexer = Lexer { text, at: 0, out: Vec::new() };
    let mut trim = false;
    while lexer.at < text.len() {
        let rest = &text[lexer.at..];
        let end = rest.find("{{").unwrap_or(rest.len());
        let mut plain = &rest[..end];
        let opens = &rest[end..];
        if trim {
            plain = plain.trim_start_matches([' ', '\t', '\r', '\n']);
        }
        let marked = trim_marker(&opens.as_bytes()[opens.len().min(2)..]);
        if marked {
            plain = plain.trim_end_matches([' ', '\t', '\r', '\n']);
        }
        if !plain.is_empty() {
            lexer.out.push(Token { kind: Kind::Text(plain.to_owned()), at: lexer.at, spaced: false });
        }
        lexer.at += end;
        if opens.is_empty() {
            break;
        }
        trim = lexer.action(marked)?;
    }
    Ok(lexer.out)
}

/// A minus sign followed by space, as in `{{- x`.
fn trim_marker(rest: &[u8]) -> bool {
    rest.first() == Some(&b'-') && rest.get(1).is_some_and(u8::is_ascii_whitespace)
}

impl Lexer<'_> {
    fn fail<T>(&self, what: impl std::fmt::Display) -> Result<T, String> {
        Err(format!("{}: {what}", place(self.text, self.at)))
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn push(&mut self, kind: Kind, length: usize, spaced: bool) {
        self.out.push(Token { kind, at: self.at, spaced });
        self.at += length;
    }

    /// One action from its braces on; whether the text behind it is trimmed.
    fn action(&mut self, marked: bool) -> Result<bool, String> {
        let start = self.at;
        self.at += 2 + usize::from(marked);
        let inner = self.rest().trim_start_matches([' ', '\t', '\r', '\n']);
        let skipped = self.rest().len() - inner.len();
        if inner.starts_with("/*") && (marked || skipped == 0) {
            let Some(end) = inner.find("*/") else { return self.fail("unclosed comment") };
            self.at += skipped + end + 2;
            if self.rest().starts_with("}}") {
                self.at += 2;
                return Ok(false);
            }
            if self.rest().starts_with(" -}}") {
                self.at += 4;
                return Ok(true);
            }
            return self.fail("comment ends before closing delimiter");
        }
        self.out.push(Token { kind: Kind::Left, at: start, spaced: false });
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start_matches([' ', '\t', '\r', '\n']);
            let spaces = rest.len() - trimmed.len();
            let closes_trimming = spaces > 0 && trimmed.starts_with("-}}");
            if closes_trimming || trimmed.starts_with("}}") {
                self.at += spaces + usize::from(closes_trimming);
                self.push(Kind::Right, 2, false);
                return Ok(closes_trimming);
            }
            let ended = trimmed.is_empty();
            self.at += spaces;
            if ended {
                return self.fail("unclosed action");
            }
            self.token(spaces > 0)?;
        }
    }

    fn token(&mut self, spaced: bool) -> Result<(), String> {
        let rest = self.rest().to_owned();
        let mut characters = rest.chars();
        let first = characters.next().unwrap_or_default();
        let second = characters.next().unwrap_or_default();
        let word = |text: &str| text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
        match first {
            '"' | '\'' => self.quoted(&rest, first, spaced),
            '`' => {
                let Some(end) = rest[1..].find('`') else {
                    return self.fail("unterminated raw quoted string");
                };
                let written = &rest[..end + 2];
                let kind = Kind::Quoted(written.to_owned(), rest[1..=end].to_owned());
                self.push(kind, written.len(), spaced);
                Ok(())
            }
            ':' if second == '=' => {
                self.push(Kind::Declare, 2, spaced);
                Ok(())
            }
            '=' | '|' | ',' | '(' | ')' => {
                let kind = match first {
                    '=' => Kind::Assign,
                    '|' => Kind::Pipe,
                    ',' => Kind::Comma,
                    '(' => Kind::Open,
                    _ => Kind::Close,
                };
                self.push(kind, 1, spaced);
                Ok(())
            }
            '.' if !second.is_ascii_digit() => {
                let length = word(&rest[1..]);
                self.terminated(&rest[1 + length..])?;
                let name = rest[1..=length].to_owned();
                self.push(if length == 0 { Kind::Dot } else { Kind::Field(name) }, 1 + length, spaced);
                Ok(())
            }
            '$' => {
                let length = 1 + word(&rest[1..]);
                self.terminated(&rest[length..])?;
                self.push(Kind::Variable(rest[..length].to_owned()), length, spaced);
                Ok(())
            }
            '+' | '-' | '.' | '0'..='9' => self.number(&rest, spaced),
            c if c.is_alphabetic() || c == '_' => {
                let length = word(&rest);
                self.terminated(&rest[length..])?;
                self.push(Kind::Word(rest[..length].to_owned()), length, spaced);
                Ok(())
            }
            other => {
                self.push(Kind::Other(other), other.len_utf8(), spaced);
                Ok(())
            }
        }
    }

    /// What may follow a name.
    fn terminated(&self, rest: &str) -> Result<(), String> {
        let Some(next) = rest.chars().next() else { return Ok(()) };
        if next.is_ascii_whitespace() || ".,|:)(=".contains(next) || rest.starts_with("}}") {
            return Ok(());
        }
        self.fail(format!("bad character U+{:04X} '{next}'", u32::from(next)))
    }

    fn number(&mut self, rest: &str, spaced: bool) -> Result<(), String> {
        let is_part = |(at, c): (usize, char)| {
            c.is_alphanumeric()
                || c == '.'
                || c == '_'
                || ((c == '+' || c == '-') && (at == 0 || rest[..at].ends_with(['e', 'E', 'p', 'P'])))
        };
        let length = rest.char_indices().find(|part| !is_part(*part)).map_or(rest.len(), |(at, _)| at);
        let written = &rest[..length];
        if super::parse::number(written).is_none() {
            return self.fail(format!("bad number syntax: {written:?}"));
        }
        self.push(Kind::Number(written.to_owned()), length, spaced);
        Ok(())
    }

    fn quoted(&mut self, rest: &str, quote: char, spaced: bool) -> Result<(), String> {
        let what = if quote == '"' { "quoted string" } else { "character constant" };
        let mut escaped = false;
        for (at, c) in rest.char_indices().skip(1) {
            if c == '\n' {
                break;
            }
            if c == quote && !escaped {
                let written = &rest[..=at];
                let Some(meant) = unquote(&rest[1..at]) else {
                    return self.fail(format!("malformed {what}: {written}"));
                };
                let kind = if quote == '"' {
                    Kind::Quoted(written.to_owned(), meant)
                } else {
                    let mut all = meant.chars();
                    let (Some(one), None) = (all.next(), all.next()) else {
                        return self.fail(format!("malformed character constant: {written}"));
                    };
                    Kind::Character(written.to_owned(), i64::from(u32::from(one)))
                };
                self.push(kind, written.len(), spaced);
                return Ok(());
            }
            escaped = c == '\\' && !escaped;
        }
        self.fail(format!("unterminated {what}"))
    }
}

/// Escapes of a quoted string.
fn unquote(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        out.push(simple(characters.next()?, &mut characters)?);
    }
    Some(out)
}

fn simple(escape: char, rest: &mut std::str::Chars<'_>) -> Option<char> {
    let mut hex = |count: usize| {
        let digits: String = rest.by_ref().take(count).collect();
        u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32)
    };
    Some(match escape {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'v' => '\u{b}',
        'x' => return hex(2),
        'u' => return hex(4),
        'U' => return hex(8),
        '\\' | '"' | '\'' => escape,
        _ => return None,
    })
}
