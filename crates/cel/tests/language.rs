//! Expressions in, values and messages out: the language as its users write it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what is wrong by failing")]

use cel::{Budget, Env, EvalError, FieldTable, Type, Val};
use serde_json::{Value, json};

fn env() -> Env {
    let item =
        FieldTable::object("item", [("name".to_owned(), Type::STRING), ("port".to_owned(), Type::Int)]);
    let spec = FieldTable::object(
        "spec",
        [
            ("replicas".to_owned(), Type::Int),
            ("weight".to_owned(), Type::Double),
            ("name".to_owned(), Type::STRING),
            ("started".to_owned(), Type::Timestamp),
            ("wait".to_owned(), Type::Duration),
            ("dash-ed".to_owned(), Type::STRING),
            ("namespace".to_owned(), Type::STRING),
            ("port".to_owned(), Type::IntOrString),
            ("items".to_owned(), Type::list(item)),
            ("labels".to_owned(), Type::map(Type::STRING, Type::STRING)),
        ],
    );
    Env::new().var("self", spec).var("any", Type::Dyn).var("variables.double", Type::Int)
}

fn object() -> Value {
    json!({"replicas": 3, "weight": 2, "name": "höhe", "started": "2024-02-29T10:00:00Z", "wait": "90s",
        "dash-ed": "d", "namespace": "n", "port": "http",
        "items": [{"name": "a", "port": 1}, {"name": "b", "port": 2}], "labels": {"app": "x", "tier": "y"}})
}

fn run(expression: &str) -> Result<Value, String> {
    let program = env().compile(expression).map_err(|error| error.issues[0].message.clone())?;
    let any = json!({"n": 5, "list": [1, 2.5, "x"], "deep": {"er": [{"k": "v"}]}, "nil": null});
    let object = object();
    let ty = env_type();
    let variables =
        [("self", Val::json(&object, &ty)), ("any", Val::untyped(&any)), ("variables.double", Val::Int(6))];
    let value = program.evaluate(&variables, &mut Budget::default()).map_err(|error| error.to_string())?;
    match value {
        Val::Type(name) => Ok(json!(format!("type {name}"))),
        value => value.to_json(&mut 10_000).map_err(|error| error.to_string()),
    }
}

/// The type of `self`, as the environment declares it.
fn env_type() -> Type {
    env().compile("self").unwrap().result_type().clone()
}

