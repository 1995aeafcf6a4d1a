use http::Method;
use knoxcall_bundle::{RouteEnvironment, SecretValue, Tenant};
use proptest::prelude::*;

use super::*;
use crate::sample::{self, NOW, Request, SIGNING_SECRET};
use crate::testing::{admitted, request, tenant_with};

const NONCE: &str = "n-0123456789abcdef";

fn signed_route(version: SignatureVersion) -> RouteEnvironment {
    RouteEnvironment {
        signature: Some(sample::signature(version)),
        ..sample::environment("production")
    }
}

fn message<'a>(
    request: &'a Request,
    body: &'a [u8],
    environment: &'a EnvironmentName,
) -> Message<'a> {
    let v2 = request.headers.contains_key("x-nonce");
    Message {
        timestamp: request.headers["x-timestamp"].as_bytes(),
        method: request.method.as_str(),
        target: request.target.as_bytes(),
        body,
        scope: v2.then(|| Scope {
            host: request.host.as_bytes(),
            route: sample::route_id(1),
            environment,
            nonce: request.headers["x-nonce"].as_bytes(),
        }),
    }
}

/// A POST that is signed by `secret` at `at`.
fn signed(version: SignatureVersion, at: u64, body: &[u8], secret: &str) -> Request {
    let mut request = request("/orders?limit=2")
        .by(Method::POST)
        .header("x-timestamp", &at.to_string());
    if version == SignatureVersion::V2 {
        request = request.header("x-nonce", NONCE);
    }
    let production = sample::name("production");
    let code = hex(&message(&request, body, &production).code(secret.as_bytes()));
    request.header("x-signature", std::str::from_utf8(&code).unwrap())
}

fn judge_for(
    tenant: Tenant,
    request: &Request,
    body: &[u8],
) -> Result<Option<ReplayClaim>, Refusal> {
    admitted(tenant, request, |admitted, head| {
        verify(admitted, head, body, NOW)
    })
}

fn judge(
    version: SignatureVersion,
    request: &Request,
    body: &[u8],
) -> Result<Option<ReplayClaim>, Refusal> {
    judge_for(tenant_with(signed_route(version)), request, body)
}

fn replaced(mut request: Request, name: &'static str, value: &str) -> Request {
    request.headers.insert(name, value.parse().unwrap());
    request
}

const VERSIONS: [SignatureVersion; 2] = [SignatureVersion::V1, SignatureVersion::V2];

