//! What keeps secrets out of answers, and which secrets that are: those that
//! may go into a request, whatever its method.

use crate::model::{JsonTemplate, RouteEnvironment};
use crate::template::{SecretRef, Segment, Template};

pub use crate::document::LeakGuardMode;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeakGuardSettings {
    pub mode: LeakGuardMode,
    /// `Range` goes to the upstream.
    pub allow_range: bool,
}

impl LeakGuardSettings {
    /// In bytes, without white space around it: a shorter secret is not looked
    /// for, as it would be found where there is none.
    pub const SHORTEST_SECRET: usize = 8;
}

impl RouteEnvironment {
    /// Every template of what is injected, for any method.
    pub fn injected_templates(&self) -> Vec<&Template> {
        let mut templates = Vec::new();
        let base = (Some(&self.injection.headers), self.injection.body.as_ref());
        let methods = self.method_configs.iter();
        let methods = methods.map(|config| (config.headers.as_ref(), config.body.as_ref()));
        for (headers, body) in std::iter::once(base).chain(methods) {
            templates.extend(headers.into_iter().flatten().map(|(_, template)| template));
            if let Some(body) = body {
                body.add_templates(&mut templates);
            }
        }
        templates
    }

    /// Every secret that a client may have put into its own body, or that a
    /// template names. Some stand there more than once.
    pub fn injected_secrets(&self) -> Vec<SecretRef> {
        let templates = self.injected_templates();
        let named = templates.into_iter().flat_map(Template::references);
        let named = named.filter_map(|segment| match segment {
            Segment::Secret(reference) => Some(reference.clone()),
            Segment::Text(_) | Segment::Variable(_) | Segment::Builtin(_) => None,
        });
        let of_clients = self.body_secrets.iter().copied().map(SecretRef::Id);
        named.chain(of_clients).collect()
    }
}

impl JsonTemplate {
    fn add_templates<'t>(&'t self, templates: &mut Vec<&'t Template>) {
        match self {
            Self::Null | Self::Bool(_) | Self::Number(_) => {}
            Self::String(template) => templates.push(template),
            Self::Array(items) => {
                for item in items {
                    item.add_templates(templates);
                }
            }
            Self::Object(members) => {
                for (_, member) in members {
                    member.add_templates(templates);
                }
            }
        }
    }
}