#[test]
fn values() {
    let rows = [
        ("1 + 2 * 3 - 4 / 2 % 3", json!(5)),
        ("-5 / 2", json!(-2)),
        ("(1 < 2) == true && !false", json!(true)),
        ("1.5e3 + 0.5", json!(1500.5)),
        ("0x1F", json!(31)),
        ("7u / 2u", json!(3)),
        ("-9223372036854775808", json!(i64::MIN)),
        (r#""a" + 'b' + r'\c' + """d"e""""#, json!("ab\\cd\"e")),
        (r#""\u00e9\x41\101\n""#, json!("éAA\n")),
        ("b'abc' == bytes('abc')", json!(true)),
        ("1 == 1 || 1 / 0 > 2", json!(true)),
        ("1 / 0 > 2 || true", json!(true)),
        ("false && 1 / 0 > 2", json!(false)),
        ("true ? 'y' : 'n'", json!("y")),
        ("2 in [1, 2, 3]", json!(true)),
        ("'a' in {'a': 1}", json!(true)),
        ("{'a': {'b': [1, 2]}}.a.b[1]", json!(2)),
        ("1 < 2.5 && 3u > 2", json!(true)),
        ("dyn(1) == dyn(1.0)", json!(true)),
        ("size('höhe') == 4 && [1].size() == 1", json!(true)),
        ("self.replicas * 2", json!(6)),
        ("self.weight + 0.5", json!(2.5)),
        ("self.dash__dash__ed + self.__namespace__", json!("dn")),
        ("type(self.port) == string && self.port == 'http'", json!(true)),
        ("self.started.getFullYear() + self.started.getDate()", json!(2053)),
        ("self.started.getHours('America/New_York')", json!(5)),
        ("self.wait == duration('1m30s') && self.wait.getMinutes() == 1", json!(true)),
        ("string(self.started + duration('1h'))", json!("2024-02-29T11:00:00Z")),
        ("self.labels.app + self.labels['tier']", json!("xy")),
        ("has(self.labels.nope) || has(self.name)", json!(true)),
        ("has(any.deep.er) && !has(any.deep.no)", json!(true)),
        ("any.nil == null", json!(true)),
        ("variables.double + 1", json!(7)),
        ("type(1)", json!("type int")),
        ("int('42') + int(3.9) + int(2u)", json!(47)),
        ("string(1.0) + string(true) + string(1e30)", json!("1true1e+30")),
    ];
    for (expression, expected) in rows {
        assert_eq!(run(expression), Ok(expected), "{expression}");
    }
}

#[test]
fn macros() {
    let rows = [
        ("self.items.all(i, i.port > 0)", json!(true)),
        ("self.items.exists(i, i.name == 'b')", json!(true)),
        ("self.items.exists_one(i, i.port == 2)", json!(true)),
        ("self.items.map(i, i.name)", json!(["a", "b"])),
        ("self.items.map(i, i.port > 1, i.name)", json!(["b"])),
        ("self.items.filter(i, i.port > 1).map(i, i.port)", json!([2])),
        ("self.labels.all(k, k != '')", json!(true)),
        ("self.labels.all(k, v, k != v)", json!(true)),
        ("[3, 4].exists(i, v, i == 1 && v == 4)", json!(true)),
        ("[3, 4].transformList(i, v, i + v)", json!([3, 5])),
        ("[3, 4].transformList(i, v, i > 0, v)", json!([4])),
        ("{'a': 1}.transformMap(k, v, v + 1)", json!({"a": 2})),
        ("['a'].transformMapEntry(i, v, {v: i})", json!({"a": 0})),
        ("[1, 2].all(x, [3].all(y, y > x))", json!(true)),
        ("[2, 0].exists(x, 4 / x == 2)", json!(true)),
        ("[0, 2].exists(x, 4 / x == 2)", json!(true)),
        ("cel.bind(x, self.replicas + 1, x * x)", json!(16)),
        ("[3, 1, 2].sortBy(x, -x)", json!([3, 2, 1])),
        ("optional.of(1).optMap(x, x + 1).orValue(0)", json!(2)),
        ("optional.none().orValue(5)", json!(5)),
        ("any.?deep.?er[?0].?k.orValue('none')", json!("v")),
        ("any.?missing.?er.orValue('none')", json!("none")),
        ("any.?missing.hasValue()", json!(false)),
        ("{?'a': any.?missing, 'b': 1}", json!({"b": 1})),
        ("[?optional.of(1), ?optional.none()]", json!([1])),
        ("optional.of('').optFlatMap(x, optional.ofNonZeroValue(x)).hasValue()", json!(false)),
    ];
    for (expression, expected) in rows {
        assert_eq!(run(expression), Ok(expected), "{expression}");
    }
}

#[test]
fn libraries() {
    let rows = [
        ("[1, 2, 3].isSorted() && ['b', 'a'].isSorted() == false", json!(true)),
        ("[1, 3, 2].max() - [1, 3].min() + [1, 2].sum()", json!(5)),
        ("['a', 'b', 'a'].lastIndexOf('a') + ['a'].indexOf('z')", json!(1)),
        ("'a1b22'.find('[0-9]+') + 'a1b22'.findAll('[0-9]+')[1]", json!("122")),
        ("'abc'.matches('^[a-c]+$')", json!(true)),
        ("'a,b,c'.split(',', 2).join('-')", json!("a-b,c")),
        ("'  Ab '.trim().lowerAscii().upperAscii()", json!("AB")),
        ("'tacocat'.substring(0, 4) + 'tacocat'.charAt(4)", json!("tacoc")),
        ("'hello'.replace('l', 'L', 1)", json!("heLlo")),
        ("'tacocat'.indexOf('ac', 2) + 'tacocat'.lastIndexOf('a')", json!(4)),
        (
            "'%d %s %.2f %x %b'.format([dyn(1), dyn('a'), dyn(2.5), dyn(255), dyn(5)])",
            json!("1 a 2.50 ff 101"),
        ),
        ("'%s'.format([[dyn(1), dyn('x'), dyn({'k': true})]])", json!("[1, x, {k: true}]")),
        ("strings.quote('a\"b')", json!("\"a\\\"b\"")),
        ("url('https://u@ex.com:80/p a?x=1&x=2').getHost()", json!("ex.com:80")),
        ("url('https://ex.com/p a?x=1&x=2').getQuery()['x']", json!(["1", "2"])),
        ("url('https://[::1]:80/p a').getHostname() + url('/p a').getEscapedPath()", json!("::1/p%20a")),
        ("isURL('../x') || isURL(':')", json!(false)),
        ("ip('10.0.0.1').family() + ip('::1').family()", json!(10)),
        (
            "cidr('10.0.0.0/8').containsIP('10.9.9.9') && !cidr('10.0.0.0/8').containsIP(ip('11.0.0.1'))",
            json!(true),
        ),
        ("string(cidr('10.1.2.3/8').masked()) + string(ip('::0'))", json!("10.0.0.0/8::")),
        ("cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16')", json!(true)),
        ("isIP('1.2.3') || isCIDR('1.2.3.4/33') || isIP('::ffff:1.2.3.4')", json!(false)),
        ("ip.isCanonical('::0')", json!(false)),
        ("quantity('1.5Gi').isGreaterThan(quantity('1Gi'))", json!(true)),
        ("quantity('50k').add(quantity('20k')).sub(1000).asInteger()", json!(69000)),
        ("quantity('100m').isInteger() || quantity('1').compareTo(quantity('2')) != -1", json!(false)),
        ("semver('1.2.3').isLessThan(semver('1.10.0')) && isSemver('v1.2', true)", json!(true)),
        ("isSemver('1.2') || semver('1.0.0-rc.1').isGreaterThan(semver('1.0.0'))", json!(false)),
        ("format.dns1123Label().validate('ok').hasValue()", json!(false)),
        ("format.named('dns1123Label').value().validate('No').value()[0] != ''", json!(true)),
        (
            "sets.contains([1, 2], [2]) && sets.equivalent([1, 1], [1]) && !sets.intersects([1], [2])",
            json!(true),
        ),
        ("string(base64.decode(base64.encode(b'hi')))", json!("hi")),
        ("jsonpatch.escapeKey('a/b~c')", json!("a~1b~0c")),
        ("[[1], [2, 3]].flatten()", json!([1, 2, 3])),
        (
            "lists.range(3).reverse() + [9, 8].sort() + [1, 1].distinct() + [5, 6, 7].slice(1, 2)",
            json!([2, 1, 0, 8, 9, 1, 6]),
        ),
    ];
    for (expression, expected) in rows {
        assert_eq!(run(expression), Ok(expected), "{expression}");
    }
}

#[test]
fn evaluation_errors() {
    let rows = [
        ("self.labels.nope == 'x'", "no such key: nope"),
        ("any.deep.no", "no such key: no"),
        ("[1][2]", "index out of bounds: 2"),
        ("1 / 0", "division by zero"),
        ("1 % 0", "modulus by zero"),
        ("9223372036854775807 + 1", "return error for overflow"),
        ("any.n + 'x'", "no such overload"),
        ("int('x')", "strconv.ParseInt: parsing \"x\": invalid syntax"),
        ("optional.none().value()", "optional.none() dereference"),
        ("[1, 2].all(x, x / 0 > 1)", "division by zero"),
    ];
    for (expression, expected) in rows {
        assert_eq!(run(expression), Err(expected.to_owned()), "{expression}");
    }
}

#[test]
fn compile_errors() {
    let rows = [
        ("nope + 1", "undeclared reference to 'nope' (in container '')"),
        ("self.nope", "undefined field 'nope'"),
        ("self.replicas == 'x'", "found no matching overload for '_==_' applied to '(int, string)'"),
        ("self.name.foo()", "undeclared reference to 'foo' (in container '')"),
        ("self.name.startsWith(1)", "found no matching overload for 'startsWith' applied to 'string.(int)'"),
        ("1 + 'a'", "found no matching overload for '_+_' applied to '(int, string)'"),
        ("[1, 'a']", "expected type 'int' but found 'string'"),
        ("self.replicas.x", "type 'int' does not support field selection"),
        ("self.items.all(i, i.port)", "found no matching overload for '_&&_' applied to '(bool, int)'"),
        (
            "self.replicas.all(i, true)",
            "expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)",
        ),
        ("self.items[0].nope", "undefined field 'nope'"),
        ("has(self)", "invalid argument to has() macro"),
        ("Foo{a: 1}", "undeclared reference to 'Foo' (in container '')"),
    ];
    for (expression, expected) in rows {
        assert_eq!(run(expression), Err(expected.to_owned()), "{expression}");
    }
    let error = env().compile("true &&\n  self.nöpe").unwrap_err().to_string();
    assert!(error.starts_with("ERROR: <input>:2:"), "{error}");
    let error = env().compile("self.nope").unwrap_err().to_string();
    assert_eq!(error, "ERROR: <input>:1:5: undefined field 'nope'\n | self.nope\n | ....^");
    for broken in [
        "",
        "1 +",
        "(1",
        "'abc",
        "a.b.",
        "1 2",
        "{1:}",
        "\"\\q\"",
        "for",
        "99999999999999999999",
        "@",
        "'a'.matches('(')",
    ] {
        assert!(env().compile(broken).is_err(), "{broken}");
    }
}

#[test]
fn estimates_follow_declared_sizes() {
    let bounded = |max| {
        Type::List(std::sync::Arc::new(cel::ListType {
            element: Type::String(Some(40)),
            max,
            kind: cel::ListKind::Atomic,
        }))
    };
    let estimate = |max, expression: &str| {
        Env::new().var("self", bounded(max)).compile(expression).unwrap().estimate().max
    };
    assert_eq!(estimate(Some(10), "self.size() > 3"), 3);
    // For each item: 3 of `all`, 1 for the variable, 4 for the comparison of at most 3 code points.
    assert_eq!(estimate(Some(10), "self.all(x, x == 'abc')"), 1 + 1 + 10 * (3 + 1 + 1));
    let nested = "self.all(x, self.all(y, x == y))";
    assert!(estimate(Some(100), nested) < 1_000_000);
    assert!(estimate(None, nested) > 10_000_000);
    assert_eq!(estimate(None, "self.all(x, x == 'abc')"), u64::MAX);
}

#[test]
fn budgets_end_evaluations() {
    let program = env().compile("lists.range(100000).all(x, x >= 0)").unwrap();
    let variables: [(&str, Val<'_>); 0] = [];
    let mut budget = Budget { per_call: 1000, remaining: 10_000 };
    let found = program.evaluate(&variables, &mut budget);
    assert_eq!(found.unwrap_err(), EvalError::CostExceeded);
    assert!(budget.remaining < 9_001);
    let mut budget = Budget { per_call: 1000, remaining: 10 };
    assert_eq!(program.evaluate(&variables, &mut budget).unwrap_err(), EvalError::BudgetExceeded);
    assert!(budget.is_spent());
}

#[test]
fn hostile_expressions_are_refused_or_bounded() {
    let deep = |open: &str, close: &str, n: usize| format!("{}1{}", open.repeat(n), close.repeat(n));
    for hostile in [
        deep("(", ")", 5000),
        deep("[", "]", 5000),
        "!".repeat(50_000) + "true",
        format!("1{}", "+1".repeat(5000)),
        format!("any{}", ".a".repeat(5000)),
        "a".repeat(200_000),
        deep("[1].map(x, ", ")", 3000),
    ] {
        let _ = env().compile(&hostile);
    }
    assert!(env().compile(&deep("(", ")", 5000)).unwrap_err().to_string().contains("recursion limit"));
    assert!(env().compile(&deep("(", ")", 150)).is_ok());
    assert!(env().compile(&format!("1{}", "+1".repeat(150))).is_ok());
    // Doubling lists cost little by upstream's count, and much memory if nobody counted.
    let mut doubling = "x0.size() > 0".to_owned();
    for at in 0..60 {
        let before = format!("x{}", at + 1);
        doubling = format!("cel.bind(x{at}, {before} + {before}, {doubling})");
    }
    let doubling = format!("cel.bind(x60, [1, 2], {doubling})");
    assert_eq!(run(&doubling), Err("operation cancelled: actual cost limit exceeded".to_owned()));
}
