mod bodies;
mod headers;
mod liquid;

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use knoxcall_bundle::ids::ClientId;
use knoxcall_bundle::{RouteEnvironment, SecretValue, UnixSeconds, Variable};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::cidr::CidrSet;
use crate::head::Head;
use crate::sample::{self, NOW, Request, TOKEN};
use crate::table::ClientEntry;
use crate::testing::{tenant_with, without_token_in};

fn tenant() -> Tenant {
    let mut tenant = tenant_with(sample::environment("production"));
    let eu = (sample::name("production"), "eu-west".into());
    tenant.variables.push(Variable {
        key: sample::name("region"),
        values: [eu].into(),
    });
    tenant
}

fn with_token(text: &str) -> Tenant {
    let mut tenant = tenant();
    for value in tenant.secrets[0].values.values_mut() {
        *value = SecretValue::new(text.to_owned());
    }
    tenant
}

fn compile(tenant: &Tenant, headers: &[(HeaderName, Template)], body: Option<Value>) -> Injector {
    let body = body.as_ref().map(template);
    Injector::compile(
        tenant,
        &tenant.routes[0],
        &sample::name("production"),
        headers,
        body.as_ref(),
        &[],
    )
}

fn template(value: &Value) -> JsonTemplate {
    match value {
        Value::Null => JsonTemplate::Null,
        Value::Bool(bool) => JsonTemplate::Bool(*bool),
        Value::Number(number) => JsonTemplate::Number(number.clone()),
        Value::String(text) => JsonTemplate::String(Template::parse(text).unwrap()),
        Value::Array(items) => JsonTemplate::Array(items.iter().map(template).collect()),
        Value::Object(members) => {
            let members = members.iter();
            JsonTemplate::Object(
                members
                    .map(|(name, value)| (name.clone(), template(value)))
                    .collect(),
            )
        }
    }
}

fn client() -> ClientEntry {
    ClientEntry {
        id: ClientId(sample::id(2, 1)),
        name: sample::name("warehouse"),
        addresses: CidrSet::default(),
        signing_secrets: Box::default(),
        limit: None,
    }
}

fn at(now: UnixSeconds) -> RequestValues<'static> {
    RequestValues {
        client: None,
        now,
        request_id: "request-1",
    }
}

/// The header `x-test` made from `text`.
fn header_of(injector: &Injector, request: &RequestValues<'_>) -> Result<HeaderValue, Refusal> {
    let mut headers = injector.headers(request);
    headers.next().unwrap().map(|(_, value)| value)
}

fn injector(tenant: &Tenant, text: &str) -> Injector {
    let name = HeaderName::from_static("x-test");
    compile(tenant, &[(name, Template::parse(text).unwrap())], None)
}

fn rendered(tenant: &Tenant, text: &str) -> Result<String, Refusal> {
    let value = header_of(&injector(tenant, text), &at(NOW))?;
    Ok(value.to_str().unwrap().to_owned())
}

#[test]
fn an_injector_without_rules_does_nothing() {
    let injector = compile(&tenant(), &[], None);
    assert_eq!(injector.headers(&at(NOW)).count(), 0);
    assert!(!injector.rewrites_body(&Method::POST));
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("text/plain"))]);
    let head = Head {
        method: &Method::POST,
        target: b"/",
        host: b"acme.example.test",
        version: http::Version::HTTP_11,
        headers: &headers,
    };
    assert!(
        injector
            .body(&head, b"anything", &at(NOW))
            .unwrap()
            .is_none()
    );
}

#[test]
fn a_clients_body_is_not_searched_where_no_secret_is_allowed() {
    let environment: RouteEnvironment = sample::environment("production");
    assert!(environment.body_secrets.is_empty());
    let injector = compile(&tenant(), &[], None);
    assert!(!injector.rewrites_body(&Method::POST));
}
