//! The template language of `-o go-template` (Go's `text/template`), over JSON trees: lexer, parser, evaluation and the
//! functions that kubectl's templates know.
//!
//! Deliberately absent: everything that needs Go values behind the tree (methods, channels, complex numbers, `call`).

mod exec;
mod format;
mod funcs;
mod lex;
mod parse;

use parse::Node;
use serde_json::Value;
use std::collections::HashMap;

/// Deepest nesting of actions and parentheses, and of templates that call templates.
const MAX_DEPTH: usize = 100;
/// Most that one template prints.
const MAX_OUTPUT: usize = 256 << 20;

/// A parsed template.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    text: String,
    root: Vec<Node>,
    defined: HashMap<String, Vec<Node>>,
    missing_is_error: bool,
}

impl Template {
    /// Parses; fails with Go's words.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let tokens = lex::lex(text)?;
        let (root, defined) = parse::parse(text, tokens)?;
        Ok(Self { text: text.to_owned(), root, defined, missing_is_error: false })
    }

    /// Keys that are not there fail the template instead of printing `<no value>`.
    pub(crate) fn with_missing_as_error(mut self) -> Self {
        self.missing_is_error = true;
        self
    }

    /// The template itself.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Prints a value through the template; fails with Go's words.
    pub(crate) fn render(&self, value: &Value) -> Result<String, String> {
        exec::render(self, value)
    }
}

