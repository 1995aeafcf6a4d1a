//! What a document declares, by name: references are looked up here, and what
//! is not found is told with the nearest that is.

use std::collections::{BTreeMap, HashMap};

use crate::document::TenantDocument;
use crate::ids::{ClientId, EnvironmentName, RouteId, SecretId, SecretName, TenantId};
use crate::model::Variable;
use crate::names::nearest;
use crate::problem::{At, DocPath, Noun, PathStep, Problems};
use crate::secret::SecretValue;
use uuid::Uuid;

/// A secret, and what the bundle does not keep of it.
pub(super) struct DeclaredSecret {
    pub(super) id: SecretId,
    pub(super) name: SecretName,
    pub(super) optional: bool,
    pub(super) values: BTreeMap<EnvironmentName, SecretValue>,
    /// Environments that are given a source, whether it yields a value or not:
    /// a value that is not to be had is told once, where it is declared.
    pub(super) sourced: Vec<EnvironmentName>,
    /// Its place under `secrets`.
    pub(super) index: usize,
}

impl DeclaredSecret {
    pub(super) fn has_value_in(&self, environment: &EnvironmentName) -> bool {
        self.sourced.contains(environment)
    }
}

/// Declared names. Everything is looked up by what the document writes.
#[derive(Default)]
pub(super) struct Names<'a> {
    pub(super) environments: Vec<EnvironmentName>,
    pub(super) sandboxes: Vec<EnvironmentName>,
    variables: HashMap<String, &'a Variable>,
    secrets: HashMap<String, &'a DeclaredSecret>,
    secrets_by_id: HashMap<SecretId, &'a DeclaredSecret>,
    clients: HashMap<&'a str, ClientId>,
    routes: HashMap<String, RouteId>,
    route_slugs: Vec<&'a str>,
}

impl<'a> Names<'a> {
    pub(super) fn new(environments: Vec<EnvironmentName>, sandboxes: Vec<EnvironmentName>) -> Self {
        Self {
            environments,
            sandboxes,
            ..Self::default()
        }
    }

    pub(super) fn with_variables(mut self, variables: &'a [Variable]) -> Self {
        let pairs = variables.iter();
        self.variables = pairs
            .map(|variable| (variable.key.as_str().to_owned(), variable))
            .collect();
        self
    }

    pub(super) fn with_secrets(mut self, secrets: &'a [DeclaredSecret]) -> Self {
        for secret in secrets {
            self.secrets.insert(secret.name.as_str().to_owned(), secret);
            self.secrets_by_id.insert(secret.id, secret);
        }
        self
    }

    pub(super) fn with_routes(
        mut self,
        document: &'a TenantDocument,
        ids: &[Option<RouteId>],
    ) -> Self {
        // A slug counts before an id, an id before a name: the later insert wins.
        let routes = || {
            document
                .routes
                .iter()
                .zip(ids)
                .filter_map(|(route, id)| Some((route, (*id)?)))
        };
        for (route, id) in routes() {
            if let Some(name) = &route.name {
                self.routes.insert(name.clone(), id);
            }
        }
        for (_, id) in routes() {
            self.routes.insert(id.to_string(), id);
        }
        for (route, id) in routes() {
            if let Some(slug) = &route.slug {
                self.routes.insert(slug.clone(), id);
                self.route_slugs.push(slug);
            }
        }
        self
    }

    pub(super) fn with_clients(
        mut self,
        document: &'a TenantDocument,
        ids: &[Option<ClientId>],
    ) -> Self {
        let clients = document.clients.iter().zip(ids);
        self.clients = clients
            .filter_map(|(client, id)| Some((client.name.as_str(), (*id)?)))
            .collect();
        self
    }

