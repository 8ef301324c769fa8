//! `halosync export`, except for `verify`.

use indicatif::HumanCount;
use serde::Serialize;

use super::args::{CliArgs, DeltaArgs, ExportCommand, SnapshotArgs};
use super::progress::WorkProgress;
use super::table::{ColumnKind, table, terminal_width};
use super::{CommandError, CommandResult, format_time, print_report, printable, run_blocking};
use crate::app::{
    self, Acknowledgment, AppError, ConsumerEntry, ConsumerList, ConsumerPosition, DeltaSummary, ExitStatus,
    ListedPackage, LoadedConfig, NewLineage, SnapshotOptions, SnapshotOutcome, VerifyOptions, WorkCounter,
    WrittenPackage, count,
};
use crate::config::{ConsumerName, Format, size_to_text};

pub(super) fn export(
    arguments: &CliArgs,
    load: impl Fn() -> Result<LoadedConfig, AppError>,
    command: &ExportCommand,
) -> CommandResult {
    match command {
        // Runs on the consumer's side, which has neither settings nor a database.
        ExportCommand::Verify { dir, expect_to, from_start } => {
            let bytes_read = WorkCounter::default();
            let options = VerifyOptions { expect_to: *expect_to, from_start: *from_start, bytes_read };
            super::verify::verify(arguments, dir, &options)
        }
        ExportCommand::Delta(delta) => self::delta(arguments, load()?, delta),
        ExportCommand::Snapshot(snapshot) => self::snapshot(arguments, load()?, snapshot),
        ExportCommand::Ack { consumer, seq, restored } => {
            acknowledge(arguments, &load()?, consumer.as_ref(), *seq, *restored)
        }
        ExportCommand::Forget { consumer } => forget(arguments, &load()?, consumer),
        ExportCommand::List { consumer } => list(arguments, &load()?, consumer.as_ref()),
    }
}

#[derive(Serialize)]
struct SnapshotJson<'a, M> {
    folder: Option<String>,
    manifest: Option<&'a M>,
    restart: Option<&'a NewLineage>,
}

fn snapshot(arguments: &CliArgs, loaded: LoadedConfig, args: &SnapshotArgs) -> CommandResult {
    let format_options =
        args.files.format_options(loaded.config.export.format).map_err(CommandError::Usage)?;
    format_options.check(Format::is_built_in)?;
    let options = SnapshotOptions {
        consumer: args.consumer.clone(),
        format_options,
        dir: args.files.out.clone(),
        allow_incomplete: args.allow_incomplete,
        allow_empty: !args.fail_if_empty,
    };
    let work = move |rows: &WorkCounter| app::export_snapshot(&loaded, &options, rows);
    let (status, message) = match run_with_progress(arguments, work)? {
        SnapshotOutcome::Written { folder, manifest, new_lineage } => {
            let folder = folder.display().to_string();
            let mut text = format!("{folder}\n");
            for file in &manifest.files {
                let (rows, bytes) = (count(file.rows, "row"), count(file.bytes, "byte"));
                text += &format!("  {}: {rows}, {bytes}\n", file.name);
            }
            text += &new_lineage_to_text(new_lineage.as_ref());
            let (manifest, restart) = (Some(&manifest), new_lineage.as_ref());
            print_report(arguments, &SnapshotJson { folder: Some(folder), manifest, restart }, &text)?;
            return Ok(ExitStatus::Ok);
        }
        SnapshotOutcome::Incomplete => (
            ExitStatus::Incomplete,
            "no snapshot written: the initial load is not complete yet (--allow-incomplete exports what is \
             there)\n",
        ),
        SnapshotOutcome::Empty => (ExitStatus::NotFresh, "no snapshot written: there are no tickets\n"),
    };
    print_report(arguments, &SnapshotJson::<()> { folder: None, manifest: None, restart: None }, message)?;
    Ok(status)
}

fn delta(arguments: &CliArgs, loaded: LoadedConfig, args: &DeltaArgs) -> CommandResult {
    let settings = &loaded.config.export;
    let consumer = args.consumer.as_ref().unwrap_or(&settings.consumer).clone();
    let format_options = args.files.format_options(settings.format).map_err(CommandError::Usage)?;
    format_options.check(Format::is_built_in)?;
    let dir = args.files.out.clone();
    let work =
        move |rows: &WorkCounter| app::export_delta(&loaded, &consumer, format_options, dir.as_deref(), rows);
    let summary = run_with_progress(arguments, work)?;
    print_report(arguments, &summary, &to_text(&summary))?;
    Ok(if args.fail_if_empty && summary.packages.is_empty() { ExitStatus::NotFresh } else { ExitStatus::Ok })
}

/// Runs an export that counts the rows it writes, and shows their number.
pub(super) fn run_with_progress<T: Send + 'static>(
    arguments: &CliArgs,
    export: impl FnOnce(&WorkCounter) -> Result<T, AppError> + Send + 'static,
) -> Result<T, CommandError> {
    let rows = WorkCounter::default();
    let written = rows.clone();
    let _progress = WorkProgress::start(arguments, move || match written.get() {
        0 => "Exporting".into(),
        written => format!("Exporting  {}", count(written, "row")),
    });
    run_blocking(move || export(&rows))
}

