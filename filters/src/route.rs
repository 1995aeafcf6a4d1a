//! Which route a request is for: the one that `x-knoxcall-route` names (by
//! slug, else UUID, else name), or, without that header, the one whose host
//! and path rule matches. A name that is not found never falls through to the
//! rules.
//!
//! The longest segment-aligned prefix wins; between two of one length, the one
//! for this very host. A rule of a disabled route still wins, so that disabling
//! a route never hands its paths to another. Both sides are compared in one
//! form (`path/matching.rs`), so that no spelling of a guarded path goes through
//! an open route.

use std::sync::Arc;

use hashbrown::HashMap;
use knoxcall_bundle::MatchRule;
use knoxcall_bundle::ids::RouteId;
use uuid::Uuid;

use crate::admit::Site;
use crate::caller::Effort;
use crate::path;
use crate::table::{RouteEntry, TenantTable};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Selected<'t, 'h> {
    pub route: Option<&'t Arc<RouteEntry>>,
    /// Without a prefix that the rule strips.
    pub path: &'h [u8],
}

pub(crate) fn select<'t, 'h>(
    site: &Site<'t>,
    named: Option<&[u8]>,
    path: &'h [u8],
    effort: &mut Effort,
) -> Selected<'t, 'h> {
    match named {
        Some(text) => Selected {
            route: by_name(site.tenant, text, effort),
            path,
        },
        None => site.tenant.rules.find(site.host, path, effort),
    }
}

/// All look-ups are made, whichever of them succeeds: the time does not tell
/// which routes exist.
fn by_name<'t>(
    tenant: &'t TenantTable,
    text: &[u8],
    effort: &mut Effort,
) -> Option<&'t Arc<RouteEntry>> {
    effort.route_lookups += 2;
    let by_slug = tenant.routes_by_slug.get(text);
    let by_name = tenant.routes_by_name.get(text);
    let by_id = hyphenated(text).and_then(|id| {
        effort.route_lookups += 1;
        tenant.routes_by_id.get(&RouteId(id))
    });
    by_slug.or(by_id).or(by_name)
}

/// The form of RFC 9562 section 4, and no other that a parser might take.
fn hyphenated(text: &[u8]) -> Option<Uuid> {
    (text.len() == 36)
        .then(|| Uuid::try_parse_ascii(text).ok())
        .flatten()
}

/// The rules of one tenant. A look-up costs two hash look-ups for each segment
/// of the path, up to the deepest rule's; how many rules there are does not
/// matter.
#[derive(Debug, Default)]
pub(crate) struct RuleTable {
    any_host: PrefixMap,
    by_host: HashMap<Box<str>, PrefixMap>,
    /// Segments of the deepest rule. Longer paths are not looked at further,
    /// so a path of ten thousand segments costs no more than its own length.
    deepest: usize,
    empty: bool,
}

type PrefixMap = HashMap<Box<[u8]>, Rule>;

#[derive(Debug)]
struct Rule {
    route: Arc<RouteEntry>,
    strips: bool,
}

impl RuleTable {
    /// The first of two equal rules stays.
    pub(crate) fn new<'b>(
        rules: impl IntoIterator<Item = (&'b MatchRule, &'b Arc<RouteEntry>)>,
    ) -> Self {
        let mut table = Self {
            empty: true,
            ..Self::default()
        };
        for (rule, route) in rules {
            let prefix = path::matched(rule.path_prefix.as_bytes());
            table.empty = false;
            table.deepest = table.deepest.max(depth(&prefix));
            let prefixes = match &rule.host {
                Some(host) => table.by_host.entry(host.as_str().into()).or_default(),
                None => &mut table.any_host,
            };
            prefixes.entry(prefix.into()).or_insert_with(|| Rule {
                route: route.clone(),
                strips: rule.strip_prefix,
            });
        }
        table
    }

    fn find<'t, 'h>(&'t self, host: &str, path: &'h [u8], effort: &mut Effort) -> Selected<'t, 'h> {
        if self.empty {
            return Selected { route: None, path };
        }
        let form = path::matched(path);
        let of_host = self.by_host.get(host);
        let mut best = None;
        for (segments, prefix) in prefixes(&form).take(self.deepest + 1) {
            effort.route_lookups += 2;
            let general = self.any_host.get(prefix);
            let found = of_host.and_then(|rules| rules.get(prefix)).or(general);
            best = found.map(|rule| (rule, segments)).or(best);
        }
        let Some((rule, segments)) = best else {
            return Selected { route: None, path };
        };
        let path = if rule.strips {
            path::after_named(path, segments)
        } else {
            path
        };
        Selected {
            route: Some(&rule.route),
            path,
        }
    }
}

