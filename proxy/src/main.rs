//! `knoxcall`: one binary that is the edge proxy, its admin listener and the
//! operator's command line.

// A binary exports nothing: `pub` says what a module offers to its neighbours.
#![allow(unreachable_pub)]

mod admin;
mod cli;
mod cutoff;
mod downstream;
mod edge;
mod gateway;
mod hardening;
mod health;
mod lifecycle;
mod listening;
mod logging;
mod memory;
mod metrics;
mod reason;
mod reload;
mod server;
mod snapshot;
mod source;
mod spans;
mod upgrade;
mod upstream;
mod watch;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let command = match cli::parse() {
        Ok(command) => command,
        Err(code) => return code,
    };
    match command.run() {
        Ok(code) => code,
        Err(error) => {
            cli::complain(&error);
            ExitCode::from(cli::REFUSED)
        }
    }
}
