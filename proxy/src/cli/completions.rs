//! Completions for the shells, made from the command line's own definition.

use std::process::ExitCode;

use clap::{Args, Command};
use clap_complete::Shell;

use super::print;

/// Print completions for a shell
///
/// bash: knoxcall completions bash > /etc/bash_completion.d/knoxcall
/// zsh:  knoxcall completions zsh > "${fpath[1]}/_knoxcall"
/// fish: knoxcall completions fish > ~/.config/fish/completions/knoxcall.fish
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Completions {
    /// The shell to complete in
    shell: Shell,
}

impl Completions {
    pub fn run(self, mut knoxcall: Command) -> anyhow::Result<ExitCode> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut knoxcall, "knoxcall", &mut script);
        print(&script)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::{CommandFactory, ValueEnum};

    fn script(shell: Shell) -> String {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "knoxcall", &mut script);
        String::from_utf8(script).unwrap()
    }

    #[test]
    fn every_shell_completes_every_command() {
        for shell in Shell::value_variants() {
            let script = script(*shell);
            for command in Cli::command().get_subcommands() {
                assert!(script.contains(command.get_name()), "{command} in {shell}");
            }
        }
    }

    #[test]
    fn flags_are_completed_too() {
        for shell in Shell::value_variants() {
            for flag in ["allow-inline-secrets", "admin-listen", "timeout-ms"] {
                assert!(script(*shell).contains(flag), "{flag} in {shell}");
            }
        }
    }
}