fn vector(target: &'static str, method: &'static str, body: &'static str) -> Message<'static> {
    Message {
        timestamp: b"1800000000",
        method,
        target: target.as_bytes(),
        body: body.as_bytes(),
        scope: None,
    }
}

/// The test vectors of `docs/signing.md`.
#[test]
fn signs_as_documented() {
    let environment = sample::name("production");
    let post = vector("/api/orders", "POST", r#"{"id":1}"#);
    let v2 = Message {
        scope: Some(Scope {
            host: b"ACME.example.test:8443",
            route: sample::route_id(1),
            environment: &environment,
            nonce: NONCE.as_bytes(),
        }),
        ..post
    };
    for (message, code) in [
        (
            vector("/orders?limit=2", "GET", ""),
            "762b3f404dcab320589aa6fe83abf8ab5c600946b126c8f9ace74f16fc751339",
        ),
        (
            post,
            "0f92abe219fe8b3e59480ab346cf011ead00ab9c65aeca9a89142d4f7df4eecc",
        ),
        (
            v2,
            "cacfa392fdca406deadab360245dd1a560b8642755d3c2e001ef834bfaf0c368",
        ),
    ] {
        let ours = hex(&message.code(b"a-signing-secret"));
        assert_eq!(std::str::from_utf8(&ours).unwrap(), code);
        let page = include_str!("../../../docs/signing.md");
        assert!(page.contains(code), "docs/signing.md lacks {code}");
    }
}

#[test]
fn asks_nothing_where_no_signature_is_required() {
    let tenant = tenant_with(sample::environment("production"));
    assert_eq!(judge_for(tenant, &request("/"), b""), Ok(None));
}

#[test]
fn accepts_what_a_client_signed() {
    for version in VERSIONS {
        let request = signed(version, NOW.0, b"body", SIGNING_SECRET);
        let claim = judge(version, &request, b"body").unwrap().unwrap();
        assert_eq!(claim.signed_at, NOW);
        assert_eq!(claim.expires, UnixSeconds(NOW.0 + 301));
    }
}

#[test]
fn the_headers_it_makes_are_the_ones_it_accepts() {
    for version in VERSIONS {
        let rule = sample::signature(version);
        let unsigned = signed(version, NOW.0, b"body", SIGNING_SECRET);
        let production = sample::name("production");
        let headers =
            message(&unsigned, b"body", &production).sign(&rule, SIGNING_SECRET.as_bytes());
        let mut request = unsigned.clone();
        for (name, value) in headers {
            request.headers.insert(name, value);
        }
        assert!(judge(version, &request, b"body").is_ok(), "{version:?}");
    }
}

#[test]
fn takes_the_code_in_either_case_and_with_its_version() {
    for version in VERSIONS {
        let request = signed(version, NOW.0, b"", SIGNING_SECRET);
        let code = request.headers["x-signature"].to_str().unwrap().to_owned();
        let prefix = if version == SignatureVersion::V1 {
            "v1="
        } else {
            "v2="
        };
        let plain = judge(version, &request, b"");
        for text in [code.to_uppercase(), format!("{prefix}{code}")] {
            let other = replaced(request.clone(), "x-signature", &text);
            assert_eq!(
                judge(version, &other, b""),
                plain,
                "one and the same claim: {text}"
            );
        }
    }
}

#[test]
fn refuses_the_prefix_of_another_version() {
    let request = signed(SignatureVersion::V1, NOW.0, b"", SIGNING_SECRET);
    let code = request.headers["x-signature"].to_str().unwrap().to_owned();
    let other = replaced(request, "x-signature", &format!("v2={code}"));
    assert_eq!(
        judge(SignatureVersion::V1, &other, b""),
        Err(Refusal::SignatureInvalid)
    );
}

#[test]
fn accepts_either_of_two_secrets() {
    for secret in [SIGNING_SECRET, "the-one-that-comes-next"] {
        let mut tenant = tenant_with(signed_route(SignatureVersion::V1));
        let next = SecretValue::new("the-one-that-comes-next".to_owned());
        tenant.clients[0].signing_secrets.push(next);
        let request = signed(SignatureVersion::V1, NOW.0, b"", secret);
        assert!(judge_for(tenant, &request, b"").is_ok(), "{secret}");
    }
}

#[test]
fn refuses_a_secret_that_is_not_the_clients() {
    for version in VERSIONS {
        let request = signed(version, NOW.0, b"", "another-secret");
        assert_eq!(
            judge(version, &request, b""),
            Err(Refusal::SignatureInvalid)
        );
    }
}

#[test]
fn refuses_a_caller_without_client_or_secret() {
    let request = signed(SignatureVersion::V1, NOW.0, b"", SIGNING_SECRET);
    let mut unassigned = tenant_with(signed_route(SignatureVersion::V1));
    unassigned.clients[0].assignments.clear();
    let mut without_secret = tenant_with(signed_route(SignatureVersion::V1));
    without_secret.clients[0].signing_secrets.clear();
    for tenant in [unassigned, without_secret] {
        assert_eq!(
            judge_for(tenant, &request, b""),
            Err(Refusal::SignatureInvalid)
        );
    }
}

#[test]
fn refuses_a_request_that_lacks_a_header() {
    for name in ["x-signature", "x-timestamp", "x-nonce"] {
        let mut request = signed(SignatureVersion::V2, NOW.0, b"", SIGNING_SECRET);
        request.headers.remove(name);
        let answer = judge(SignatureVersion::V2, &request, b"");
        assert_eq!(answer, Err(Refusal::SignatureMissing), "{name}");
        request.headers.insert(name, HeaderValue::from_static(""));
        let answer = judge(SignatureVersion::V2, &request, b"");
        assert_eq!(answer, Err(Refusal::SignatureMissing), "empty {name}");
    }
}

#[test]
fn refuses_a_second_copy_of_each_header() {
    use crate::refusal::Malformation;
    for name in ["x-signature", "x-timestamp", "x-nonce"] {
        let request = signed(SignatureVersion::V2, NOW.0, b"", SIGNING_SECRET);
        let value = request.headers[name].to_str().unwrap().to_owned();
        let answer = judge(SignatureVersion::V2, &request.header(name, &value), b"");
        let twice = Refusal::Malformed(Malformation::DuplicateHeader);
        assert_eq!(answer, Err(twice), "{name}");
    }
}

#[test]
fn the_tolerance_holds_both_ways_and_to_the_second() {
    for version in VERSIONS {
        for (at, valid) in [
            (NOW.0 - 301, false),
            (NOW.0 - 300, true),
            (NOW.0 + 300, true),
            (NOW.0 + 301, false),
        ] {
            let answer = judge(version, &signed(version, at, b"", SIGNING_SECRET), b"");
            match valid {
                true => assert!(answer.is_ok(), "{at}"),
                false => assert_eq!(answer, Err(Refusal::SignatureExpired), "{at}"),
            }
        }
    }
}

#[test]
fn a_claim_lasts_as_long_as_any_route_of_the_tenant_takes_the_signature() {
    for version in VERSIONS {
        let mut tenant = tenant_with(signed_route(version));
        for (number, tolerance) in [(2, 3_600), (3, 60)] {
            let mut other = sample::route(number);
            let mut rule = sample::signature(SignatureVersion::V1);
            rule.tolerance = std::time::Duration::from_secs(tolerance);
            other.environments[1].signature = Some(rule);
            tenant.routes.push(other);
        }
        let request = signed(version, NOW.0, b"", SIGNING_SECRET);
        let claim = judge_for(tenant, &request, b"").unwrap().unwrap();
        assert_eq!(claim.expires, UnixSeconds(NOW.0 + 3_601));
    }
}

#[test]
fn refuses_a_timestamp_that_is_not_plain_digits() {
    for text in [
        "+1800000000",
        "-1",
        "1800000000.0",
        " 1800000000x",
        "0x6b49d200",
        "1e9",
        "1800000000000",
    ] {
        let request = signed(SignatureVersion::V1, NOW.0, b"", SIGNING_SECRET);
        let request = replaced(request, "x-timestamp", text);
        let answer = judge(SignatureVersion::V1, &request, b"");
        assert_eq!(answer, Err(Refusal::SignatureInvalid), "{text:?}");
    }
}

#[test]
fn refuses_a_code_of_another_form() {
    let good = signed(SignatureVersion::V1, NOW.0, b"", SIGNING_SECRET);
    let code = good.headers["x-signature"].to_str().unwrap().to_owned();
    for text in [
        code[..62].to_owned(),
        format!("{code}00"),
        format!("{}g", &code[..63]),
        format!("{code},{code}"),
        "v1=".to_owned(),
    ] {
        let answer = judge(
            SignatureVersion::V1,
            &replaced(good.clone(), "x-signature", &text),
            b"",
        );
        assert_eq!(answer, Err(Refusal::SignatureInvalid), "{text:?}");
    }
}

#[test]
fn refuses_a_nonce_of_another_form() {
    let long = "n".repeat(129);
    for text in [
        "tooshort",
        "has spaces in the middle",
        "exclamation!!!!!!!!!!",
        &long,
    ] {
        let request = signed(SignatureVersion::V2, NOW.0, b"", SIGNING_SECRET);
        let answer = judge(
            SignatureVersion::V2,
            &replaced(request, "x-nonce", text),
            b"",
        );
        assert_eq!(answer, Err(Refusal::SignatureInvalid), "{text:?}");
    }
}

#[test]
fn judges_the_time_before_the_body() {
    let late = signed(SignatureVersion::V1, NOW.0 - 301, b"", SIGNING_SECRET);
    let tenant = tenant_with(signed_route(SignatureVersion::V1));
    let early = admitted(tenant, &late, |admitted, head| {
        presented(admitted, head, NOW).map(|_| ())
    });
    assert_eq!(early, Err(Refusal::SignatureExpired));
}

#[test]
fn a_signature_counts_once_for_its_client_whatever_the_route() {
    let request = signed(SignatureVersion::V1, NOW.0, b"", SIGNING_SECRET);
    let mut tenant = tenant_with(signed_route(SignatureVersion::V1));
    let mut twin = tenant.routes[0].clone();
    twin.id = sample::route_id(2);
    twin.slug = Some(sample::name("route-2"));
    twin.name = sample::name("Route 2");
    tenant.routes.push(twin);
    let elsewhere = replaced(request.clone(), "x-knoxcall-route", "route-2");
    let claim = judge_for(tenant.clone(), &request, b"").unwrap();
    assert_eq!(judge_for(tenant, &elsewhere, b"").unwrap(), claim);
}

#[test]
fn a_nonce_counts_once_whatever_is_signed_with_it() {
    let one = signed(SignatureVersion::V2, NOW.0, b"one", SIGNING_SECRET);
    let two = signed(SignatureVersion::V2, NOW.0, b"two", SIGNING_SECRET);
    let one = judge(SignatureVersion::V2, &one, b"one").unwrap().unwrap();
    let two = judge(SignatureVersion::V2, &two, b"two").unwrap().unwrap();
    assert_eq!(one.key, two.key);
}

#[test]
fn claims_differ_from_client_to_client() {
    let request = signed(SignatureVersion::V1, NOW.0, b"", SIGNING_SECRET);
    let ours = tenant_with(signed_route(SignatureVersion::V1));
    let mut theirs = ours.clone();
    theirs.clients[0].id = knoxcall_bundle::ids::ClientId(sample::id(2, 2));
    let one = judge_for(ours, &request, b"").unwrap().unwrap();
    let other = judge_for(theirs, &request, b"").unwrap().unwrap();
    assert_ne!(one.key, other.key);
}

/// Which part of a request a bit is flipped in.
#[derive(Clone, Copy, Debug)]
enum Part {
    Method,
    Target,
    Timestamp,
    Host,
    Nonce,
    Code,
    Body,
}

fn flip(text: &str, at: prop::sample::Index, bit: u8) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let at = at.index(bytes.len());
    bytes[at] ^= 1 << bit;
    String::from_utf8_lossy(&bytes).into_owned()
}

fn flipped(mut request: Request, part: Part, at: prop::sample::Index, bit: u8) -> Option<Request> {
    let name = match part {
        Part::Body => return Some(request),
        Part::Method => {
            request.method = Method::from_bytes(flip("POST", at, bit).as_bytes()).ok()?;
            return Some(request);
        }
        Part::Target => {
            request.target = flip(&request.target, at, bit);
            return Some(request);
        }
        Part::Host => {
            request.host = flip(&request.host, at, bit);
            return Some(request);
        }
        Part::Timestamp => "x-timestamp",
        Part::Nonce => "x-nonce",
        Part::Code => "x-signature",
    };
    let value = flip(request.headers[name].to_str().unwrap(), at, bit);
    request
        .headers
        .insert(name, HeaderValue::from_str(&value).ok()?);
    Some(request)
}

/// The parts that `v2` signs, in the order of its string: timestamp, method,
/// host, target, environment, nonce and body; and the number of the route, whose
/// id stands before the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Parts {
    texts: [String; 7],
    route: u8,
}

