//! What would make Liquid panic, or a time freeze, is refused.

use super::*;
use crate::template::liquid_limits::{MAX_LOCALS, MAX_NESTING};

/// Templates that hold a number, one for each place where Liquid reads one.
fn with_number(number: &str) -> [String; 6] {
    [
        format!("{{{{ timestamp | plus: {number} }}}}"),
        format!("{{{{ {number} | plus: 1 }}}}"),
        format!("{{% if timestamp > {number} %}}{{% endif %}}"),
        format!("{{{{if timestamp == {number}}}}}{{{{endif}}}}"),
        format!("{{% case timestamp %}}{{% when 1, {number} %}}{{% endcase %}}"),
        format!("{{% assign x = environment | split: '' %}}{{{{ x[{number}] | size }}}}"),
    ]
}

#[test]
fn refuses_a_whole_number_of_more_than_64_bits_and_names_it() {
    for number in [
        "99999999999999999999",
        "9223372036854775808",
        "-9223372036854775809",
    ] {
        for template in with_number(number) {
            let error = error(&template);
            assert_eq!(error, TemplateError::Number(number.into()), "{template}");
            assert!(error.to_string().contains(number), "{error}");
        }
    }
}

#[test]
fn takes_the_smallest_and_the_largest_whole_number() {
    for number in [i64::MIN, -1, 0, i64::MAX] {
        for template in with_number(&number.to_string()) {
            assert!(Template::parse(&template).is_ok(), "{template}");
        }
    }
}

#[test]
fn a_number_with_a_fraction_must_be_finite() {
    assert_eq!(rendered("{{ 99999999999999999999.5 | at_most: 2 }}"), "2");
    let long = "9".repeat(400);
    let shown = format!("{}...", "9".repeat(32));
    assert_eq!(
        error(&format!("{{{{ {long}.5 | ceil }}}}")),
        TemplateError::Number(shown)
    );
}

#[test]
fn refuses_numbers_of_ranges() {
    for range in ["(1..99999999999999999999)", "(99999999999999999999..1)"] {
        let template = format!("{{% if {range} %}}{{% endif %}}");
        assert!(
            matches!(error(&template), TemplateError::Number(_)),
            "{template}"
        );
    }
}

#[test]
fn digits_in_texts_and_names_are_no_numbers() {
    let digits = "9".repeat(40);
    assert_eq!(
        rendered(&format!("{{{{ '{digits}' | upcase }}}}")),
        digits.as_str()
    );
    assert_eq!(
        rendered(&format!("{{{{ var:a{digits} | upcase }}}}")),
        format!("<A{digits}>")
    );
    assert_eq!(
        rendered(&format!("{digits}{{{{ 'a' | upcase }}}}")),
        format!("{digits}A")
    );
}

#[test]
fn a_mistake_that_would_be_valid_without_what_precedes_it_is_refused() {
    for template in [
        "{{ 'a\n{{ \"' }} {{ @ \" }}",
        "ééééééé{{ \"x\" | upcase }} {{ @ \" }}",
        "{{ 'a\n{% if \"' }}{% if @ \" %}{% endif %}",
    ] {
        assert_eq!(error(template), TemplateError::Liquid, "{template}");
    }
}

fn nested_blocks(depth: usize) -> String {
    let open = "{%if environment%}".repeat(depth);
    let close = "{%endif%}".repeat(depth);
    format!("{open}x{close}")
}

fn alternatives(count: usize) -> String {
    let more = "{%elsif environment%}".repeat(count);
    format!("{{%if false%}}{more}x{{%endif%}}")
}

fn nested_indexes(depth: usize) -> String {
    let open = "a[".repeat(depth);
    let close = "]".repeat(depth);
    format!("{{% assign a = 'x' | split: '' %}}{{% if {open}0{close} %}}{{% endif %}}")
}

