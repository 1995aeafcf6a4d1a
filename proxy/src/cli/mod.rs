//! The command line: one file a subcommand, each with its flags, their help
//! and what it does.

// What a command line is for.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod config;
mod demo_upstream;
mod explain;
mod keys;
mod serve;
mod sign;
mod usage;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::reason;

pub use usage::parse;

/// Exit code for what the operator can mend: flags, files, ports, mistakes in
/// the configuration.
pub const REFUSED: u8 = 2;

/// An open, self-hosted credential gateway: applications keep no API keys.
#[derive(Parser)]
#[command(name = "knoxcall", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Serve),
    Config(config::Config),
    Keys(keys::Keys),
    Sign(Box<sign::Sign>),
    Explain(explain::Explain),
    DemoUpstream(demo_upstream::DemoUpstream),
}

impl Cli {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Serve(command) => command.run(),
            Command::Config(command) => command.run(),
            Command::Keys(command) => command.run(),
            Command::Sign(command) => command.run(),
            Command::Explain(command) => command.run(),
            Command::DemoUpstream(command) => command.run(),
        }
    }
}

pub fn complain(error: &anyhow::Error) {
    eprintln!(
        "knoxcall: {}",
        reason::without_number(&format!("{error:#}"))
    );
}

/// The value of a flag that takes none, where it is set in the environment.
/// An empty variable is one that is not set.
fn switch(word: &str) -> Result<bool, &'static str> {
    match word.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" | "" => Ok(false),
        _ => Err("write true, yes, on or 1, or false, no, off or 0"),
    }
}
