//! Templates of injected headers and bodies: `{{secret:NAME}}`,
//! `{{secret_id:UUID}}`, `{{var:KEY}}`, the built-in variables, and Liquid.
//!
//! Plain placeholders compile to a list of segments; only text that really
//! uses Liquid (tags, filters) keeps a Liquid template. A substituted value is
//! never parsed again.

mod liquid_bounds;
mod liquid_filter;
mod liquid_limits;
mod liquid_lists;
mod liquid_math;
mod liquid_syntax;

use std::fmt;
use std::sync::{Arc, LazyLock};

use thiserror::Error;
use uuid::Uuid;

pub use self::liquid_bounds::{BoundedText, MAX_VALUE_BYTES};
use crate::ids::{SecretId, SecretName, VariableKey};
use crate::names::nearest;

/// Bytes of one template.
pub const MAX_TEMPLATE_BYTES: usize = 8 * 1024;

#[derive(Clone, PartialEq, Eq)]
pub enum Segment {
    Text(Arc<str>),
    Secret(SecretRef),
    Variable(VariableKey),
    Builtin(Builtin),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SecretRef {
    Name(SecretName),
    Id(SecretId),
}

/// What a request knows of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Builtin {
    ClientId,
    ClientName,
    RouteId,
    RouteName,
    RouteSlug,
    Environment,
    /// Unix seconds.
    Timestamp,
    RequestId,
    TenantId,
    TenantSlug,
}

/// A template that has been parsed; whether its references exist is checked
/// where it is used.
#[derive(Clone)]
pub enum Template {
    Segments(Arc<[Segment]>),
    Liquid(Arc<LiquidTemplate>),
}

/// Text with Liquid tags or filters. Every reference in it, built-in variables
/// included, stands in it as one of the generated variables of `bindings`:
/// they are all that rendering needs.
pub struct LiquidTemplate {
    pub template: liquid::Template,
    pub bindings: Vec<(String, Segment)>,
}

/// Why a text is not a template. Never quotes more of it than a name.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TemplateError {
    #[error("the template is longer than {MAX_TEMPLATE_BYTES} bytes")]
    TooLong,
    #[error("`{open}` is not closed by `{close}`")]
    Unclosed {
        open: &'static str,
        close: &'static str,
    },
    #[error("`{{{{}}}}` names nothing")]
    Empty,
    #[error("{0}")]
    Name(#[from] crate::ids::InvalidName),
    #[error("`secret_id:` must be followed by a UUID")]
    SecretId,
    #[error("`{name}` is not a variable")]
    UnknownVariable {
        name: String,
        nearest: Option<String>,
    },
    #[error("the Liquid tag `{0}` is not available")]
    UnavailableTag(String),
    #[error("the number `{0}` is out of range")]
    Number(String),
    #[error("is nested deeper than {} levels", liquid_limits::MAX_NESTING)]
    TooDeep,
    #[error(
        "has more than {} of the tags `assign` and `capture`",
        liquid_limits::MAX_LOCALS
    )]
    TooManyLocals,
    #[error("the filter `date` does not take `now` or `today`: it could keep the time of loading")]
    Clock,
    #[error("the format of the filter `date` is missing or not valid")]
    DateFormat,
    #[error("is not valid Liquid")]
    Liquid,
}

impl TemplateError {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::TooLong => "split it, or send the text by the upstream itself".to_owned(),
            Self::Unclosed { .. } | Self::Empty => {
                "write {{secret:NAME}}, {{var:KEY}} or {{VARIABLE}}; \
                 {% raw %}...{% endraw %} keeps braces as they are"
                    .to_owned()
            }
            Self::Name(_) => "spaces in secret names count as underscores".to_owned(),
            Self::SecretId => "or use {{secret:NAME}}".to_owned(),
            Self::UnknownVariable { nearest, .. } => match nearest {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!(
                    "known: secret:NAME, var:KEY, {}",
                    Builtin::names().join(", ")
                ),
            },
            Self::UnavailableTag(_) => {
                "a template runs inside a request: it neither loops nor includes".to_owned()
            }
            Self::Number(_) => {
                format!("whole numbers are from {} to {}", i64::MIN, i64::MAX)
            }
            Self::TooDeep => "write {% case %} in place of many {% elsif %}".to_owned(),
            Self::TooManyLocals => "each of them keeps a text in memory: write fewer".to_owned(),
            Self::Clock => {
                "{{ timestamp | date: '%Y-%m-%d' }} is the time of the request".to_owned()
            }
            Self::DateFormat => {
                "write it in quotes, as '%Y-%m-%d', with widths of at most two digits".to_owned()
            }
            Self::Liquid => "check tags, filters and quotes; every block needs its end".to_owned(),
        }
    }
}

