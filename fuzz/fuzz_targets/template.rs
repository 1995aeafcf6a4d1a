//! Templates as people write them. What parses also renders, as a header that
//! HTTP can carry and as one JSON string, or is refused; a secret comes out
//! only where the template names one; text without braces is itself.

#![no_main]

use std::sync::LazyLock;

use http::{HeaderName, Method};
use knoxcall_bundle::template::{Segment, Template};
use knoxcall_bundle::{JsonTemplate, Route, Tenant};
use knoxcall_filters::Refusal;
use knoxcall_filters::inject::{Injector, RequestValues};
use knoxcall_filters::sample::{self, Request};
use knoxcall_fuzz::{FACTS, REQUEST_ID, contains, let_panics_unwind, request, secret};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const NAME: HeaderName = HeaderName::from_static("x-injected");
const SECRET: &str = "Qm8vN2xzRw\"{{var:x}}Tz5k";

static TENANT: LazyLock<Tenant> = LazyLock::new(|| {
    let mut tenant = sample::tenant();
    tenant.secrets = vec![secret(1, "token", SECRET)];
    tenant
});
static ROUTE: LazyLock<Route> = LazyLock::new(|| sample::route(0));
static POST: LazyLock<Request> = LazyLock::new(|| request(&Method::POST));

const REQUEST: RequestValues<'static> = RequestValues {
    client: None,
    now: FACTS.now,
    request_id: REQUEST_ID,
};

fuzz_target!(init: let_panics_unwind(), |data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let template = match Template::parse(text) {
        Ok(template) => template,
        Err(error) => {
            // It may name a variable, and quotes no more than that.
            assert!(error.to_string().len() + error.remedy().len() < 1024);
            return;
        }
    };
    if !text.contains('{') {
        assert_eq!(template.literal(), Some(text));
    }
    let names_a_secret = template
        .references()
        .any(|segment| matches!(segment, Segment::Secret(_)));
    let may_show = names_a_secret || text.contains(&SECRET[..4]);
    let injector = injector(template);
    check_header(&injector, may_show);
    check_body(&injector, may_show);
});

fn injector(template: Template) -> Injector {
    let body = JsonTemplate::String(template.clone());
    let body = JsonTemplate::Object(vec![("injected".to_owned(), body)]);
    let environment = sample::name("production");
    let headers = [(NAME, template)];
    Injector::compile(&TENANT, &ROUTE, &environment, &headers, Some(&body), &[])
}

fn check_header(injector: &Injector, may_show: bool) {
    for header in injector.headers(&REQUEST) {
        match header {
            Ok((_, value)) => {
                assert!(
                    !value
                        .as_bytes()
                        .iter()
                        .any(|byte| matches!(byte, b'\r' | b'\n' | 0))
                );
                assert!(may_show || !contains(value.as_bytes(), SECRET));
            }
            Err(refusal) => check_refusal(&refusal),
        }
    }
}

fn check_body(injector: &Injector, may_show: bool) {
    match injector.body(&POST.head(), b"", &REQUEST) {
        Ok(Some(new)) => {
            let value: Value = serde_json::from_slice(&new.content).expect("valid JSON");
            let members = value.as_object().expect("an object");
            assert_eq!(members.len(), 1);
            let injected = members["injected"].as_str().expect("a string");
            assert!(may_show || !injected.contains(SECRET));
        }
        Ok(None) => panic!("a route with an injected body sends one"),
        Err(refusal) => check_refusal(&refusal),
    }
}

fn check_refusal(refusal: &Refusal) {
    assert!(
        matches!(refusal, Refusal::SecretUnavailable | Refusal::Internal),
        "{refusal:?}"
    );
}
