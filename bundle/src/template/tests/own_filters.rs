//! Our filters answer as Liquid's own do wherever those answer, and fail where
//! those would panic, wrap around or cut off.

use super::*;
use liquid::Parser;
use liquid::model::Value;

/// With every filter as Liquid has it.
fn stock() -> Parser {
    liquid::ParserBuilder::with_stdlib().build().unwrap()
}

/// What a template makes of `a` and `b`; `None` where it fails.
fn with_values(parser: &Parser, template: &str, a: &Value, b: &Value) -> Option<String> {
    let mut globals = Object::new();
    globals.insert("a".into(), a.clone());
    globals.insert("b".into(), b.clone());
    let template = parser.parse(template).ok()?;
    template.render(&globals).ok()
}

fn ours() -> Parser {
    liquid_bounds::parser().unwrap()
}

/// A template of `filter`, and one that tells whole numbers from others.
fn uses(filter: &str) -> [String; 2] {
    [
        format!("{{{{ a | {filter} }}}}"),
        format!("{{{{ a | {filter} | divided_by: 7 }}}}"),
    ]
}

const ARITHMETIC: [&str; 15] = [
    "plus: b",
    "minus: b",
    "times: b",
    "divided_by: b",
    "modulo: b",
    "abs",
    "ceil",
    "floor",
    "round",
    "round: 1",
    "round: 12",
    "plus",
    "abs: b",
    "round: b, b",
    "times: b, x: 1",
];

/// Numbers as they are and as texts, and what is none.
fn ordinary() -> impl Strategy<Value = Value> {
    let whole = -1000_i64..1000;
    let float = (-1000_i32..1000).prop_map(|n| f64::from(n) / 8.0);
    prop_oneof![
        whole.clone().prop_map(Value::scalar),
        whole.prop_map(|number| Value::scalar(number.to_string())),
        float.clone().prop_map(Value::scalar),
        float.prop_map(|number| Value::scalar(number.to_string())),
        Just(Value::scalar(0_i64)),
        Just(Value::scalar("0.0")),
        Just(Value::scalar("three")),
        Just(Value::scalar(true)),
        Just(Value::Nil),
        Just(Value::array([Value::scalar(1_i64)])),
    ]
}

fn list() -> impl Strategy<Value = Value> {
    proptest::collection::vec("[a-cA-C]{0,2}", 0..40)
        .prop_map(|texts| Value::array(texts.into_iter().map(Value::scalar)))
}

proptest! {
    #[test]
    fn arithmetic_is_as_in_liquid(a in ordinary(), b in ordinary()) {
        let (ours, stock) = (ours(), stock());
        for template in ARITHMETIC.iter().flat_map(|filter| uses(filter)) {
            prop_assert_eq!(
                with_values(&ours, &template, &a, &b),
                with_values(&stock, &template, &a, &b),
                "{}", template
            );
        }
    }

    #[test]
    fn slices_are_as_in_liquid(
        text in "[a-z]{0,12}", list in list(), offset in -15_i64..15, length in -2_i64..15,
    ) {
        let (ours, stock) = (ours(), stock());
        for of in [Value::scalar(text), list, Value::Nil, Value::scalar(12345_i64)] {
            for template in [
                "{{ a | slice: b }}".to_owned(),
                format!("{{{{ a | slice: b, {length} }}}}"),
                format!("{{{{ a | slice: {offset}, b | join: '|' }}}}"),
                "{{ a | slice }}".to_owned(),
                "{{ a | slice: 1.5 }}".to_owned(),
            ] {
                prop_assert_eq!(
                    with_values(&ours, &template, &of, &Value::scalar(offset)),
                    with_values(&stock, &template, &of, &Value::scalar(offset)),
                    "{}", template
                );
            }
        }
    }

    #[test]
    fn a_sorted_list_is_as_in_liquid(
        texts in list(), numbers in proptest::collection::vec(-9_i32..9, 0..40),
    ) {
        let (ours, stock) = (ours(), stock());
        let wholes = numbers.iter().map(|n| Value::scalar(i64::from(*n)));
        let floats = numbers.iter().map(|n| Value::scalar(f64::from(*n) / 4.0));
        let gaps = numbers.iter().map(|n| match n {
            0 => Value::Nil,
            n => Value::scalar(i64::from(*n)),
        });
        for list in [texts, Value::array(wholes), Value::array(floats), Value::array(gaps)] {
            for template in ["{{ a | sort | join: '|' }}", "{{ a | sort: 'x' | join }}", "{{ 7 | sort }}"] {
                prop_assert_eq!(
                    with_values(&ours, template, &list, &Value::Nil),
                    with_values(&stock, template, &list, &Value::Nil),
                    "{}", template
                );
            }
        }
    }

    #[test]
    fn the_order_of_any_list_is_one(
        mixed in proptest::collection::vec((any::<bool>(), -9_i32..9), 0..64),
    ) {
        let of = |(is_text, n): &(bool, i32)| match is_text {
            true => Value::scalar(n.to_string()),
            false => Value::scalar(f64::from(*n) / 4.0),
        };
        let list = Value::array(mixed.iter().map(of));
        let turned = Value::array(mixed.iter().rev().map(of));
        let sorted = |list| with_values(&ours(), "{{ a | sort | join: '|' }}", list, &Value::Nil);
        let first = sorted(&list);
        prop_assert!(first.is_some());
        prop_assert_eq!(first, sorted(&turned));
    }

    #[test]
    fn no_number_makes_a_filter_panic(a in any::<i64>(), b in any::<i64>(), c in any::<f64>()) {
        let ours = ours();
        let extremes = [a, b, 0, -1, i64::MIN, i64::MAX].map(Value::scalar);
        let values = [extremes.as_slice(), &[Value::scalar(c), Value::scalar("é€𝄞")]].concat();
        let cuts = ["round: b", "slice: b", "slice: b, b", "slice: 1, b", "truncate: b", "truncatewords: b"];
        for filter in ARITHMETIC.iter().chain(&cuts) {
            for (a, b) in values.iter().flat_map(|a| values.iter().map(move |b| (a, b))) {
                with_values(&ours, &format!("{{{{ a | {filter} }}}}"), a, b);
            }
        }
    }
}

