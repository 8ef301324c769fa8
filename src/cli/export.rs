//! `halosync export`, except for `verify`.

use std::fmt::Write as _;

use indicatif::HumanCount;
use serde::Serialize;

use super::args::{CliArgs, DeltaArgs, ExportCommand, SnapshotArgs};
use super::{CommandResult, format_time, print, print_json, printable};
use crate::app::{
    self, AppError, ConsumerEntry, ConsumerList, DeltaSummary, ExitStatus, LoadedConfig, NewLineage,
    PackageRecord, SnapshotOptions, SnapshotOutcome, count,
};
use crate::config::ConsumerName;

pub(super) fn export(
    arguments: &CliArgs,
    load: impl Fn() -> Result<LoadedConfig, AppError>,
    command: &ExportCommand,
) -> CommandResult {
    match command {
        // Runs on the consumer's side, which has neither settings nor a database.
        ExportCommand::Verify { dir, expect_to } => super::verify::verify(arguments, dir, *expect_to),
        ExportCommand::Delta(delta) => self::delta(arguments, &load()?, delta),
        ExportCommand::Snapshot(snapshot) => self::snapshot(arguments, &load()?, snapshot),
        ExportCommand::Ack { consumer, seq } => acknowledge(arguments, &load()?, consumer.as_ref(), *seq),
        ExportCommand::Forget { consumer } => forget(arguments, &load()?, consumer),
        ExportCommand::List { consumer } => list(arguments, &load()?, consumer.as_ref()),
    }
}

fn snapshot(arguments: &CliArgs, loaded: &LoadedConfig, args: &SnapshotArgs) -> CommandResult {
    let options = SnapshotOptions {
        consumer: args.consumer.as_ref(),
        format_options: args.files.format_options(loaded.config.export.format),
        dir: args.files.out.as_deref(),
        allow_incomplete: args.allow_incomplete,
        allow_empty: !args.fail_if_empty,
    };
    let (status, message) = match app::export_snapshot(loaded, &options)? {
        SnapshotOutcome::Written { folder, manifest, new_lineage } => {
            if arguments.json {
                let folder = Some(folder.display().to_string());
                let restart = new_lineage.as_ref().map(NewLineageJson::new);
                print_json(&SnapshotJson { folder, manifest: Some(&manifest), restart })?;
            } else {
                let mut text = format!("{}\n", folder.display());
                for file in &manifest.files {
                    let (rows, bytes) = (count(file.rows, "row"), count(file.bytes, "byte"));
                    // Writing to a `String` cannot fail.
                    let _ = writeln!(text, "  {}: {rows}, {bytes}", file.name);
                }
                print(&(text + &new_lineage_to_text(new_lineage.as_ref())))?;
            }
            return Ok(ExitStatus::Ok);
        }
        SnapshotOutcome::Incomplete => (
            ExitStatus::Incomplete,
            "no snapshot written: the initial load is not complete yet (--allow-incomplete exports what is \
             there)\n",
        ),
        SnapshotOutcome::Empty => (ExitStatus::NotFresh, "no snapshot written: there are no tickets\n"),
    };
    if arguments.json {
        print_json(&SnapshotJson::<()> { folder: None, manifest: None, restart: None })?;
    } else {
        print(message)?;
    }
    Ok(status)
}

fn delta(arguments: &CliArgs, loaded: &LoadedConfig, args: &DeltaArgs) -> CommandResult {
    let settings = &loaded.config.export;
    let consumer = args.consumer.as_ref().unwrap_or(&settings.consumer);
    let format_options = args.files.format_options(settings.format);
    let summary = app::export_delta(loaded, consumer, format_options, args.files.out.as_deref())?;
    if arguments.json {
        print_json(&DeltaJson::new(&summary))?;
    } else {
        print(&to_text(&summary))?;
    }
    Ok(if args.fail_if_empty && summary.packages.is_empty() { ExitStatus::NotFresh } else { ExitStatus::Ok })
}

