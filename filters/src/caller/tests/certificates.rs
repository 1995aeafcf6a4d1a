//! Clients known by their certificate.

use knoxcall_bundle::CertificateName;

use super::*;
use crate::admit::{admit_with, locate};
use crate::certificate::ClientCertificate;

fn spiffe(name: &str) -> CertificateName {
    CertificateName::Uri(format!("spiffe://acme.test/{name}"))
}

fn presented(names: &[CertificateName]) -> ClientCertificate {
    let ever = (UnixSeconds(0), UnixSeconds(u64::MAX));
    ClientCertificate::new(names.iter().cloned(), ever)
}

/// With a client of that name, assigned to the first route.
fn known(name: CertificateName) -> Tenant {
    let mut tenant = tenant();
    tenant.clients[0].certificates = vec![name];
    tenant.clients[0].assignments = vec![sample::assignment(Some(sample::route_id(1)))];
    tenant
}

fn ask(
    tenant: Tenant,
    request: &Request,
    peer: IpAddr,
    certificate: &ClientCertificate,
) -> (Result<&'static str, Refusal>, Option<Unrecognised>, Effort) {
    let table = sample::table(tenant);
    let (head, mut trail) = (request.head(), Trail::default());
    let site = locate(&table, &head, peer, NOW).unwrap();
    let admitted = admit_with(&site, &head, Some(certificate), NOW, &mut trail);
    let found = admitted.map(|admitted| admitted.caller.identification());
    (found, trail.unrecognised, trail.effort)
}

#[test]
fn an_assigned_client_is_known_by_any_of_its_certificates_names() {
    for name in [
        spiffe("backend"),
        CertificateName::Dns("backend.acme.test".to_owned()),
        CertificateName::Email("backend@acme.test".to_owned()),
        CertificateName::Subject("CN=backend,O=Acme".to_owned()),
    ] {
        let certificate = presented(&[spiffe("other"), name.clone()]);
        let (found, ..) = ask(known(name), &request(), stranger(), &certificate);
        assert_eq!(found, Ok("certificate"));
    }
}

#[test]
fn a_certificate_that_stands_for_nobody_here_is_an_unknown_caller() {
    let backend = presented(&[spiffe("backend")]);
    let unknown = Some(Unrecognised::UnknownCertificate);
    let elsewhere = Request::get("/a").route("route-2");
    let nowhere = Request::get("/a").route("route-9");
    for (tenant, asked, certificate) in [
        (known(spiffe("other")), request(), backend.clone()),
        (known(spiffe("backend")), elsewhere, backend.clone()),
        (known(spiffe("backend")), nowhere, backend),
        (tenant(), request(), presented(&[spiffe("backend")])),
    ] {
        // Its address would have been known.
        let here = sample::client_address();
        let (found, reason, effort) = ask(tenant, &asked, here, &certificate);
        assert_eq!((found, reason), (Err(Refusal::Unauthorized), unknown));
        let expected = Effort {
            route_lookups: 2,
            address_lookups: 1,
            certificate_lookups: 1,
            ..Effort::default()
        };
        assert_eq!(effort, expected);
    }
    let (found, reason, _) = ask(
        known(spiffe("backend")),
        &request(),
        stranger(),
        &ClientCertificate::nobody(),
    );
    assert_eq!((found, reason), (Err(Refusal::Unauthorized), unknown));
}

#[test]
fn a_certificate_that_has_ended_is_refused_on_an_open_connection() {
    let second = |offset: i64| UnixSeconds(NOW.0.saturating_add_signed(offset));
    for (since, until, found) in [
        (second(-9), second(0), Ok("certificate")),
        (second(-9), second(-1), Err(Refusal::Unauthorized)),
        (second(1), second(9), Err(Refusal::Unauthorized)),
    ] {
        let certificate = ClientCertificate::new([spiffe("backend")], (since, until));
        let tenant = known(spiffe("backend"));
        assert_eq!(ask(tenant, &request(), stranger(), &certificate).0, found);
    }
}

#[test]
fn a_key_that_is_presented_counts_and_the_certificate_does_not() {
    let certificate = presented(&[spiffe("backend")]);
    let by_key = request().key(LIVE_KEY);
    let (found, ..) = ask(known(spiffe("backend")), &by_key, stranger(), &certificate);
    assert_eq!(found, Ok("api_key"));
    let bad_key = request().key("tk_live_nobody01_ffff");
    let (found, ..) = ask(known(spiffe("backend")), &bad_key, stranger(), &certificate);
    assert_eq!(found, Err(Refusal::Unauthorized));
}