#[test]
fn refuses_a_result_that_no_number_holds() {
    for template in [
        "{{ 9223372036854775807 | plus: 1 }}",
        "{{ -9223372036854775808 | plus: -1 }}",
        "{{ -9223372036854775808 | minus: 1 }}",
        "{{ 9223372036854775807 | minus: -1 }}",
        "{{ 9223372036854775807 | times: 2 }}",
        "{{ -9223372036854775808 | times: -1 }}",
        "{{ -9223372036854775808 | divided_by: -1 }}",
        "{{ -9223372036854775808 | modulo: -1 }}",
        "{{ -9223372036854775808 | abs }}",
        "{{ '-9223372036854775808' | abs }}",
        "{{ 9223372036854775808.0 | ceil }}",
        "{{ '1e300' | floor }}",
        "{{ '-1e300' | round }}",
        "{{ 'inf' | round }}",
        "{{ 'nan' | ceil }}",
        "{{ '1e300' | times: '1e300' }}",
        "{{ 'nan' | plus: 1 }}",
        "{{ 'inf' | abs }}",
        "{{ 1.5 | round: 400 }}",
        "{{ 1.5 | round: 9223372036854775807 }}",
        "{{ 1 | divided_by: 0 }}",
        "{{ 1.5 | modulo: 0.0 }}",
    ] {
        assert_eq!(
            with_values(&ours(), template, &Value::Nil, &Value::Nil),
            None,
            "{template}"
        );
    }
}

#[test]
fn takes_the_largest_results_that_a_number_holds() {
    for (template, result) in [
        ("{{ 9223372036854775806 | plus: 1 }}", "9223372036854775807"),
        (
            "{{ -9223372036854775807 | minus: 1 }}",
            "-9223372036854775808",
        ),
        ("{{ -9223372036854775807 | abs }}", "9223372036854775807"),
        (
            "{{ -9223372036854775808 | divided_by: 1 }}",
            "-9223372036854775808",
        ),
        (
            "{{ -9223372036854775808.0 | ceil }}",
            "-9223372036854775808",
        ),
        // Not by way of a fraction, which has 53 bits.
        ("{{ 9007199254740993 | round }}", "9007199254740993"),
        ("{{ 1.5 | round: -9223372036854775808 }}", "2"),
    ] {
        assert_eq!(rendered(template), result, "{template}");
    }
}

#[test]
fn a_slice_may_be_asked_for_more_than_there_is() {
    for (template, result) in [
        ("{{ 'abcdef' | slice: 5, 9223372036854775807 }}", "f"),
        ("{{ 'abcdef' | slice: -9223372036854775808, 1 }}", ""),
        (
            "{{ 'abcdef' | slice: 9223372036854775807, 9223372036854775807 }}",
            "",
        ),
        ("{{ 'abcdef' | slice: -2, 9223372036854775807 }}", "ef"),
        (
            "{{ 'a,b' | split: ',' | slice: -9223372036854775808, 9223372036854775807 | join }}",
            "",
        ),
    ] {
        assert_eq!(rendered(template), result, "{template}");
    }
}

#[test]
fn a_slice_counts_characters_from_either_end() {
    assert_eq!(rendered("{{ 'äöü' | slice: 1 }}"), "ö");
    assert_eq!(rendered("{{ 'äöü' | slice: -1 }}"), "ü");
}

/// Liquid's own comparison calls a number equal to every text, which is no
/// order at all.
#[test]
fn a_list_of_numbers_and_texts_has_an_order() {
    let list = "{% assign n = 10 | sort %}{% assign m = 9 | sort %}\
                {% assign f = 9.5 | sort %}{% assign t = 'b,a,10' | split: ',' %}\
                {{ t | concat: n | concat: f | concat: m | sort | join: ' ' }}";
    assert_eq!(rendered(list), "9 9.5 10 10 a b");
}

#[test]
fn times_at_the_edges_of_the_calendar_are_dates_or_stay_as_they_are() {
    let format = "%Y %C %y %m %d %e %w %u %U %W %G %g %V %j %H %I %l %M %S %s %b %B %a %A %p %P \
                  %F %v %R %D %T %r %c %L %N %z %:z %::z %Z";
    for seconds in [
        i64::MIN,
        -377_705_116_801,
        -377_705_116_800,
        -377_673_580_801,
        0,
        253_402_300_799,
        253_402_300_800,
        i64::MAX,
    ] {
        let text = rendered(&format!("{{{{ {seconds} | date: '{format}' }}}}"));
        assert!(!text.is_empty(), "{seconds}");
    }
}
