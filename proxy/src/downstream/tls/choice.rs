//! Which certificate a client gets: of those that have the name it asks for
//! (exactly, else by a wildcard for the first label, else the default's), the
//! first one whose key it can verify.

use std::collections::HashMap;

use boring::nid::Nid;
use boring::pkey::{Id, PKeyRef, Private};
use boring::ssl::{ClientHello, ExtensionType};

/// TLS 1.3 in `supported_versions`.
const TLS13: u16 = 0x0304;
/// ECDHE-ECDSA with AES-GCM or ChaCha20 (RFC 5289, RFC 7905).
const ECDSA_SUITES: [u16; 3] = [0xc02b, 0xc02c, 0xcca9];

/// What a client must know to verify a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyKind {
    Rsa,
    /// By the code of the signature scheme (RFC 8446, section 4.2.3).
    Ecdsa(u16),
}

/// What a client says it knows, as bytes of its hello.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Offer<'h> {
    schemes: &'h [u8],
    suites: &'h [u8],
    versions: &'h [u8],
}

/// Certificates by their places among the listener's.
#[derive(Debug, Default)]
pub(super) struct Choice {
    kinds: Vec<KeyKind>,
    exact: HashMap<String, Vec<usize>>,
    /// By what follows the first label.
    wildcards: HashMap<String, Vec<usize>>,
    /// Those with the same names as the first one.
    default: Vec<usize>,
}

impl KeyKind {
    pub(super) fn of(key: &PKeyRef<Private>) -> Self {
        match key.id() {
            Id::EC => {
                let key = key.ec_key().ok();
                Self::Ecdsa(scheme(key.and_then(|key| key.group().curve_name())))
            }
            _ => Self::Rsa,
        }
    }
}

fn scheme(curve: Option<Nid>) -> u16 {
    match curve {
        Some(Nid::SECP521R1) => 0x0603,
        Some(Nid::SECP384R1) => 0x0503,
        Some(_) | None => 0x0403,
    }
}

impl<'h> Offer<'h> {
    pub(super) fn of(hello: &'h ClientHello<'_>) -> Self {
        let extension = |kind| hello.get_extension(kind).unwrap_or_default();
        // Each begins with its length: of two bytes, of one.
        let schemes = extension(ExtensionType::SIGNATURE_ALGORITHMS).get(2..);
        let versions = extension(ExtensionType::SUPPORTED_VERSIONS).get(1..);
        Self {
            schemes: schemes.unwrap_or_default(),
            suites: hello.ciphers(),
            versions: versions.unwrap_or_default(),
        }
    }

    fn supports(&self, kind: KeyKind) -> bool {
        match kind {
            KeyKind::Rsa => true,
            KeyKind::Ecdsa(scheme) => {
                let suite = || {
                    ECDSA_SUITES
                        .iter()
                        .any(|suite| contains(self.suites, *suite))
                };
                contains(self.schemes, scheme) && (contains(self.versions, TLS13) || suite())
            }
        }
    }
}

fn contains(codes: &[u8], code: u16) -> bool {
    let (codes, _) = codes.as_chunks::<2>();
    codes.contains(&code.to_be_bytes())
}

impl Choice {
    pub(super) fn new<'c>(certificates: impl IntoIterator<Item = (&'c [String], KeyKind)>) -> Self {
        let mut choice = Self::default();
        let mut first: Option<Vec<&String>> = None;
        for (place, (names, kind)) in certificates.into_iter().enumerate() {
            choice.kinds.push(kind);
            for name in names {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(rest) => (&mut choice.wildcards, rest),
                    None => (&mut choice.exact, name.as_str()),
                };
                map.entry(name.to_owned()).or_default().push(place);
            }
            let mut names: Vec<&String> = names.iter().collect();
            names.sort();
            if *first.get_or_insert_with(|| names.clone()) == names {
                choice.default.push(place);
            }
        }
        choice
    }

    pub(super) fn choose(&self, name: Option<&str>, offer: &Offer<'_>) -> usize {
        let candidates = name
            .and_then(|name| self.with_name(name))
            .unwrap_or(&self.default);
        let supported = |place: &&usize| {
            let kind = self.kinds.get(**place);
            kind.is_some_and(|kind| offer.supports(*kind))
        };
        let chosen = candidates.iter().find(supported);
        chosen.or(candidates.first()).copied().unwrap_or_default()
    }

    fn with_name(&self, name: &str) -> Option<&Vec<usize>> {
        let name = name.to_ascii_lowercase();
        self.exact.get(&name).or_else(|| {
            let (_, rest) = name.split_once('.')?;
            self.wildcards.get(rest)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P256: KeyKind = KeyKind::Ecdsa(0x0403);
    const MODERN: Offer<'_> = Offer {
        schemes: &[4, 3, 8, 4],
        suites: &[0x13, 1],
        versions: &[3, 4, 3, 3],
    };
    const OLD: Offer<'_> = Offer {
        schemes: &[4, 1, 8, 4],
        suites: &[0xc0, 0x2f],
        versions: &[],
    };

    fn choice(certificates: &[(&[&str], KeyKind)]) -> Choice {
        let owned: Vec<(Vec<String>, KeyKind)> = certificates
            .iter()
            .map(|(names, kind)| (names.iter().map(ToString::to_string).collect(), *kind))
            .collect();
        Choice::new(owned.iter().map(|(names, kind)| (names.as_slice(), *kind)))
    }

    #[test]
    fn a_name_is_found_exactly_before_by_a_wildcard_before_the_default() {
        let choice = choice(&[
            (&["a.test"], P256),
            (&["*.b.test", "b.test"], P256),
            (&["x.b.test"], P256),
        ]);
        for (name, place) in [
            (Some("a.test"), 0),
            (Some("A.TEST"), 0),
            (Some("b.test"), 1),
            (Some("y.b.test"), 1),
            (Some("x.b.test"), 2),
            (Some("z.y.b.test"), 0),
            (Some("unknown.test"), 0),
            (Some(""), 0),
            (None, 0),
        ] {
            assert_eq!(choice.choose(name, &MODERN), place, "{name:?}");
        }
    }

    #[test]
    fn a_client_gets_the_first_key_that_it_knows() {
        let names: &[&str] = &["a.test"];
        let choice = choice(&[(names, P256), (names, KeyKind::Rsa)]);
        for name in [Some("a.test"), Some("unknown.test"), None] {
            assert_eq!(choice.choose(name, &MODERN), 0);
            assert_eq!(choice.choose(name, &OLD), 1);
        }
    }

    #[test]
    fn ecdsa_takes_the_curve_and_before_tls_13_a_suite_as_well() {
        assert!(MODERN.supports(P256));
        assert!(!MODERN.supports(KeyKind::Ecdsa(0x0503)));
        let mut old = OLD;
        old.schemes = &[4, 3];
        assert!(!old.supports(P256));
        old.suites = &[0xc0, 0x2b];
        assert!(old.supports(P256));
    }

    #[test]
    fn a_certificate_of_its_own_names_is_never_the_default() {
        let choice = choice(&[(&["a.test"], P256), (&["b.test"], KeyKind::Rsa)]);
        assert_eq!(choice.choose(Some("c.test"), &OLD), 0);
    }
}