impl Template {
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.len() > MAX_TEMPLATE_BYTES {
            return Err(TemplateError::TooLong);
        }
        if liquid_syntax::is_needed(text) {
            return parse_liquid(text);
        }
        Ok(Self::Segments(segments(text)?.into()))
    }

    /// Every secret, variable and built-in that rendering may read.
    pub fn references(&self) -> impl Iterator<Item = &Segment> {
        let (plain, bound): (&[Segment], &[(String, Segment)]) = match self {
            Self::Segments(segments) => (segments, &[]),
            Self::Liquid(liquid) => (&[], &liquid.bindings),
        };
        plain
            .iter()
            .chain(bound.iter().map(|(_, segment)| segment))
            .filter(|segment| !matches!(segment, Segment::Text(_)))
    }

    /// The text of a template without any reference.
    pub fn literal(&self) -> Option<&str> {
        match self {
            Self::Segments(segments) => match segments.as_ref() {
                [] => Some(""),
                [Segment::Text(text)] => Some(text),
                _ => None,
            },
            Self::Liquid(_) => None,
        }
    }
}

impl Builtin {
    pub const ALL: [Self; 10] = [
        Self::ClientId,
        Self::ClientName,
        Self::RouteId,
        Self::RouteName,
        Self::RouteSlug,
        Self::Environment,
        Self::Timestamp,
        Self::RequestId,
        Self::TenantId,
        Self::TenantSlug,
    ];

    /// As templates write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClientId => "client.id",
            Self::ClientName => "client.name",
            Self::RouteId => "route.id",
            Self::RouteName => "route.name",
            Self::RouteSlug => "route.slug",
            Self::Environment => "environment",
            Self::Timestamp => "timestamp",
            Self::RequestId => "request_id",
            Self::TenantId => "tenant_id",
            Self::TenantSlug => "tenant.slug",
        }
    }

    fn names() -> [&'static str; 10] {
        Self::ALL.map(Self::name)
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|builtin| builtin.name() == name)
    }
}

/// Placeholders that a client may write into its own body: the three colon
/// forms, and nothing that computes.
pub fn parse_placeholder(inner: &str) -> Option<Result<Segment, TemplateError>> {
    let (kind, name) = inner.trim().split_once(':')?;
    let name = name.trim();
    match kind.trim_end() {
        "secret" => Some(
            secret_name(name)
                .map(|name| Segment::Secret(SecretRef::Name(name)))
                .map_err(TemplateError::from),
        ),
        "secret_id" => Some(
            Uuid::try_parse(name)
                .map(|id| Segment::Secret(SecretRef::Id(SecretId(id))))
                .map_err(|_| TemplateError::SecretId),
        ),
        "var" => Some(
            VariableKey::try_from(name)
                .map(Segment::Variable)
                .map_err(TemplateError::from),
        ),
        _ => None,
    }
}

/// A secret's name as people write it: spaces count as underscores.
pub fn secret_name(text: &str) -> Result<SecretName, crate::ids::InvalidName> {
    SecretName::try_from(text.trim().replace(' ', "_").as_str())
}

/// The inside of `{{ }}`, where it is a plain placeholder or variable.
fn reference(inner: &str) -> Result<Segment, TemplateError> {
    let inner = inner.trim();
    if inner.is_empty() {
        return Err(TemplateError::Empty);
    }
    if let Some(placeholder) = parse_placeholder(inner) {
        return placeholder;
    }
    Builtin::parse(inner)
        .map(Segment::Builtin)
        .ok_or_else(|| unknown_variable(inner))
}

fn unknown_variable(name: &str) -> TemplateError {
    let nearest = nearest(name, Builtin::names().into_iter()).map(str::to_owned);
    TemplateError::UnknownVariable {
        name: name.chars().take(64).collect(),
        nearest,
    }
}

fn segments(text: &str) -> Result<Vec<Segment>, TemplateError> {
    let mut segments = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        if !before.is_empty() {
            segments.push(Segment::Text(before.into()));
        }
        let (inner, after) = after.split_once("}}").ok_or(UNCLOSED_EXPRESSION)?;
        segments.push(reference(inner)?);
        rest = after;
    }
    if !rest.is_empty() {
        segments.push(Segment::Text(rest.into()));
    }
    Ok(segments)
}

const UNCLOSED_EXPRESSION: TemplateError = TemplateError::Unclosed {
    open: "{{",
    close: "}}",
};

static LIQUID: LazyLock<Option<liquid::Parser>> = LazyLock::new(liquid_bounds::parser);

fn parse_liquid(text: &str) -> Result<Template, TemplateError> {
    let rewritten = liquid_syntax::rewrite(text)?;
    let parser = LIQUID.as_ref().ok_or(TemplateError::Liquid)?;
    let parse = |text: &str| parser.parse(text).map_err(|_| TemplateError::Liquid);
    for piece in &rewritten.pieces {
        parse(piece)?;
    }
    let template = parse(&rewritten.text)?;
    Ok(Template::Liquid(Arc::new(LiquidTemplate {
        template,
        bindings: rewritten.bindings,
    })))
}

/// Text may hold a literal credential: it is not shown.
impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text([{} bytes])", text.len()),
            Self::Secret(secret) => f.debug_tuple("Secret").field(secret).finish(),
            Self::Variable(key) => f.debug_tuple("Variable").field(key).finish(),
            Self::Builtin(builtin) => f.debug_tuple("Builtin").field(builtin).finish(),
        }
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segments(segments) => f.debug_tuple("Segments").field(segments).finish(),
            Self::Liquid(liquid) => liquid.fmt(f),
        }
    }
}

impl fmt::Debug for LiquidTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiquidTemplate")
            .field("bindings", &self.bindings)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