/// `/`, then one segment after the other: shortest first, with the number of
/// segments.
fn prefixes(path: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let inner = memchr::memchr_iter(b'/', path).skip(1);
    let ends = inner
        .chain(std::iter::once(path.len()))
        .filter(|end| *end > 1);
    let longer = ends
        .filter_map(|end| path.get(..end))
        .zip(1..)
        .map(|(prefix, n)| (n, prefix));
    std::iter::once((0, b"/".as_slice())).chain(longer)
}

fn depth(prefix: &[u8]) -> usize {
    if prefix == b"/" {
        0
    } else {
        memchr::memchr_iter(b'/', prefix).count()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sample;
    use crate::table::RouteTable;

    const HOST: &str = "api.acme.test";

    /// Route 1 has the first rule, route 2 the second one, and so on.
    fn rules(rules: &[(Option<&str>, &str, bool)]) -> RouteTable {
        let mut tenant = sample::tenant();
        tenant.routes.extend(
            rules
                .iter()
                .zip(1..)
                .map(|((host, prefix, strips), number)| {
                    let mut route = sample::route(number);
                    route.match_rules.push(sample::rule(*host, prefix, *strips));
                    route
                }),
        );
        sample::table(tenant)
    }

    /// The number of the route, and the path that is left.
    fn found(table: &RouteTable, host: &str, path: &str) -> Option<(usize, String)> {
        let rules = &table.tenants[0].rules;
        let selected = rules.find(host, path.as_bytes(), &mut Effort::default());
        let number = selected.route?.id.0.as_u128() & 0xFFFF_FFFF;
        let rest = String::from_utf8(selected.path.to_vec()).unwrap();
        Some((usize::try_from(number).unwrap(), rest))
    }

    fn number(table: &RouteTable, path: &str) -> Option<usize> {
        found(table, HOST, path).map(|(number, _)| number)
    }

    #[test]
    fn a_prefix_matches_whole_segments() {
        let table = rules(&[(None, "/hooks", false)]);
        for path in ["/hooks", "/hooks/", "/hooks/a/b", "/hooks//a", "//hooks"] {
            assert_eq!(number(&table, path), Some(1), "{path}");
        }
        for path in [
            "/",
            "",
            "/hook",
            "/hooksx",
            "/a/hooks",
            "/Hooks",
            "/hooks%2Fa",
        ] {
            assert_eq!(number(&table, path), None, "{path}");
        }
    }

    #[test]
    fn the_longest_prefix_wins() {
        let table = rules(&[
            (None, "/a/b", false),
            (None, "/", false),
            (None, "/a", false),
        ]);
        assert_eq!(number(&table, "/a/b/c"), Some(1));
        assert_eq!(number(&table, "/a/bc"), Some(3));
        assert_eq!(number(&table, "/b"), Some(2));
        assert_eq!(number(&table, ""), Some(2));
    }

    #[test]
    fn the_rule_of_this_host_wins_over_one_of_any_host_but_not_over_a_longer_one() {
        let table = rules(&[
            (None, "/a", false),
            (Some(HOST), "/a", false),
            (None, "/a/b", false),
        ]);
        assert_eq!(found(&table, HOST, "/a/x").unwrap().0, 2);
        assert_eq!(found(&table, "other.acme.test", "/a/x").unwrap().0, 1);
        assert_eq!(found(&table, HOST, "/a/b").unwrap().0, 3);
    }

    #[test]
    fn no_spelling_of_a_guarded_path_goes_by_an_open_rule() {
        let table = rules(&[
            (None, "/", false),
            (None, "/admin", false),
            (None, "/a@b", false),
            (None, "/c%3Ad%2Ce", false),
        ]);
        for path in [
            "/admin/x",
            "//admin/x",
            "/admin;y/x",
            "/admin;/",
            "/admin%3bx",
            "/;y/admin",
            "/%3By//admin",
            "/%61dmin",
        ] {
            assert_eq!(number(&table, path), Some(2), "{path}");
        }
        for (path, expected) in [
            ("/a%40b", 3),
            ("/a@b", 3),
            ("/c:d,e", 4),
            ("/ADMIN", 1),
            ("/admi", 1),
        ] {
            assert_eq!(number(&table, path), Some(expected), "{path}");
        }
    }

    #[test]
    fn unreserved_characters_are_decoded_for_matching_and_sent_as_received() {
        let table = rules(&[(
            None,
            "/caf\u{e9}-x".replace('\u{e9}', "%C3%A9").as_str(),
            false,
        )]);
        let (_, rest) = found(&table, HOST, "/c%61f%c3%a9%2dx/%61").unwrap();
        assert_eq!(rest, "/c%61f%c3%a9%2dx/%61");
    }

    #[test]
    fn a_stripped_prefix_is_cut_from_the_raw_path() {
        let table = rules(&[(None, "/a/b", true), (None, "/", true)]);
        for (path, rest) in [
            ("/a/b", ""),
            ("/a/b/", "/"),
            ("/%61/b//c%20", "//c%20"),
            ("//a;x/b;y/c;z", "/c;z"),
            ("/x/y", "/x/y"),
        ] {
            assert_eq!(found(&table, HOST, path).unwrap().1, rest, "{path}");
        }
    }

    #[test]
    fn a_rule_of_a_disabled_route_does_not_leave_its_paths_to_another() {
        let mut tenant = sample::tenant();
        for (number, prefix) in [(1, "/a"), (2, "/")] {
            let mut route = sample::route(number);
            route.enabled = number != 1;
            route.match_rules.push(sample::rule(None, prefix, false));
            tenant.routes.push(route);
        }
        let table = sample::table(tenant);
        assert_eq!(number(&table, "/a/x"), Some(1));
    }

    #[test]
    fn the_effort_depends_on_the_path_and_not_on_the_rule_found() {
        let table = rules(&[(None, "/a/b", false), (None, "/a", false)]);
        let effort = |path: &str| {
            let mut effort = Effort::default();
            table.tenants[0]
                .rules
                .find(HOST, path.as_bytes(), &mut effort);
            effort
        };
        assert_eq!(effort("/a/b/c"), effort("/x/y/z"));
        let deep = "/x".repeat(8_000);
        assert_eq!(effort(&deep), effort("/x/y"));
    }

    fn by(named: &str) -> Option<usize> {
        let mut tenant = sample::tenant();
        let mut second = sample::route(2);
        second.slug = None;
        tenant.routes.extend([sample::route(1), second]);
        let table = sample::table(tenant);
        let route = by_name(&table.tenants[0], named.as_bytes(), &mut Effort::default())?;
        usize::try_from(route.id.0.as_u128() & 0xFFFF_FFFF).ok()
    }

    #[test]
    fn a_route_is_named_by_slug_id_or_name() {
        assert_eq!(by("route-1"), Some(1));
        assert_eq!(by("Route 1"), Some(1));
        assert_eq!(by("Route 2"), Some(2));
        let id = sample::route_id(2).to_string();
        assert_eq!(by(&id), Some(2));
        assert_eq!(by(&id.to_uppercase()), Some(2));
    }

    #[test]
    fn a_name_must_be_exact() {
        let id = sample::route_id(2).0;
        for named in ["", "Route-1", "route 1", "route-1 ", "route-2", "ROUTE 1"] {
            assert_eq!(by(named), None, "{named}");
        }
        for named in [
            id.simple().to_string(),
            id.braced().to_string(),
            id.urn().to_string(),
        ] {
            assert_eq!(by(&named), None, "{named}");
        }
    }

    #[test]
    fn a_slug_wins_over_an_id_and_an_id_over_a_name() {
        let mut tenant = sample::tenant();
        let mut by_slug = sample::route(2);
        by_slug.slug = Some(sample::name(&sample::route_id(1).to_string()));
        let mut by_name = sample::route(3);
        by_name.name = sample::name(&sample::route_id(2).to_string());
        tenant.routes.extend([sample::route(1), by_slug, by_name]);
        let table = sample::table(tenant);
        let found = |id| {
            let text = sample::route_id(id).to_string();
            super::by_name(&table.tenants[0], text.as_bytes(), &mut Effort::default())
                .unwrap()
                .id
        };
        assert_eq!(found(1), sample::route_id(2));
        assert_eq!(found(2), sample::route_id(2));
    }

    proptest! {
        #[test]
        fn agrees_with_a_linear_search(
            prefixes in proptest::collection::vec("(/[ab]{1,2}){1,3}", 1..12),
            given_path in "(/[ab]{0,2}){0,5}",
        ) {
            let given: Vec<_> = prefixes.iter().map(|prefix| (None, prefix.as_str(), false)).collect();
            let named = given_path.split('/').filter(|segment| !segment.is_empty());
            let path = named.map(|segment| format!("/{segment}")).collect::<String>();
            let expected = prefixes
                .iter()
                .filter(|prefix| path.strip_prefix(prefix.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
                .max_by_key(|prefix| prefix.len());
            let found = number(&rules(&given), &given_path).map(|number| &prefixes[number - 1]);
            prop_assert_eq!(found, expected);
        }
    }
}
