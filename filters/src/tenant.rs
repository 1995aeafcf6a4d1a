//! The tenant, from the host: `{slug}.{base}`, `sandbox-{slug}.{base}`,
//! `{hash}.{slug}.{base}` and extra hosts (RFC 9110 section 7.2), without
//! regard to case or port. Every other host, a rolled hash included, is one
//! and the same refusal.

use hashbrown::HashMap;
use knoxcall_bundle::UnixSeconds;

use crate::refusal::Refusal;
use crate::table::HostEntry;

/// A DNS name has 253 bytes at most (RFC 1035 section 2.3.4).
const LONGEST: usize = 253;

pub(crate) fn find<'t>(
    hosts: &'t HashMap<Box<str>, HostEntry>,
    host: &[u8],
    now: UnixSeconds,
) -> Result<(&'t str, HostEntry), Refusal> {
    let (name, entry) = look_up(hosts, without_port(host)).ok_or(Refusal::UnknownHost)?;
    if entry.valid_until.is_some_and(|end| end <= now) {
        return Err(Refusal::UnknownHost);
    }
    Ok((name, *entry))
}

fn look_up<'t>(
    hosts: &'t HashMap<Box<str>, HostEntry>,
    name: &[u8],
) -> Option<(&'t str, &'t HostEntry)> {
    let mut buffer = [0; LONGEST];
    let name = if name.iter().any(u8::is_ascii_uppercase) {
        let lower = buffer.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        &*lower
    } else {
        name
    };
    let (known, entry) = hosts.get_key_value(std::str::from_utf8(name).ok()?)?;
    Some((known, entry))
}

fn without_port(host: &[u8]) -> &[u8] {
    match memchr::memrchr(b':', host).and_then(|at| host.split_at_checked(at)) {
        Some((name, port)) if port.iter().skip(1).all(u8::is_ascii_digit) => name,
        Some(_) | None => host,
    }
}

#[cfg(test)]
mod tests {
    use knoxcall_bundle::PreviousHash;

    use super::*;
    use crate::sample::{self, NOW};
    use crate::table::RouteTable;

    fn table() -> RouteTable {
        let mut tenant = sample::tenant();
        tenant.hosts.previous_hash = Some(PreviousHash {
            hash: sample::name("01d01d00"),
            valid_until: UnixSeconds(NOW.0 + 60),
        });
        sample::table(tenant)
    }

    fn found(host: &str, now: UnixSeconds) -> Option<(String, bool, bool)> {
        match find(&table().hosts, host.as_bytes(), now) {
            Ok((name, entry)) => Some((name.to_owned(), entry.strips_api, entry.sandbox)),
            Err(refusal) => {
                assert_eq!(refusal, Refusal::UnknownHost);
                None
            }
        }
    }

    #[test]
    fn answers_on_each_form_of_host() {
        for (host, strips_api, sandbox) in [
            ("acme.example.test", true, false),
            ("sandbox-acme.example.test", true, true),
            ("a1b2c3d4.acme.example.test", false, false),
            ("api.acme.test", false, false),
        ] {
            assert_eq!(
                found(host, NOW),
                Some((host.to_owned(), strips_api, sandbox))
            );
        }
    }

    #[test]
    fn regards_neither_case_nor_port() {
        for host in [
            "ACME.Example.TEST",
            "acme.example.test:8080",
            "Acme.example.test:1",
        ] {
            let name = found(host, NOW).map(|(name, ..)| name);
            assert_eq!(name.as_deref(), Some("acme.example.test"), "{host}");
        }
    }

    #[test]
    fn refuses_every_other_host_in_the_same_way() {
        let long = "A".repeat(300);
        for host in [
            "",
            "acme",
            "example.test",
            "globex.example.test",
            "ffffffff.acme.example.test",
            "x.a1b2c3d4.acme.example.test",
            "acme.example.test.",
            "acme.example.test:8080:1",
            "acme.example.test:x",
            "sandbox-a1b2c3d4.acme.example.test",
            "127.0.0.1",
            "[::1]:80",
            &long,
        ] {
            assert_eq!(found(host, NOW), None, "{host}");
        }
    }

    #[test]
    fn a_rolled_hash_answers_until_its_overlap_ends() {
        let rolled = "01d01d00.acme.example.test";
        assert!(found(rolled, NOW).is_some());
        assert!(found(rolled, UnixSeconds(NOW.0 + 59)).is_some());
        assert_eq!(found(rolled, UnixSeconds(NOW.0 + 60)), None);
    }

    #[test]
    fn without_an_overlap_a_rolled_hash_is_refused_at_once() {
        let mut tenant = sample::tenant();
        tenant.hosts.subdomain_hash = Some(sample::name("00000000"));
        let table = sample::table(tenant);
        let rolled = find(&table.hosts, sample::HOST.as_bytes(), NOW);
        assert_eq!(rolled.map(|(name, _)| name), Err(Refusal::UnknownHost));
    }
}