/// Formats an export, one line for each package.
pub(super) fn to_text(summary: &DeltaSummary) -> String {
    let consumer = summary.consumer.as_str();
    let mut text = new_lineage_to_text(summary.new_lineage.as_ref());
    if let Some(superseded) = &summary.superseded {
        // Writing to a `String` cannot fail.
        let _ =
            writeln!(text, "warning: packages of an earlier lineage were moved to {}", superseded.display());
    }
    if summary.packages.is_empty() {
        let _ = writeln!(
            text,
            "nothing to export for {consumer}: its packages end at change {}",
            summary.exported_seq
        );
    }
    for (package, counts) in &summary.packages {
        let [created, updated, deleted] = [counts.created, counts.updated, counts.deleted].map(HumanCount);
        let _ = writeln!(
            text,
            "{}: {} ({created} created, {updated} updated, {deleted} deleted), {}",
            summary.folder.join(&package.data_file).display(),
            count(package.rows, "row"),
            count(package.bytes, "byte"),
        );
    }
    text
}

fn new_lineage_to_text(new_lineage: Option<&NewLineage>) -> String {
    new_lineage.map_or(String::new(), |it| {
        format!(
            "warning: {} was not written by this database, so a backup was restored: lineage {} begins, and \
             every consumer starts again at 0\n",
            it.evidence.display(),
            it.lineage
        )
    })
}

fn acknowledge(
    arguments: &CliArgs,
    loaded: &LoadedConfig,
    consumer: Option<&ConsumerName>,
    seq: i64,
) -> CommandResult {
    let consumer = consumer.unwrap_or(&loaded.config.export.consumer);
    let position = app::acknowledge(loaded, consumer, seq)?;
    let (name, acked) = (consumer.as_str(), position.acked_seq);
    if arguments.json {
        let exported_seq = position.exported_seq;
        print_json(&AcknowledgmentJson { consumer: name, acked_seq: acked, exported_seq })?;
    } else {
        print(&format!("acknowledged for {name}: everything up to change {acked}\n"))?;
    }
    Ok(ExitStatus::Ok)
}

fn forget(arguments: &CliArgs, loaded: &LoadedConfig, consumer: &ConsumerName) -> CommandResult {
    let removed = app::forget_consumer(loaded, consumer)?;
    let name = consumer.as_str();
    if arguments.json {
        print_json(&ForgottenConsumerJson { consumer: name, removed_packages: removed })?;
    } else {
        print(&format!("consumer {name} forgotten, {} removed\n", count(removed as u64, "package")))?;
    }
    Ok(ExitStatus::Ok)
}

fn list(arguments: &CliArgs, loaded: &LoadedConfig, consumer: Option<&ConsumerName>) -> CommandResult {
    let listing = app::list_consumers(loaded, consumer)?;
    if arguments.json {
        print_json(&ConsumerListJson::new(&listing))?;
    } else {
        print(&listing_to_text(&listing))?;
    }
    Ok(ExitStatus::Ok)
}

fn listing_to_text(listing: &ConsumerList) -> String {
    if listing.consumers.is_empty() {
        return "nothing was exported yet\n".into();
    }
    let mut text = String::new();
    for ConsumerEntry { name, position, waiting, packages } in &listing.consumers {
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            text,
            "{name}: {} not exported yet, exported up to change {}, acknowledged up to change {}",
            count(waiting.unsigned_abs(), "change"),
            position.exported_seq,
            position.acked_seq
        );
        for (package, present) in packages {
            let state = match (present, package.to_seq <= position.acked_seq) {
                (false, _) => "files missing",
                (true, true) => "acknowledged",
                (true, false) => "not acknowledged",
            };
            let file = package.folder.join(&package.data_file);
            let _ = writeln!(
                text,
                "  {} {}, {}, {}: {state}",
                format_time(package.created_at),
                count(package.rows, "row"),
                count(package.bytes, "byte"),
                printable(&file.display().to_string()),
            );
        }
    }
    text
}

#[derive(Serialize)]
struct SnapshotJson<'a, M> {
    folder: Option<String>,
    manifest: Option<&'a M>,
    restart: Option<NewLineageJson<'a>>,
}

/// An export, in `export delta`, `sync` and `demo`.
#[derive(Serialize)]
pub(super) struct DeltaJson<'a> {
    consumer: &'a str,
    folder: String,
    exported_seq: i64,
    packages: Vec<WrittenPackageJson<'a>>,
    restart: Option<NewLineageJson<'a>>,
    superseded: Option<String>,
}

