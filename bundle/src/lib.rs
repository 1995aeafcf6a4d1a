//! What a data plane may do: the bundle's model, the document people write,
//! its checks, and the sources it comes from.
//!
//! [`load`] turns one YAML file into [`Settings`] (the process) and [`Bundle`]
//! (the tenant), or into a [`Report`] of all mistakes. This crate knows nothing
//! of sockets, requests or clocks.

pub mod document;
pub mod ids;
pub mod json_path;
mod keys;
mod model;
mod names;
mod problem;
mod report;
mod secret;
pub mod settings;
mod standalone;
mod structure;
pub mod template;
mod validate;
mod yaml;

pub use document::schema;
pub use keys::{KeyError, NewKey};
pub use model::*;
pub use report::{Report, ReportedProblem};
pub use secret::SecretValue;
pub use settings::Settings;
pub use standalone::{LoadOptions, Loaded, Unrenderable, effective, load, unrenderable};
pub use validate::is_reserved;