    pub(super) fn variable(&self, key: &str) -> Option<&'a Variable> {
        self.variables.get(key).copied()
    }

    pub(super) fn secret(&self, name: &str) -> Option<&'a DeclaredSecret> {
        self.secrets.get(name).copied()
    }

    pub(super) fn secret_by_id(&self, id: SecretId) -> Option<&'a DeclaredSecret> {
        self.secrets_by_id.get(&id).copied()
    }

    pub(super) fn client(
        &self,
        text: &str,
        at: &At<'_>,
        problems: &mut Problems,
    ) -> Option<ClientId> {
        let id = self.clients.get(text).copied();
        if id.is_none() {
            self.tell_unknown(Noun::Client, text, at, problems);
        }
        id
    }

    pub(super) fn route(
        &self,
        text: &str,
        at: &At<'_>,
        problems: &mut Problems,
    ) -> Option<RouteId> {
        let id = self.routes.get(text).copied();
        if id.is_none() {
            self.tell_unknown(Noun::Route, text, at, problems);
        }
        id
    }

    pub(super) fn environment(
        &self,
        text: &str,
        at: &At<'_>,
        problems: &mut Problems,
    ) -> Option<EnvironmentName> {
        let mut environments = self.environments.iter();
        let name = environments.find(|name| name.as_str() == text).cloned();
        if name.is_none() {
            self.tell_unknown(Noun::Environment, text, at, problems);
        }
        name
    }

    pub(super) fn tell_unknown(
        &self,
        noun: Noun,
        name: &str,
        at: &At<'_>,
        problems: &mut Problems,
    ) {
        let message = format!("no {} is called `{}`", noun.word(), short(name));
        problems.add_about(noun, at, message, self.remedy(noun, name));
    }

    fn remedy(&self, noun: Noun, name: &str) -> String {
        let near = match noun {
            Noun::Secret => return self.nearest_secret(name),
            Noun::Variable => nearest(name, self.variables.keys().map(String::as_str)),
            Noun::Client => nearest(name, self.clients.keys().copied()),
            Noun::Route => nearest(name, self.route_slugs.iter().copied()),
            Noun::Environment => {
                nearest(name, self.environments.iter().map(EnvironmentName::as_str))
            }
        };
        match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("declare it under {}", noun.section()),
        }
    }

    /// Points at the place: nothing that stands under `secrets` is quoted.
    pub(super) fn nearest_secret(&self, name: &str) -> String {
        let near = nearest(name, self.secrets.keys().map(String::as_str));
        match near.and_then(|near| self.secrets.get(near)) {
            Some(secret) => format!("did you mean the one at secrets[{}]?", secret.index),
            None => "declare it under secrets".to_owned(),
        }
    }
}

/// As much of a name as a message bears.
fn short(name: &str) -> String {
    let shown: String = name.chars().take(80).collect();
    shown.escape_debug().to_string()
}

/// The root of every id that is derived from a name, so that ids stay the same
/// over reloads and instances (RFC 9562, 5.5).
const NAMESPACE: Uuid = Uuid::from_u128(0x6f0c_2f5e_8d0b_4d0a_9a53_1c7d_27f4_b0e1);

pub(super) fn derived_tenant_id(slug: &str) -> TenantId {
    TenantId(Uuid::new_v5(
        &NAMESPACE,
        format!("tenant/{slug}").as_bytes(),
    ))
}

/// The id a document gives, else one that follows from tenant, kind and name.
pub(super) fn id_or_derived(
    given: Option<&str>,
    (tenant, kind, name): (TenantId, &str, &str),
    at: &At<'_>,
    problems: &mut Problems,
) -> Uuid {
    if let Some(text) = given {
        if let Ok(id) = Uuid::try_parse(text) {
            return id;
        }
        let remedy = "leave it out to have one derived from the name";
        problems.add(&at.key("id"), "is not a UUID", remedy);
    }
    Uuid::new_v5(&tenant.0, format!("{kind}/{name}").as_bytes())
}

/// Names of one kind that were seen, and where.
#[derive(Default)]
pub(super) struct Unique {
    seen: HashMap<String, usize>,
}

impl Unique {
    /// Tells a second use, and says whether it is the first; the name itself
    /// is not quoted.
    pub(super) fn check(
        &mut self,
        name: &str,
        index: usize,
        section: &str,
        at: &At<'_>,
        problems: &mut Problems,
    ) -> bool {
        let Some(first) = self.seen.get(name) else {
            self.seen.insert(name.to_owned(), index);
            return true;
        };
        let other = place(section, *first);
        problems.add_clash(at, "is the same as that of", other, "change one of them");
        false
    }

    /// Of two derived ids that are the same, the names were told already.
    pub(super) fn check_id(
        &mut self,
        id: Uuid,
        index: usize,
        (section, given): (&str, Option<&str>),
        at: &At<'_>,
        problems: &mut Problems,
    ) {
        let id = id.to_string();
        if given.is_some_and(|text| Uuid::try_parse(text).is_ok()) {
            self.check(&id, index, section, &at.key("id"), problems);
        } else {
            self.seen.entry(id).or_insert(index);
        }
    }

    pub(super) fn place_of(&self, name: &str) -> Option<usize> {
        self.seen.get(name).copied()
    }
}

/// An item of a list, as a path. The list may be below another field.
pub(super) fn place(list: &str, index: usize) -> DocPath {
    let keys = list.split('.').map(|key| PathStep::Key(key.to_owned()));
    DocPath(keys.chain([PathStep::Index(index)]).collect())
}

/// A name in its type; a wrong one is told with its rule.
pub(super) fn named<'t, T>(text: &'t str, at: &At<'_>, problems: &mut Problems) -> Option<T>
where
    T: TryFrom<&'t str, Error = crate::ids::InvalidName>,
{
    match T::try_from(text) {
        Ok(name) => Some(name),
        Err(error) => {
            problems.add(at, error.to_string(), "");
            None
        }
    }
}