impl Parts {
    fn code(&self) -> [u8; 32] {
        let [timestamp, method, host, target, environment, nonce, body] = &self.texts;
        Message {
            timestamp: timestamp.as_bytes(),
            method,
            target: target.as_bytes(),
            body: body.as_bytes(),
            scope: Some(Scope {
                host: host.as_bytes(),
                route: sample::route_id(self.route.into()),
                environment: &sample::name(environment),
                nonce: nonce.as_bytes(),
            }),
        }
        .code(b"key")
    }

    /// With the end of one part at the beginning of the next.
    fn shifted(&self, part: usize, count: usize) -> Self {
        let mut texts = self.texts.clone();
        let kept = texts[part].len() - count;
        let moved = texts[part].split_off(kept);
        texts[part + 1].insert_str(0, &moved);
        Self {
            texts,
            route: self.route,
        }
    }
}

/// So alike that only what stands between them tells them apart. A host has no
/// capitals here: in another case it is the same host.
fn parts() -> impl Strategy<Value = Parts> {
    let texts = (
        "1{3,4}",
        "A{3,4}",
        "a{3,4}",
        "/a{2,3}",
        "a{3,4}",
        "a{3,4}",
        "[\\na]{0,3}",
    );
    (texts, 1_u8..3).prop_map(|(texts, route)| Parts {
        texts: texts.into(),
        route,
    })
}

