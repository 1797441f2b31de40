use super::*;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

#[test]
fn selects() {
    let web = labels(&[("app", "web"), ("tier", "front"), ("n", "5")]);
    let rows = [
        ("", true),
        ("app=web", true),
        ("app==web", true),
        ("app = web , tier=front", true),
        ("app!=web", false),
        ("other!=web", true),
        ("app in (api, web)", true),
        ("app notin (api,web)", false),
        ("other notin (a)", true),
        ("app", true),
        ("!app", false),
        ("!other", true),
        ("other in (,a)", false),
        ("app=", false),
        ("n>4", true),
        ("n>5", false),
        ("n<6,app", true),
        ("in in (in)", false),
    ];
    for (text, expected) in rows {
        let selector = Selector::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(selector.matches(&web), expected, "{text}");
    }
    assert!(!Selector::nothing().matches(&web));
}

#[test]
fn prints_sorted() {
    let rows = [
        ("z=1, a in (c,b,b)", "a in (b,c),z=1"),
        ("!b,a notin (,)", "a notin (),!b"),
        ("x==1", "x==1"),
        ("x>1,y<2", "x>1,y<2"),
        ("x=", "x="),
    ];
    for (text, expected) in rows {
        assert_eq!(Selector::parse(text).unwrap().to_string(), expected, "{text}");
    }
}

#[test]
fn errors_read_as_upstream_prints_them() {
    let rows = [
        ("a,", "found '', expected: identifier after ','"),
        ("=a", "found '=', expected: !, identifier, or 'end of string'"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        (
            "a in ()",
            "unable to parse requirement: values: Invalid value: []: for 'in', 'notin' operators, values set can't \
             be empty",
        ),
        (
            "a>x",
            "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer",
        ),
        ("!=a", "found '!=', expected: !, identifier, or 'end of string'"),
        (
            "a=b%",
            "unable to parse requirement: values[0][a]: Invalid value: \"b%\": a valid label must be an empty string or \
             consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character \
             (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is \
             '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
        ),
        (
            "a%",
            "unable to parse requirement: <nil>: Invalid value: \"a%\": name part must consist of alphanumeric \
             characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or \
             'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
        ),
    ];
    for (text, expected) in rows {
        assert_eq!(Selector::parse(text).unwrap_err(), expected, "{text}");
    }
}

#[test]
fn converts_label_selectors() {
    let match_labels = labels(&[("app", "web")]);
    let values = vec!["a".to_owned(), "b".to_owned()];
    let selector = Selector::from_parts(&match_labels, [("tier", "In", &values)]).unwrap();
    assert_eq!(selector.to_string(), "app=web,tier in (a,b)");
    let error = Selector::from_parts(&match_labels, [("tier", "Is", &values)]).unwrap_err();
    assert_eq!(error, "\"Is\" is not a valid label selector operator");
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn printing_and_parsing_agree(
            rows in proptest::collection::vec(("[a-z]{1,4}", 0..9usize, "[a-z0-9]{0,3}", "[a-z0-9]{1,3}"), 0..5)
        ) {
            let requirements: Vec<_> = rows.into_iter().map(|(key, operator, a, b)| {
                let (operator, values) = match operator {
                    0 => (Operator::Equals, vec![a]),
                    1 => (Operator::DoubleEquals, vec![a]),
                    2 => (Operator::NotEquals, vec![a]),
                    3 => (Operator::In, vec![a, b]),
                    4 => (Operator::NotIn, vec![a, b]),
                    5 => (Operator::Exists, vec![]),
                    6 => (Operator::DoesNotExist, vec![]),
                    7 => (Operator::GreaterThan, vec!["7".to_owned()]),
                    _ => (Operator::LessThan, vec!["7".to_owned()]),
                };
                Requirement::new(&key, operator, values).unwrap()
            }).collect();
            let selector = Selector::new(requirements);
            prop_assert_eq!(Selector::parse(&selector.to_string()).unwrap(), selector);
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "[ a-c=!,()<>in]{0,20}|\\PC{0,20}") {
            let _ = Selector::parse(&text);
        }
    }
}
