//! `halosync report`: one page that people look at.

mod chart;
mod data_table;
mod page;

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::{fs, io};

use indicatif::HumanCount;
use serde::Serialize;
use tempfile::NamedTempFile;

use super::args::{CliArgs, ReportArgs};
use super::{CommandResult, print_report, printable};
use crate::app::{self, AppError, ExitStatus, LoadedConfig, ReportOptions, count};

/// Stands at the beginning of each report. What has another beginning is never replaced.
const MARK: &str = "<!DOCTYPE html><!-- halosync report -->";

pub(super) fn report(arguments: &CliArgs, loaded: &LoadedConfig, args: &ReportArgs) -> CommandResult {
    let options = ReportOptions { days: args.days, without_people: args.no_people };
    let written = write_report(loaded, options, &args.out)?;
    print_report(arguments, &written, &written.to_text())?;
    Ok(ExitStatus::Ok)
}

/// Makes a report and writes it.
pub(super) fn write_report(
    loaded: &LoadedConfig,
    options: ReportOptions,
    path: &Path,
) -> Result<WrittenReport, AppError> {
    let report = app::report(loaded, options)?;
    let html = page::page(&report);
    write(path, &html)?;
    let covered = report.copy.health.watermark.as_ref().and_then(|watermark| watermark.covered_until);
    Ok(WrittenReport {
        file: path.display().to_string(),
        bytes: html.len() as u64,
        days: options.days,
        tickets: report.service_desk.tickets,
        covered_until: covered.map(|at| at.to_string()),
    })
}

/// What was written.
#[derive(Serialize)]
pub(super) struct WrittenReport {
    file: String,
    bytes: u64,
    days: u32,
    tickets: u64,
    covered_until: Option<String>,
}

impl WrittenReport {
    pub(super) fn to_text(&self) -> String {
        let (file, tickets) = (printable(&self.file), count(self.tickets, "ticket"));
        format!("{file}: {tickets}, {} days, {} kB\n", self.days, HumanCount(self.bytes.div_ceil(1_000)))
    }
}

/// Puts a report in place of an earlier one, at once and whole.
fn write(path: &Path, html: &str) -> Result<(), AppError> {
    let failed = |source| AppError::CannotCreate { path: path.to_owned(), source };
    if !is_replaceable(path).map_err(failed)? {
        return Err(AppError::NotAReport(path.to_owned()));
    }
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = || {
        let mut file = NamedTempFile::new_in(folder)?;
        file.write_all(html.as_bytes())?;
        file.as_file().sync_all()?;
        // Who could read the earlier one can read this one; else it is as with every file that halosync writes.
        let mode = fs::metadata(path).map_or(0o640, |earlier| earlier.permissions().mode() & 0o777);
        file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
        file.persist(path)?;
        Ok(())
    };
    written().map_err(failed)
}

fn is_replaceable(path: &Path) -> io::Result<bool> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        found => found?,
    };
    if !found.is_file() {
        return Ok(false);
    }
    let mut start = Vec::new();
    fs::File::open(path)?.take(MARK.len() as u64).read_to_end(&mut start)?;
    Ok(start == MARK.as_bytes())
}
