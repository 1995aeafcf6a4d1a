//! Manual pages, made from the command line's own definition: one for the
//! binary, and one for each command as `git` has them (`knoxcall-serve`).

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Command};
use clap_mangen::Man;

use super::print;

/// Print the manual page, or write one for each command
///
/// knoxcall man | man -l -
/// knoxcall man --directory /usr/local/share/man/man1
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct ManPages {
    /// Write knoxcall.1 and a page for each command here instead
    #[arg(long, value_name = "FOLDER")]
    directory: Option<PathBuf>,
}

impl ManPages {
    pub fn run(self, knoxcall: Command) -> anyhow::Result<ExitCode> {
        let Some(directory) = self.directory else {
            return print(&page(knoxcall)?);
        };
        clap_mangen::generate_to(knoxcall, &directory)
            .with_context(|| format!("cannot write manual pages to {}", directory.display()))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn page(command: Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command).render(&mut page)?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::CommandFactory;

    #[test]
    fn the_page_names_every_command() {
        let page = String::from_utf8(page(Cli::command()).unwrap()).unwrap();
        assert!(page.contains(".TH knoxcall 1"), "{page}");
        // roff writes a hyphen as `\-`.
        let plain = page.replace('\\', "");
        for command in Cli::command().get_subcommands() {
            assert!(plain.contains(command.get_name()), "{command} in {plain}");
        }
    }

    #[test]
    fn every_command_has_a_page_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Some(folder.path().to_owned());
        ManPages { directory }.run(Cli::command()).unwrap();
        assert!(folder.path().join("knoxcall.1").exists());
        for command in Cli::command().get_subcommands() {
            let file = format!("knoxcall-{}.1", command.get_name());
            assert!(folder.path().join(&file).exists(), "{file}");
        }
        let serve = std::fs::read_to_string(folder.path().join("knoxcall-serve.1")).unwrap();
        assert!(serve.contains("KNOXCALL_CONFIG"), "{serve}");
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let directory = Some(PathBuf::from("/no/such/folder"));
        let told = ManPages { directory }.run(Cli::command()).unwrap_err();
        assert!(told.to_string().contains("/no/such/folder"), "{told}");
    }
}
