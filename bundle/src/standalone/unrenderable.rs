//! Templates that are sound as written and fail with the values they are given:
//! whoever renders them knows the route and the field, and the file is read once
//! more to say where that is.

use std::path::Path;

use crate::problem::{DocPath, PathStep, Problem};
use crate::report::Report;
use crate::yaml::{self, Node};

use super::text_of;

pub struct Unrenderable<'a> {
    /// The route's name; its slug, where it has no other.
    pub route: &'a str,
    pub environment: &'a str,
    /// `inject_body` or `inject_headers.NAME`, behind `method_configs.METHOD.`
    /// where it is one method's.
    pub field: &'a str,
}

/// What `load` would have reported, had it rendered them.
pub fn unrenderable<'a>(
    file: &Path,
    templates: impl Iterator<Item = Unrenderable<'a>>,
    remedy: &str,
) -> Report {
    // What cannot be read any more is reported without its places.
    let root = yaml::parse(&text_of(file).unwrap_or_default()).root;
    let problems = templates.map(|template| Problem {
        path: path(&root, &template).unwrap_or_default(),
        line: None,
        message: format!(
            "the template {} of the route `{}` cannot be rendered in `{}`",
            template.field, template.route, template.environment
        ),
        remedy: Some(remedy.to_owned()),
        other: None,
        follows_from: None,
    });
    Report::new(&file.display().to_string(), &root, problems.collect())
}

/// What the environment says itself counts there, else what the route says.
fn path(root: &Node, template: &Unrenderable<'_>) -> Option<DocPath> {
    let routes = root.get("routes")?;
    let (index, route) = routes.items().enumerate().find(|(_, route)| {
        let name = route.get("name").or_else(|| route.get("slug"));
        name.and_then(Node::text) == Some(template.route)
    })?;
    let route_path = DocPath::default()
        .then(key("routes"))
        .then(PathStep::Index(index));
    let own = || {
        let environments = route.get("environments")?;
        let path = route_path
            .clone()
            .then(key("environments"))
            .then(key(template.environment));
        field(
            environments.get(template.environment)?,
            path,
            template.field,
        )
    };
    own().or_else(|| field(route, route_path, template.field))
}

fn field(settings: &Node, path: DocPath, name: &str) -> Option<DocPath> {
    match name.strip_prefix("method_configs.") {
        Some(rest) => {
            let (method, name) = rest.split_once(".inject_")?;
            of_method(settings, &path, method, &format!("inject_{name}"))
                // One that a method inherits is the route's.
                .or_else(|| field(settings, path, &format!("inject_{name}")))
        }
        None => match name.strip_prefix("inject_headers.") {
            Some(header) => {
                let headers = settings.get("inject_headers")?.children();
                let (step, _) = headers.into_iter().find(|(step, _)| match step {
                    PathStep::Key(key) => key.eq_ignore_ascii_case(header),
                    PathStep::Index(_) => false,
                })?;
                Some(path.then(key("inject_headers")).then(step))
            }
            None => settings.get(name).map(|_| path.then(key(name))),
        },
    }
}

fn of_method(settings: &Node, path: &DocPath, method: &str, name: &str) -> Option<DocPath> {
    let configs = settings.get("method_configs")?;
    let (index, config) = configs.items().enumerate().find(|(_, config)| {
        let named = config.get("method").and_then(Node::text);
        named.is_some_and(|named| named.eq_ignore_ascii_case(method))
    })?;
    let path = path
        .clone()
        .then(key("method_configs"))
        .then(PathStep::Index(index));
    field(config, path, name)
}

fn key(name: &str) -> PathStep {
    PathStep::Key(name.to_owned())
}
