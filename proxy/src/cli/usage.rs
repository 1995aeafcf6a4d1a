//! What is wrong with the arguments, in one line. clap would draw several, with
//! usage and hints.

use std::process::ExitCode;

use clap::Parser;
use clap::error::{Error, ErrorKind};

use super::{Cli, REFUSED};

/// The command; or, where there is none to run, the exit code.
pub fn parse() -> Result<Cli, ExitCode> {
    Cli::try_parse().map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // Nobody reads help that cannot be printed.
            let _ = error.print();
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("knoxcall: {}; try --help", one_line(&error));
            ExitCode::from(REFUSED)
        }
    })
}

fn one_line(error: &Error) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "a command is missing".to_owned();
    }
    let text = error.to_string();
    let told = text.split("\n\nUsage:").next().unwrap_or(&text);
    let told = told.split("\n\nFor more information").next();
    let lines = told.unwrap_or(&text).lines().map(str::trim);
    let words: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    words.join(" ").trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(arguments: &[&str]) -> String {
        let arguments = ["knoxcall"].iter().chain(arguments);
        match Cli::try_parse_from(arguments) {
            Ok(_) => panic!("accepted"),
            Err(error) => one_line(&error),
        }
    }

    #[test]
    fn a_mistake_is_one_line_and_names_what_is_allowed() {
        assert_eq!(told(&[]), "a command is missing");
        assert_eq!(told(&["config"]), "a command is missing");
        assert_eq!(
            told(&["serve"]),
            "the following required arguments were not provided: --config <FILE>"
        );
        assert_eq!(
            told(&["keys", "new", "--kind", "x"]),
            "invalid value 'x' for '--kind <KIND>' [possible values: live, test, access-key]"
        );
        let hint = told(&["serve", "--confg", "x"]);
        assert!(
            hint.contains("--confg") && hint.contains("--config") && !hint.contains('\n'),
            "{hint}"
        );
    }
}