#[test]
fn takes_the_deepest_nesting_and_refuses_the_next() {
    assert_eq!(rendered(&nested_blocks(MAX_NESTING)), "x");
    assert!(Template::parse(&alternatives(MAX_NESTING - 1)).is_ok());
    assert!(Template::parse(&nested_indexes(MAX_NESTING)).is_ok());
    for template in [
        nested_blocks(MAX_NESTING + 1),
        nested_blocks(MAX_TEMPLATE_BYTES / 32),
        alternatives(MAX_NESTING),
        nested_indexes(MAX_NESTING + 1),
        format!("{{{{ {} | size }}}}", "[".repeat(4096)),
    ] {
        assert_eq!(error(&template), TemplateError::TooDeep, "{template}");
    }
}

#[test]
fn blocks_that_follow_each_other_are_not_nested() {
    assert_eq!(rendered(&nested_blocks(1).repeat(200)), "x".repeat(200));
}

#[test]
fn a_long_condition_does_not_exhaust_the_stack() {
    let conditions = "0 or ".repeat(1600);
    let template = format!("{{% if {conditions}0 %}}x{{% endif %}}");
    assert_eq!(rendered(&template), "x");
}

/// Renders, or fails as a request would.
fn tried(template: &str) -> Option<String> {
    let Template::Liquid(liquid) = Template::parse(template).expect(template) else {
        panic!("{template} needs Liquid");
    };
    let mut globals = Object::new();
    for (name, _) in &liquid.bindings {
        globals.insert(name.clone().into(), Value::scalar("0123456789abcdef"));
    }
    let mut out = BoundedText::default();
    liquid.template.render_to(&mut out, &globals).ok()?;
    out.into_text()
}

#[test]
fn a_text_that_doubles_ends_at_the_largest_value() {
    let doubled = |times: usize, step: &str| format!("{{% assign a='x' %}}{}", step.repeat(times));
    for step in [
        "{% assign a = a | append: a | append: a | append: a %}",
        "{% assign a = a | prepend: a %}",
        "{% capture a %}{{a}}{{a}}{{a}}{{a}}{% endcapture %}",
        "{% assign a = a | replace: 'x', 'xxxx' %}",
        "{% assign a = a | replace: '', a %}",
        "{% assign a = a | split: '' | join: a %}",
        "{% assign b = a | split: '' %}{% assign a = b | concat: b | join: 'x' %}",
    ] {
        assert!(tried(&doubled(2, step)).is_some(), "{step}");
        assert_eq!(tried(&doubled(28, step)), None, "{step}");
    }
    let lists = "{% assign b = b | concat: b %}".repeat(40);
    assert_eq!(
        tried(&format!("{{% assign b = 'x' | split: '' %}}{lists}")),
        None
    );
    assert_eq!(
        tried(&format!(
            "{{{{ request_id {} }}}}",
            "| replace: '', 'aaaaaaaa'".repeat(12)
        )),
        None
    );
}

#[test]
fn the_largest_value_is_taken() {
    // 2^16 characters, made of one.
    let doublings = "{% assign a = a | append: a %}".repeat(16);
    let largest = tried(&format!("{{% assign a='x' %}}{doublings}{{{{ a }}}}"));
    assert_eq!(largest.map(|text| text.len()), Some(MAX_VALUE_BYTES));
}

#[test]
fn replacing_and_joining_are_as_in_liquid() {
    assert_eq!(rendered("{{ 'barbar' | replace: 'bar', 'foo' }}"), "foofoo");
    assert_eq!(rendered("{{ 'barbar' | replace: 'a' }}"), "brbr");
    assert_eq!(rendered("{{ 'a,b,c' | split: ',' | join: '-' }}"), "a-b-c");
    assert_eq!(rendered("{{ 'a,b' | split: ',' | join }}"), "a b");
    for template in [
        "{{ 'a' | replace }}",
        "{{ 'a' | replace: 'b', 'c', 'd' }}",
        "{{ 'a' | join: 'b', 'c' }}",
    ] {
        assert_eq!(error(template), TemplateError::Liquid, "{template}");
    }
}