/// `template: output:LINE`, as errors begin.
fn place(text: &str, at: usize) -> String {
    let line = 1 + text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count();
    format!("template: output:{line}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn data() -> Value {
        json!({"kind": "Foo", "metadata": {"name": "a", "labels": {"x": "1", "b": "2"}}, "spec": {
            "big": 1_000_000, "small": 3, "f": 1.5, "arr": [1, "two", {"a": "b"}], "nil": null, "t": true,
            "huge": 123_456_789_012_i64, "tiny": 0.00001, "m": {"b": 1, "a": ["x"]}, "s": "<a&b>'\"", "empty": ""}})
    }

    fn render(template: &str) -> Result<String, String> {
        Template::parse(template)?.render(&data())
    }

    /// Every expectation was taken from a stock kubectl.
    #[test]
    fn prints_what_go_prints() {
        let rows = [
            (
                "{{.spec.big}} {{.spec.small}} {{.spec.f}} {{.spec.huge}} {{.spec.tiny}}",
                "1000000 3 1.5 123456789012 1e-05",
            ),
            (
                "{{.spec.arr}} {{.spec.m}} {{.spec.nil}} {{.nope}} {{.nope.nope}}",
                "[1 two map[a:b]] map[a:[x] b:1] <no value> <no value> <no value>",
            ),
            ("{{index .spec.arr 1}} {{len .spec.arr}} {{len .metadata.name}}", "two 3 1"),
            (
                "{{range $k,$v := .metadata.labels}}{{$k}}={{$v}};{{end}}{{range $i,$v := .spec.arr}}{{$i}}:{{$v}} {{end}}",
                "b=2;x=1;0:1 1:two 2:map[a:b] ",
            ),
            (
                r#"{{printf "%v %s %d %5.1f %q %T" .spec.f .metadata.name .spec.small .spec.f .metadata.name .spec.small}}"#,
                "1.5 a 3   1.5 \"a\" int64",
            ),
            (
                r#"{{printf "%d %x %t" 5 255 true}} {{print 1 2 "a" "b" 3}} {{println "x" 1}}"#,
                "5 ff true 1 2ab3 x 1\n",
            ),
            (
                "{{html .spec.s}} {{js .spec.s}} {{urlquery .spec.s}}",
                "&lt;a&amp;b&gt;&#39;&#34; \\u003Ca\\u0026b\\u003E\\'\\\" %3Ca%26b%3E%27%22",
            ),
            (
                r#"{{exists .spec "m" "a" 0}} {{exists .spec "q"}} {{"YWJj" | base64decode}}"#,
                "true false abc",
            ),
            (r#"{{range .spec.arr}}{{if eq (printf "%v" .) "two"}}{{break}}{{end}}{{.}},{{end}}"#, "1,"),
            (
                r#"{{slice .metadata.name 0 1}} {{$x := .spec.t}}{{$x}}{{$x = false}}{{$x}} {{ "a" | printf "%s-%s" "b" }}"#,
                "a truefalse b-a",
            ),
            (
                "{{- /* c */ -}}  a  {{- 1 -}}  b {{1.50}} {{1e3}} {{0x10}} {{'a'}} {{`raw`}} {{true}}",
                "a1b 1.5 1000 16 97 raw true",
            ),
            (
                "{{1000000.0}} {{123456789.5}} {{1e20}} {{0.0001}} {{0.00001234}}",
                "1e+06 1.234567895e+08 1e+20 0.0001 1.234e-05",
            ),
            (
                r#"{{printf "%d" "a"}} {{printf "%s" 1}} {{printf "%d"}} {{printf "a" 1}} {{printf "%z" 1}}"#,
                "%!d(string=a) %!s(int=1) %!d(MISSING) a%!(EXTRA int=1) %!z(int=1)",
            ),
            (
                r#"{{printf "%-5s|%05d|%+d|%.2f|%8.3f|%x|%X|%o|%b|%c|%U|%e|%g" "a" 42 3 1.555 2.0 "hi" 255 8 5 65 65 12345.678 0.5}}"#,
                "a    |00042|+3|1.55|   2.000|6869|FF|10|101|A|U+0041|1.234568e+04|0.5",
            ),
            (
                r#"{{with .spec.m}}{{.a}}{{end}}{{define "T"}}[{{.}}]{{end}}{{template "T" .metadata.name}}"#,
                "[x][a]",
            ),
            (
                "{{range .nope}}a{{else}}b{{end}}{{with .nope}}{{else with .spec.m}}m{{end}}{{if .nope}}{{else if .spec.t}}c{{end}}",
                "bmc",
            ),
            (
                r#"{{block "B" .spec.m}}blk{{.b}}{{end}} {{print nil}} {{print .nope .spec.f 1 true "x"}}"#,
                "blk1 <nil> <nil> 1.5 1 truex",
            ),
            (
                r#"{{(len .spec.arr) | printf "%03d"}} {{.spec.arr | len}} {{not 0}} {{and 1 0 2}} {{or 0 "" "z"}}"#,
                "003 3 true 0 z",
            ),
            (
                r#"{{slice .spec.arr 1 2}} {{urlquery "a b/c?"}} {{le 1 1}} {{gt 1.5 1.2}} {{ge "b" "a"}} {{eq "c" "a" "c"}}"#,
                "[two] a+b%2Fc%3F true true true true",
            ),
            (
                "{{(index .spec.arr 2).a}}{{index .spec.m \"zz\"}}{{index .spec \"m\" \"a\" 0}}",
                "b<no value>x",
            ),
        ];
        for (template, expected) in rows {
            assert_eq!(render(template).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn fails_in_gos_words() {
        let rows = [
            ("{{len(.a)}}", "template: output:1: unexpected \"(\" in operand"),
            ("{{foo}}", "template: output:1: function \"foo\" not defined"),
            ("{{.spec", "template: output:1: unclosed action"),
            ("{{ if }}", "template: output:1: missing value for if"),
            ("{{end}}", "template: output:1: unexpected {{end}}"),
            ("{{if .a}}x", "template: output:1: unexpected EOF"),
            ("{{.a-b}}", "template: output:1: bad character U+002D '-'"),
            ("{{$x}}", "template: output:1: undefined variable \"$x\""),
            ("{{\"unterminated}}", "template: output:1: unterminated quoted string"),
            ("{{1a}}", "template: output:1: bad number syntax: \"1a\""),
            (
                "{{.spec.arr.x}}",
                "template: output:1:7: executing \"output\" at <.spec.arr.x>: can't evaluate field x in type interface {}",
            ),
            (
                "{{index .spec.arr 9}}",
                "template: output:1:2: executing \"output\" at <index .spec.arr 9>: error calling index: index out of range: 9",
            ),
            (
                "{{range 3}}{{end}}",
                "template: output:1:8: executing \"output\" at <3>: range can't iterate over 3",
            ),
            ("{{nil}}", "template: output:1:2: executing \"output\" at <nil>: nil is not a command"),
            (
                "{{template \"none\"}}",
                "template: output:1:11: executing \"output\" at <{{template \"none\"}}>: template \"none\" not defined",
            ),
            (
                "{{len 3}}",
                "template: output:1:2: executing \"output\" at <len 3>: error calling len: len of type int",
            ),
            (
                "{{if and .spec.t (eq .spec.small 3.0)}}{{end}}",
                "template: output:1:18: executing \"output\" at <eq .spec.small 3.0>: error calling eq: incompatible types for comparison",
            ),
            (
                "{{\"a\" \"b\"}}",
                "template: output:1:2: executing \"output\" at <\"a\">: can't give argument to non-function \"a\"",
            ),
            (
                "{{.spec.nil.x}}",
                "template: output:1:7: executing \"output\" at <.spec.nil.x>: nil pointer evaluating interface {}.x",
            ),
        ];
        for (template, expected) in rows {
            assert_eq!(render(template), Err(expected.to_owned()), "{template}");
        }
        let strict = Template::parse("{{.nope}}").unwrap().with_missing_as_error();
        let said = strict.render(&data()).unwrap_err();
        assert_eq!(
            said,
            "template: output:1:2: executing \"output\" at <.nope>: map has no entry for key \"nope\""
        );
    }

    #[test]
    fn work_is_bounded() {
        assert!(Template::parse("{{((1))}}").is_ok());
        assert!(Template::parse(&format!("{{{{{}1{}}}}}", "(".repeat(5000), ")".repeat(5000))).is_err());
        assert!(Template::parse(&format!("{}{}", "{{if 1}}".repeat(5000), "{{end}}".repeat(5000))).is_err());
        assert!(
            render("{{define \"A\"}}{{template \"A\"}}{{end}}{{template \"A\"}}")
                .unwrap_err()
                .contains("exceeded maximum template depth")
        );
    }
}