#[derive(Serialize)]
struct WrittenPackageJson<'a> {
    #[serde(flatten)]
    package: PackageJson<'a>,
    counts: OpCountsJson,
}

#[derive(Serialize)]
struct OpCountsJson {
    c: u64,
    u: u64,
    d: u64,
}

#[derive(Serialize)]
struct PackageJson<'a> {
    from_seq: i64,
    to_seq: i64,
    file: &'a str,
    manifest: &'a str,
    rows: u64,
    bytes: u64,
    sha256: &'a str,
    manifest_sha256: &'a str,
}

#[derive(Serialize)]
struct NewLineageJson<'a> {
    lineage: &'a str,
    evidence: String,
}

#[derive(Serialize)]
struct AcknowledgmentJson<'a> {
    consumer: &'a str,
    acked_seq: i64,
    exported_seq: i64,
}

#[derive(Serialize)]
struct ForgottenConsumerJson<'a> {
    consumer: &'a str,
    removed_packages: usize,
}

#[derive(Serialize)]
struct ConsumerListJson<'a> {
    lineage: &'a str,
    last_seq: i64,
    consumers: Vec<ConsumerJson<'a>>,
}

#[derive(Serialize)]
struct ConsumerJson<'a> {
    name: &'a str,
    exported_seq: i64,
    acked_seq: i64,
    exported_at: Option<String>,
    waiting: i64,
    packages: Vec<ListedPackageJson<'a>>,
}

#[derive(Serialize)]
struct ListedPackageJson<'a> {
    #[serde(flatten)]
    package: PackageJson<'a>,
    folder: String,
    created_at: String,
    acked: bool,
    present: bool,
}

impl<'a> DeltaJson<'a> {
    pub(super) fn new(summary: &'a DeltaSummary) -> DeltaJson<'a> {
        let packages = summary.packages.iter().map(|(package, counts)| WrittenPackageJson {
            package: PackageJson::new(package),
            counts: OpCountsJson { c: counts.created, u: counts.updated, d: counts.deleted },
        });
        DeltaJson {
            consumer: summary.consumer.as_str(),
            folder: summary.folder.display().to_string(),
            exported_seq: summary.exported_seq,
            packages: packages.collect(),
            restart: summary.new_lineage.as_ref().map(NewLineageJson::new),
            superseded: summary.superseded.as_ref().map(|it| it.display().to_string()),
        }
    }
}

impl<'a> PackageJson<'a> {
    fn new(package: &'a PackageRecord) -> PackageJson<'a> {
        PackageJson {
            from_seq: package.from_seq,
            to_seq: package.to_seq,
            file: &package.data_file,
            manifest: &package.manifest_file,
            rows: package.rows,
            bytes: package.bytes,
            sha256: &package.sha256,
            manifest_sha256: &package.manifest_sha256,
        }
    }
}

impl<'a> NewLineageJson<'a> {
    fn new(new_lineage: &'a NewLineage) -> NewLineageJson<'a> {
        NewLineageJson { lineage: &new_lineage.lineage, evidence: new_lineage.evidence.display().to_string() }
    }
}

impl<'a> ConsumerListJson<'a> {
    fn new(listing: &'a ConsumerList) -> ConsumerListJson<'a> {
        ConsumerListJson {
            lineage: &listing.lineage,
            last_seq: listing.last_seq,
            consumers: listing.consumers.iter().map(ConsumerJson::new).collect(),
        }
    }
}

impl<'a> ConsumerJson<'a> {
    fn new(entry: &'a ConsumerEntry) -> ConsumerJson<'a> {
        let position = &entry.position;
        let packages = entry.packages.iter().map(|(package, present)| ListedPackageJson {
            package: PackageJson::new(package),
            folder: package.folder.display().to_string(),
            created_at: package.created_at.to_string(),
            acked: package.to_seq <= position.acked_seq,
            present: *present,
        });
        ConsumerJson {
            name: &entry.name,
            exported_seq: position.exported_seq,
            acked_seq: position.acked_seq,
            exported_at: position.exported_at.map(|at| at.to_string()),
            waiting: entry.waiting,
            packages: packages.collect(),
        }
    }
}