#[test]
fn takes_as_many_assignments_as_may_be_and_refuses_the_next() {
    for tag in ["{% assign a = 'x' %}", "{% capture a %}x{% endcapture %}"] {
        assert!(Template::parse(&tag.repeat(MAX_LOCALS)).is_ok());
        assert_eq!(
            error(&tag.repeat(MAX_LOCALS + 1)),
            TemplateError::TooManyLocals
        );
    }
}

#[test]
fn refuses_the_date_of_now_and_says_what_to_write() {
    for template in [
        "{{ 'now' | date: '%Y' }}",
        "{{ \" Today \" | downcase | date: '%Y' }}",
        "{{ var:a | default: 'now' | date: '%Y' }}",
        "{% assign x = 'NOW' %}{% assign y = x | strip %}{{ y | date: '%Y' }}",
        "{% assign x = 'now' | date: '%s' %}{{ x }}",
    ] {
        assert_eq!(error(template), TemplateError::Clock, "{template}");
    }
    assert!(TemplateError::Clock.remedy().contains("{{ timestamp |"));
}

#[test]
fn now_is_a_word_like_another_where_no_date_is_made_of_it() {
    assert_eq!(rendered("{{ 'now' | upcase }}"), "NOW");
    assert_eq!(rendered("{{ timestamp | date: 'today' }}"), "today");
    assert_eq!(
        rendered("{% assign x = 'now' %}{% assign x = timestamp %}{{ x | date: '%Y' }}"),
        "2026"
    );
}

#[test]
fn the_remedy_for_now_works() {
    assert_eq!(
        rendered("{{ timestamp | date: '%Y-%m-%dT%H:%M:%SZ' }}"),
        "2026-01-02T03:04:05Z"
    );
    assert_eq!(rendered("{{ timestamp | plus: 60 | date: \"%M\" }}"), "05");
    assert_eq!(rendered("{{ var:a | date: '%Y' }}"), "<a>");
}

#[test]
fn refuses_a_date_format_that_cannot_be_judged_or_is_not_sound() {
    for argument in [
        "",
        ": environment",
        ": 'open",
        ": '%'",
        ": '%é'",
        ": '%:é'",
        ": '%100d'",
        ": '%99999N'",
        ": '%-_0123456789d'",
        ": '%Y %9999999999Y'",
    ] {
        let template = format!("{{{{ timestamp | date{argument} }}}}");
        assert_eq!(error(&template), TemplateError::DateFormat, "{template}");
    }
}

#[test]
fn takes_the_date_formats_of_strftime() {
    assert_eq!(
        rendered("{{ timestamp | date: '%a, %d %^b %Y %% %-H %3N %::z é' }}"),
        "Fri, 02 JAN 2026 % 3 000 +00:00:00 é"
    );
}

proptest! {
    #[test]
    fn a_whole_number_is_taken_if_it_fits(number in "-?[0-9]{1,40}") {
        let fits = number.parse::<i64>().is_ok();
        for template in with_number(&number) {
            prop_assert_eq!(Template::parse(&template).is_ok(), fits, "{}", template);
        }
    }

    #[test]
    fn nothing_like_a_number_makes_parsing_panic(number in "[-+.0-9eE_a]{0,60}") {
        for template in with_number(&number) {
            let _ = Template::parse(&template);
        }
    }

    #[test]
    fn mistakes_across_lines_never_make_parsing_panic(
        parts in proptest::collection::vec(
            prop::sample::select(vec![
                "{{ 'a", "' }}", "{{ \"", "\" }}", "\n", "é", "{{ @ ", "{% if ", " %}",
                "{% endif %}", " 1 ", "{{-", "-}}", "{", "}", " | size",
            ]),
            0..16,
        )
    ) {
        let _ = Template::parse(&parts.concat());
    }

    #[test]
    fn a_date_format_that_is_taken_renders(format in "[%a-zA-Z0-9:_^#é -]{0,24}") {
        let template = format!("{{{{ timestamp | date: '{format}' }}}}");
        match Template::parse(&template) {
            Ok(_) => prop_assert!(rendered(&template).len() < 4096),
            Err(error) => prop_assert_eq!(error, TemplateError::DateFormat),
        }
    }
}
