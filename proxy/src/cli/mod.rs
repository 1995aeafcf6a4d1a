//! The command line: one file a subcommand, each with its flags, their help
//! and what it does.

// What a command line is for.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod check;
mod completions;
mod config;
mod demo_upstream;
mod explain;
mod health;
mod keys;
mod man;
mod serve;
mod sign;
mod usage;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

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
    Check(check::Check),
    Health(health::Health),
    DemoUpstream(demo_upstream::DemoUpstream),
    Completions(completions::Completions),
    Man(man::ManPages),
}

impl Cli {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Serve(command) => command.run(),
            Command::Config(command) => command.run(),
            Command::Keys(command) => command.run(),
            Command::Sign(command) => command.run(),
            Command::Explain(command) => command.run(),
            Command::Check(command) => command.run(),
            Command::Health(command) => command.run(),
            Command::DemoUpstream(command) => command.run(),
            Command::Completions(command) => command.run(Self::command()),
            Command::Man(command) => command.run(Self::command()),
        }
    }
}

pub fn complain(error: &anyhow::Error) {
    eprintln!(
        "knoxcall: {}",
        reason::without_number(&format!("{error:#}"))
    );
}

/// What a command was asked to print. A reader that has seen enough is no
/// failure.
fn print(text: &[u8]) -> anyhow::Result<ExitCode> {
    match io::stdout().write_all(text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(ExitCode::SUCCESS),
    }
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
