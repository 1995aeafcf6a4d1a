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

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Exit code for what the operator can mend: flags, files, ports, mistakes in
/// the configuration. (clap uses the same for flags.)
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
    eprintln!("knoxcall: {error:#}");
}
