//! `halosync completions` and `halosync man`: what a package installs beside the program.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;

use super::args::Arguments;
use super::{Ended, Failure, say};
use crate::agent::AgentError;

/// Sections that the arguments do not tell; a table, hence the first line for `man`.
const SECTIONS: &str = include_str!("manual.roff");
const PREPROCESSOR: &str = "'\\\" t\n";

pub(super) fn completions(shell: Shell) -> Ended {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "halosync", &mut text);
    say(&String::from_utf8_lossy(&text))?;
    Ok(0)
}

/// One page to stdout, or a page for each command into a folder.
pub(super) fn man(dir: Option<&Path>) -> Ended {
    let mut command = Arguments::command().disable_help_subcommand(true);
    command.build();
    let Some(dir) = dir else {
        say(&page(&command).map_err(Failure::Output)?)?;
        return Ok(0);
    };
    let mut pages = vec![];
    collect(&command, &mut pages);
    for (name, text) in pages {
        let path = dir.join(name);
        let text = text.map_err(Failure::Output)?;
        publish(&path, &text).map_err(|source| AgentError::CannotCreate { path, source })?;
    }
    Ok(0)
}

/// Writes a page for everybody: the mask of the process keeps from others what it makes, which a manual is not.
fn publish(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, Permissions::from_mode(0o644))
}

type Page = (PathBuf, io::Result<String>);

fn collect(command: &Command, pages: &mut Vec<Page>) {
    let name = Man::new(command.clone()).get_filename();
    pages.push((name.into(), page(command)));
    for command in command.get_subcommands() {
        collect(command, pages);
    }
}

fn page(command: &Command) -> io::Result<String> {
    let man = Man::new(command.clone()).manual("halosync");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    let is_program = command.get_name() == "halosync";
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    let text = String::from_utf8_lossy(&text).into_owned();
    Ok(if is_program { format!("{PREPROCESSOR}{text}{SECTIONS}") } else { text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exit_status_of_the_readme_is_in_the_manual() {
        for status in [0, 1, 2, 3, 4, 65, 66, 69, 73, 74, 75, 77, 78] {
            assert!(SECTIONS.contains(&format!("\n{status}|")), "{status} is missing");
        }
    }
}
