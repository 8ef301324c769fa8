//! `halosync completions` and `halosync man`: files that a package installs with the program.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::args::CliArgs;
use super::examples::examples;
use super::{CommandError, CommandResult, print};
use crate::app::{AppError, ExitStatus};

/// Sections that clap does not generate. They hold a table, so the page needs the line for `tbl`.
const SECTIONS: &str = include_str!("manual.roff");
const PREPROCESSOR: &str = "'\\\" t\n";

/// The end of each other page.
const SEE_ALSO: &str =
    ".SH \"SEE ALSO\"\nExit statuses, files and environment variables: \\fBhalosync\\fR(1)\n";

pub(super) fn completions(shell: Shell) -> CommandResult {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut CliArgs::definition(), "halosync", &mut text);
    print(&String::from_utf8_lossy(&text))?;
    Ok(ExitStatus::Ok)
}

/// Writes one page to stdout, or one page for each command into a folder.
pub(super) fn man(dir: Option<&Path>) -> CommandResult {
    let mut command = CliArgs::definition().disable_help_subcommand(true);
    command.build();
    let Some(dir) = dir else {
        print(&render_page(&command).map_err(CommandError::Output)?)?;
        return Ok(ExitStatus::Ok);
    };
    let mut pages = vec![];
    collect_pages(&command, &mut pages);
    for (name, text) in pages {
        let path = dir.join(name);
        let text = text.map_err(CommandError::Output)?;
        write_page(&path, &text).map_err(|source| AppError::CannotCreate { path, source })?;
    }
    Ok(ExitStatus::Ok)
}

/// Writes a page that everybody can read, despite the umask of the process.
fn write_page(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, Permissions::from_mode(0o644))
}

type ManPage = (PathBuf, io::Result<String>);

fn collect_pages(command: &Command, pages: &mut Vec<ManPage>) {
    let name = Man::new(command.clone()).get_filename();
    pages.push((name.into(), render_page(command)));
    for command in command.get_subcommands() {
        collect_pages(command, pages);
    }
}

fn render_page(command: &Command) -> io::Result<String> {
    // The examples have a section of their own.
    let man = Man::new(command.clone().after_help("")).manual("halosync");
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
    let examples = examples_section(command);
    Ok(if is_program {
        format!("{PREPROCESSOR}{text}{SECTIONS}{examples}")
    } else {
        format!("{text}{examples}{SEE_ALSO}")
    })
}

fn examples_section(command: &Command) -> String {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let mut section = Roff::new();
    section.control("SH", ["EXAMPLES"]);
    for (line, effect) in examples(name) {
        section.control("PP", []).text([roman(format!("{effect}:"))]);
        section.control("RS", ["4"]).text([bold(*line)]).control("RE", []);
    }
    section.to_roff()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manual_lists_every_exit_status_of_readme() {
        for status in [0, 1, 2, 3, 4, 65, 66, 69, 73, 74, 75, 77, 78] {
            assert!(SECTIONS.contains(&format!("\n{status}|")), "{status} is missing");
        }
    }
}