proptest! {
    /// Judged against a request that was admitted unchanged, so that only the
    /// signature is in question.
    #[test]
    fn refuses_whatever_bit_is_flipped(
        version in prop::sample::select(&VERSIONS),
        part in prop::sample::select(&[
            Part::Method, Part::Target, Part::Timestamp, Part::Host,
            Part::Nonce, Part::Code, Part::Body,
        ]),
        at: prop::sample::Index,
        bit in 0_u8..7,
    ) {
        let request = signed(version, NOW.0, b"the body", SIGNING_SECRET);
        let unsigned_by_v1 = matches!(part, Part::Host | Part::Nonce);
        prop_assume!(version == SignatureVersion::V2 || !unsigned_by_v1);
        let body = match part {
            Part::Body => flip("the body", at, bit),
            Part::Method | Part::Target | Part::Timestamp | Part::Host | Part::Nonce | Part::Code =>
                "the body".to_owned(),
        };
        let Some(other) = flipped(request.clone(), part, at, bit) else { return Ok(()) };
        let same_in_another_case = matches!(part, Part::Host | Part::Code) && bit == 5
            && other.host.eq_ignore_ascii_case(&request.host)
            && other.headers["x-signature"].as_bytes()
                .eq_ignore_ascii_case(request.headers["x-signature"].as_bytes());
        let answer = admitted(tenant_with(signed_route(version)), &request, |admitted, _| {
            verify(admitted, &other.head(), body.as_bytes(), NOW)
        });
        prop_assert_eq!(answer.is_ok(), same_in_another_case);
    }

    /// Nothing moves from one part to another without a change of the string:
    /// no part but the last may hold a line feed.
    #[test]
    fn different_requests_have_different_strings(
        one in ("[0-9]{1,4}", "[A-Z]{1,4}", "/[a-z?/]{0,4}", "[\\na-z]{0,6}"),
        two in ("[0-9]{1,4}", "[A-Z]{1,4}", "/[a-z?/]{0,4}", "[\\na-z]{0,6}"),
    ) {
        let code = |(timestamp, method, target, body): &(String, String, String, String)| Message {
            timestamp: timestamp.as_bytes(),
            method,
            target: target.as_bytes(),
            body: body.as_bytes(),
            scope: None,
        }.code(b"key");
        prop_assert_eq!(code(&one) == code(&two), one == two);
    }

    /// As `v1`, and what it adds: host, route, environment and nonce.
    #[test]
    fn different_v2_requests_have_different_strings(
        one in parts(),
        other in parts(),
        // Between target and environment stands the route's id.
        part in prop::sample::select(&[0_usize, 1, 2, 4, 5]),
        count in 1_usize..3,
    ) {
        prop_assert_eq!(one.code() == other.code(), one == other);
        prop_assert_ne!(one.code(), one.shifted(part, count).code());
        let [timestamp, method, _, target, .., body] = &one.texts;
        let v1 = Message {
            timestamp: timestamp.as_bytes(),
            method,
            target: target.as_bytes(),
            body: body.as_bytes(),
            scope: None,
        };
        prop_assert_ne!(one.code(), v1.code(b"key"));
    }
}
