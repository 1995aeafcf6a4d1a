use liquid::Object;
use liquid::model::Value;
use proptest::prelude::*;

use super::*;

mod limits;
mod own_filters;

fn text(value: &str) -> Segment {
    Segment::Text(value.into())
}

fn secret(name: &str) -> Segment {
    Segment::Secret(SecretRef::Name(SecretName::try_from(name).unwrap()))
}

fn variable(key: &str) -> Segment {
    Segment::Variable(VariableKey::try_from(key).unwrap())
}

fn parsed(template: &str) -> Vec<Segment> {
    match Template::parse(template).unwrap() {
        Template::Segments(segments) => segments.to_vec(),
        Template::Liquid(_) => panic!("{template} needs no Liquid"),
    }
}

/// 2026-01-02T03:04:05Z, in Unix seconds.
const NOW: i64 = 1_767_323_045;

/// Renders with each binding's value made of what it is bound to.
fn rendered(template: &str) -> String {
    let Template::Liquid(liquid) = Template::parse(template).unwrap() else {
        panic!("{template} needs Liquid");
    };
    let mut globals = Object::new();
    for (name, segment) in &liquid.bindings {
        let value = match segment {
            Segment::Builtin(Builtin::Timestamp) => {
                globals.insert(name.clone().into(), Value::scalar(NOW));
                continue;
            }
            Segment::Text(text) => text.to_string(),
            Segment::Secret(SecretRef::Name(name)) => format!("<{name}>"),
            Segment::Secret(SecretRef::Id(id)) => format!("<{id}>"),
            Segment::Variable(key) => format!("<{key}>"),
            Segment::Builtin(Builtin::Environment) => "production".to_owned(),
            Segment::Builtin(builtin) => format!("<{}>", builtin.name()),
        };
        globals.insert(name.clone().into(), Value::scalar(value));
    }
    liquid.template.render(&globals).unwrap()
}

fn error(template: &str) -> TemplateError {
    Template::parse(template).expect_err(template)
}

#[test]
fn placeholders_compile_to_segments() {
    assert_eq!(
        parsed("Bearer {{secret:api_token}}; {{ var:region }}/{{route.slug}}"),
        [
            text("Bearer "),
            secret("api_token"),
            text("; "),
            variable("region"),
            text("/"),
            Segment::Builtin(Builtin::RouteSlug),
        ]
    );
}

#[test]
fn a_secret_may_be_named_by_its_id() {
    let id = Uuid::from_u128(7);
    assert_eq!(
        parsed(&format!("{{{{secret_id:{id}}}}}")),
        [Segment::Secret(SecretRef::Id(SecretId(id)))]
    );
}

#[test]
fn spaces_in_a_secret_name_are_underscores() {
    assert_eq!(
        parsed("{{secret:Stripe API Key}}"),
        [secret("Stripe_API_Key")]
    );
}

#[test]
fn every_builtin_is_known() {
    for builtin in Builtin::ALL {
        let template = format!("{{{{ {} }}}}", builtin.name());
        assert_eq!(parsed(&template), [Segment::Builtin(builtin)]);
    }
}

#[test]
fn text_without_double_braces_stays_as_it_is() {
    assert_eq!(parsed("{\"a\": \"}}\"}"), [text("{\"a\": \"}}\"}")]);
    assert_eq!(parsed(""), []);
}

#[test]
fn refuses_what_is_not_closed_or_names_nothing() {
    assert_eq!(error("a {{secret:x"), UNCLOSED_EXPRESSION);
    assert_eq!(error("{{}}"), TemplateError::Empty);
    assert_eq!(error("{{ }}"), TemplateError::Empty);
    assert!(matches!(error("{{secret:}}"), TemplateError::Name(_)));
    assert!(matches!(error("{{var:a/b}}"), TemplateError::Name(_)));
    assert_eq!(error("{{secret_id:7}}"), TemplateError::SecretId);
    assert!(matches!(error("{% if x"), TemplateError::Unclosed { .. }));
}

#[test]
fn refuses_an_unknown_variable_and_names_the_nearest() {
    let expected = TemplateError::UnknownVariable {
        name: "route.slugg".to_owned(),
        nearest: Some("route.slug".to_owned()),
    };
    assert_eq!(error("{{route.slugg}}"), expected);
    assert_eq!(error("{{route.slugg | upcase}}"), expected);
    assert_eq!(error("{% if route.slugg == 'x' %}{% endif %}"), expected);
    assert!(expected.remedy().contains("`route.slug`"));
}

#[test]
fn filters_are_liquid() {
    assert_eq!(rendered("{{secret:Api Key | upcase}}"), "<API_KEY>");
    assert_eq!(
        rendered("{{ var:region | append: '-' | append: route.slug }}"),
        "<region>-<route.slug>"
    );
    assert_eq!(rendered("{{ 'a | }} b' | upcase }}"), "A | }} B");
}