/// Formats an export, one line for each package.
pub(super) fn to_text(summary: &DeltaSummary) -> String {
    let consumer = summary.consumer.as_str();
    let mut text = new_lineage_to_text(summary.new_lineage.as_ref());
    if let Some(superseded) = &summary.superseded {
        text += &format!("warning: packages of an earlier lineage were moved to {superseded}\n");
    }
    for foreign in &summary.foreign {
        text += &format!("warning: a file that is part of no package was moved to {foreign}\n");
    }
    if summary.packages.is_empty() {
        let exported_seq = summary.exported_seq;
        text += &format!("nothing to export for {consumer}: its packages end at change {exported_seq}\n");
    }
    for WrittenPackage { record, counts, reference } in &summary.packages {
        let [created, updated, deleted] = [counts.c, counts.u, counts.d].map(HumanCount);
        text += &format!(
            "{}: {} ({created} created, {updated} updated, {deleted} deleted), {}\n",
            summary.folder.join(&record.data_file).display(),
            count(record.rows, "row"),
            count(record.bytes, "byte"),
        );
        if !reference.is_empty() {
            text += &format!("  with the reference tables that changed: {}\n", reference.join(", "));
        }
    }
    text
}

fn new_lineage_to_text(new_lineage: Option<&NewLineage>) -> String {
    new_lineage.map_or(String::new(), |it| {
        format!(
            "warning: {} is newer than the database, so an older copy was restored: lineage {} begins, and \
             every consumer starts again at 0\n",
            it.evidence, it.lineage
        )
    })
}

#[derive(Serialize)]
struct AcknowledgmentJson<'a> {
    consumer: &'a str,
    acked_seq: i64,
    exported_seq: i64,
    restart: Option<&'a NewLineage>,
}

fn acknowledge(
    arguments: &CliArgs,
    loaded: &LoadedConfig,
    consumer: Option<&ConsumerName>,
    seq: i64,
    restored: bool,
) -> CommandResult {
    let consumer = consumer.unwrap_or(&loaded.config.export.consumer);
    let Acknowledgment { position, new_lineage } = app::acknowledge(loaded, consumer, seq, restored)?;
    let (consumer, acked_seq, exported_seq) = (consumer.as_str(), position.acked_seq, position.exported_seq);
    let restart = new_lineage.as_ref();
    let text = match restart {
        Some(_) => new_lineage_to_text(restart),
        None => format!("acknowledged for {consumer}: everything up to change {acked_seq}\n"),
    };
    print_report(arguments, &AcknowledgmentJson { consumer, acked_seq, exported_seq, restart }, &text)?;
    Ok(ExitStatus::Ok)
}

#[derive(Serialize)]
struct ForgottenConsumerJson<'a> {
    consumer: &'a str,
    removed_packages: usize,
}

fn forget(arguments: &CliArgs, loaded: &LoadedConfig, consumer: &ConsumerName) -> CommandResult {
    let removed_packages = app::forget_consumer(loaded, consumer)?;
    let consumer = consumer.as_str();
    let removed = count(removed_packages as u64, "package");
    let text = format!("consumer {consumer} forgotten, {removed} removed\n");
    print_report(arguments, &ForgottenConsumerJson { consumer, removed_packages }, &text)?;
    Ok(ExitStatus::Ok)
}

fn list(arguments: &CliArgs, loaded: &LoadedConfig, consumer: Option<&ConsumerName>) -> CommandResult {
    let listing = app::list_consumers(loaded, consumer)?;
    print_report(arguments, &listing, &listing_to_text(&listing, terminal_width()))?;
    Ok(ExitStatus::Ok)
}

/// Formats the positions of the consumers and their packages as tables.
fn listing_to_text(listing: &ConsumerList, width: Option<u16>) -> String {
    if listing.consumers.is_empty() {
        return "nothing was exported yet\n".into();
    }
    let positions = listing.consumers.iter().map(|it| (it.name.as_str(), &it.position, it.waiting));
    let text = format!("Consumers\n{}", consumer_table(positions, width));
    let with_packages = listing.consumers.iter().filter(|it| !it.packages.is_empty());
    text + &with_packages.map(|it| package_table(it, width)).collect::<String>()
}

/// Formats the packages of a consumer, with the folder of each group that lies in one.
fn package_table(consumer: &ConsumerEntry, width: Option<u16>) -> String {
    use ColumnKind::{Number, Text};
    let columns =
        [("UP TO CHANGE", Number), ("WRITTEN", Text), ("ROWS", Number), ("SIZE", Number), ("STATE", Text)];
    let groups = consumer.packages.chunk_by(|one, next| one.folder == next.folder);
    let tables = groups.map(|packages| {
        let rows = packages.iter().map(|ListedPackage { record, created_at, acked, present, .. }| {
            let state = match (present, acked) {
                (false, _) => "files missing",
                (true, true) => "acknowledged",
                (true, false) => "not acknowledged",
            };
            [
                HumanCount(record.to_seq.unsigned_abs()).to_string(),
                format_time(*created_at),
                HumanCount(record.rows).to_string(),
                size_to_text(record.bytes),
                state.to_owned(),
            ]
        });
        let folder = packages.first().map_or("", |it| &it.folder);
        let heading = format!("{}, in {}", consumer.name, printable(folder));
        format!("\nPackages of {heading}\n{}", table(columns, rows.collect(), width))
    });
    tables.collect()
}

/// Formats the positions of consumers and how many changes wait for each, in `export list` and in `status`.
pub(super) fn consumer_table<'a>(
    positions: impl Iterator<Item = (&'a str, &'a ConsumerPosition, i64)>,
    width: Option<u16>,
) -> String {
    use ColumnKind::{Number, Text};
    let columns =
        [("NAME", Text), ("NOT EXPORTED", Number), ("EXPORTED TO", Number), ("ACKNOWLEDGED TO", Number)];
    let number = |number: i64| HumanCount(number.unsigned_abs()).to_string();
    let rows = positions.map(|(name, position, waiting)| {
        [name.to_owned(), number(waiting), number(position.exported_seq), number(position.acked_seq)]
    });
    table(columns, rows.collect(), width)
}
