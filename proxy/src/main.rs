//! `knoxcall`: one binary that is the edge proxy, its admin listener and the
//! operator's command line.

// A binary exports nothing: `pub` says what a module offers to its neighbours.
#![allow(unreachable_pub)]

mod admin;
mod cli;
mod edge;
mod gateway;
mod hardening;
mod health;
mod lifecycle;
mod logging;
mod metrics;
mod reload;
mod server;
mod snapshot;
mod source;
mod upstream;

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            cli::complain(&error);
            ExitCode::from(cli::REFUSED)
        }
    }
}
