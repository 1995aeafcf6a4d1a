//! Whether anybody can call a route that wants a signature, or a client: one
//! that nobody can call is a mistake.

use std::collections::HashSet;

use crate::document::TenantDocument;
use crate::ids::{ClientId, EnvironmentName, RouteId};
use crate::model::{ApiKey, Client, RouteEnvironment, Scope, Scopes};
use crate::problem::{At, Noun, Problems};

/// Which clients there are, and where.
pub(super) struct Callers {
    assigned: Places,
    signing: Places,
}

#[derive(Default)]
struct Places {
    everywhere: bool,
    scopes: HashSet<(Option<RouteId>, Option<EnvironmentName>)>,
}

impl Callers {
    pub(super) fn new(
        document: &TenantDocument,
        ids: &[Option<ClientId>],
        clients: &[Client],
        api_keys: &[ApiKey],
    ) -> Self {
        let declared = document.clients.iter().zip(ids);
        let signing: HashSet<ClientId> = declared
            .filter(|(client, _)| !client.signing_secrets.is_empty())
            .filter_map(|(_, id)| *id)
            .collect();
        let enabled = || clients.iter().filter(|client| client.enabled);
        let can_sign = enabled().filter(|client| signing.contains(&client.id));
        let mut signing_places = Places::of(can_sign);
        let has_signer = |key: &&ApiKey| key.client.is_some_and(|client| signing.contains(&client));
        for key in api_keys.iter().filter(has_signer) {
            signing_places.add_key(key);
        }
        Self {
            assigned: Places::of(enabled()),
            signing: signing_places,
        }
    }

    pub(super) fn check_signers(
        &self,
        route: RouteId,
        environment: &EnvironmentName,
        at: &At<'_>,
        problems: &mut Problems,
    ) {
        if !self.signing.hold(route, environment) {
            problems.add_about(
                Noun::Client,
                at,
                format!("requires signatures, but no client of `{environment}` can sign"),
                "give a client signing_secrets, and assign it here or give it an API key",
            );
        }
    }

    /// Some of its environments may be closed to everybody, not all of them.
    pub(super) fn check_assigned(
        &self,
        route: RouteId,
        environments: &[RouteEnvironment],
        at: &At<'_>,
        problems: &mut Problems,
    ) {
        let mut requiring = environments
            .iter()
            .filter(|settings| settings.requires_clients && !settings.open)
            .map(|settings| &settings.environment)
            .peekable();
        if requiring.peek().is_some() && !requiring.any(|name| self.assigned.hold(route, name)) {
            let message = "requires clients, but none is assigned to it";
            let remedy = "add it to a client's assignments";
            problems.add_about(Noun::Client, at, message, remedy);
        }
    }
}

impl Places {
    fn of<'a>(clients: impl Iterator<Item = &'a Client>) -> Self {
        let scopes = clients.flat_map(|client| &client.assignments);
        Self {
            everywhere: false,
            scopes: scopes.map(place).collect(),
        }
    }

    fn add_key(&mut self, key: &ApiKey) {
        match &key.scopes {
            Scopes::Any => self.everywhere = true,
            Scopes::Only(scopes) => self.scopes.extend(scopes.iter().map(place)),
        }
    }

    fn hold(&self, route: RouteId, environment: &EnvironmentName) -> bool {
        let routes = [Some(route), None];
        self.everywhere
            || routes.into_iter().any(|route| {
                self.scopes.contains(&(route, None))
                    || self.scopes.contains(&(route, Some(environment.clone())))
            })
    }
}

fn place(scope: &Scope) -> (Option<RouteId>, Option<EnvironmentName>) {
    (scope.route, scope.environment.clone())
}