#[test]
fn conditions_are_liquid_in_both_forms() {
    for template in [
        "{% if environment == 'production' %}live{% else %}test{% endif %}",
        "{{if environment == 'production'}}live{{else}}test{{endif}}",
        "{{ if environment == \"staging\" }}x{{elsif environment == 'production'}}live{{ endif }}",
        "{%- unless environment == 'staging' -%} live {%- endunless -%}",
        "{% case environment %}{% when 'production' %}live{% endcase %}",
    ] {
        assert_eq!(rendered(template), "live", "{template}");
    }
}

#[test]
fn placeholders_stand_in_conditions() {
    assert_eq!(
        rendered("{% if secret:key != '' and var:a.b contains '<' %}{{secret:key}}{% endif %}"),
        "<key>"
    );
}

#[test]
fn assigned_names_are_known_afterwards_and_not_before() {
    assert_eq!(rendered("{% assign x = secret:key | size %}{{ x }}"), "5");
    assert_eq!(
        rendered("{% capture x %}a{{var:b}}{% endcapture %}{{x}}"),
        "a<b>"
    );
    assert!(matches!(
        error("{{ x }}{% assign x = 1 %}"),
        TemplateError::UnknownVariable { .. }
    ));
}

#[test]
fn raw_text_is_never_parsed_and_comments_disappear() {
    assert_eq!(
        rendered("{% raw %}{{secret:x}} {%{% endraw %}!"),
        "{{secret:x}} {%!"
    );
    assert_eq!(
        rendered("a{% comment %}{{ nonsense {% endcomment %}b"),
        "ab"
    );
}

#[test]
fn values_that_look_like_templates_are_not_rendered_again() {
    let Template::Liquid(liquid) = Template::parse("{{secret:a | upcase}}").unwrap() else {
        panic!("needs Liquid");
    };
    let mut globals = Object::new();
    for (name, _) in &liquid.bindings {
        let value = Value::scalar("{{knoxcall_value_0}}{% if %}");
        globals.insert(name.clone().into(), value);
    }
    assert_eq!(
        liquid.template.render(&globals).unwrap(),
        "{{KNOXCALL_VALUE_0}}{% IF %}"
    );
}

#[test]
fn refuses_loops_includes_and_broken_liquid() {
    for tag in [
        "for i in (1..9)",
        "tablerow i in x",
        "include 'x'",
        "render 'x'",
        "cycle 'a'",
    ] {
        let template = format!("{{% {tag} %}}");
        assert!(
            matches!(error(&template), TemplateError::UnavailableTag(_)),
            "{template}"
        );
    }
    for template in [
        "{% if environment %}",
        "{{ environment | nofilter }}",
        "{% assign = 1 %}",
    ] {
        assert_eq!(error(template), TemplateError::Liquid, "{template}");
    }
}

#[test]
fn a_template_cannot_take_a_generated_name() {
    assert_eq!(
        error("{% assign knoxcall_value_0 = 'x' %}"),
        TemplateError::Liquid
    );
}

#[test]
fn refuses_what_is_too_long() {
    assert_eq!(
        error(&"a".repeat(MAX_TEMPLATE_BYTES + 1)),
        TemplateError::TooLong
    );
    assert!(Template::parse(&"a".repeat(MAX_TEMPLATE_BYTES)).is_ok());
}

#[test]
fn references_name_everything_that_rendering_reads() {
    let template = Template::parse("{% if var:a %}{{secret:b}}{% endif %}c").unwrap();
    let references: Vec<_> = template.references().cloned().collect();
    assert_eq!(references, [variable("a"), secret("b")]);
    assert_eq!(
        Template::parse("only text").unwrap().references().count(),
        0
    );
}

#[test]
fn debug_shows_no_text() {
    let template = Template::parse("hunter2 {{secret:x}}").unwrap();
    let shown = format!("{template:?}");
    assert!(!shown.contains("hunter2") && shown.contains("x"), "{shown}");
}

proptest! {
    #[test]
    fn parsing_never_panics(template in any::<String>()) {
        let _ = Template::parse(&template);
    }

    #[test]
    fn parsing_never_panics_on_what_looks_like_a_template(
        parts in proptest::collection::vec(
            prop::sample::select(vec![
                "{{", "}}", "{%", "%}", "{", "-", " ", "secret:", "var:", "a", "é", "'", "\"", "|",
                "if", "endif", "raw", "endraw", "comment", "assign", "x", "=", ".", ":", "environment",
                "\n", "@", "[", "]", "case", "when", "capture", "date", "%", ",",
                "99999999999999999999", "1", "0.5", "(", "..",
            ]),
            0..32,
        )
    ) {
        let _ = Template::parse(&parts.concat());
    }

    #[test]
    fn text_without_braces_is_one_segment(plain in "[^{]{1,200}") {
        prop_assert_eq!(parsed(&plain), [text(&plain)]);
    }

    #[test]
    fn text_around_a_placeholder_is_kept(before in "[^{]{1,40}", after in "[^{}]{1,40}") {
        let template = format!("{before}{{{{secret:x}}}}{after}");
        prop_assert_eq!(parsed(&template), [text(&before), secret("x"), text(&after)]);
    }
}
