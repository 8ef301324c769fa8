//! `halosync export`, all but `verify`.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::args::{CliArgs, DeltaArgs, ExportCommand, SnapshotArgs};
use super::{CommandResult, print, print_json, printable};
use crate::app::{
    self, AppError, ConsumerEntry, ConsumerList, DeltaSummary, ExitStatus, LoadedConfig, NewLineage,
    PackageRecord, SnapshotOptions, SnapshotOutcome,
};
use crate::config::ConsumerName;

pub(super) fn export(
    arguments: &CliArgs,
    load: impl Fn() -> Result<LoadedConfig, AppError>,
    command: &ExportCommand,
) -> CommandResult {
    match command {
        // Whoever verifies has neither settings nor a database.
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
        SnapshotOutcome::Written { folder, manifest, new_lineage: restart } => {
            if arguments.json {
                let folder = folder.display().to_string();
                let restart = restart.as_ref().map(restart_to_json);
                print_json(&json!({ "folder": folder, "manifest": manifest, "restart": restart }))?;
            } else {
                let mut text = format!("{}\n", folder.display());
                for file in &manifest.files {
                    // Writing to a `String` cannot fail.
                    let _ = writeln!(text, "  {}: {} rows, {} bytes", file.name, file.rows, file.bytes);
                }
                print(&(text + &restart_to_text(restart.as_ref())))?;
            }
            return Ok(ExitStatus::Ok);
        }
        SnapshotOutcome::Incomplete => (
            ExitStatus::Incomplete,
            "no snapshot: the copy has never been complete (--allow-incomplete takes one anyway)\n",
        ),
        SnapshotOutcome::Empty => (ExitStatus::NotFresh, "no snapshot: there is no ticket\n"),
    };
    if arguments.json {
        print_json(&json!({ "folder": null, "manifest": null, "restart": null }))?;
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
        print_json(&to_json(&summary))?;
    } else {
        print(&to_text(&summary))?;
    }
    Ok(if args.fail_if_empty && summary.packages.is_empty() { ExitStatus::NotFresh } else { ExitStatus::Ok })
}

/// What was handed on, a line a package.
pub(super) fn to_text(summary: &DeltaSummary) -> String {
    let consumer = summary.consumer.as_str();
    let mut text = restart_to_text(summary.new_lineage.as_ref());
    if let Some(superseded) = &summary.superseded {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "note: packages of an earlier lineage are now in {}", superseded.display());
    }
    if summary.packages.is_empty() {
        let _ =
            writeln!(text, "nothing new for {consumer}: its packages reach change {}", summary.exported_seq);
    }
    for (package, counts) in &summary.packages {
        let _ = writeln!(
            text,
            "{}: {} rows ({} created, {} updated, {} deleted), {} bytes",
            summary.folder.join(&package.data_file).display(),
            package.rows,
            counts.created,
            counts.updated,
            counts.deleted,
            package.bytes,
        );
    }
    text
}

pub(super) fn to_json(summary: &DeltaSummary) -> Value {
    json!({
        "consumer": summary.consumer.as_str(),
        "folder": summary.folder.display().to_string(),
        "exported_seq": summary.exported_seq,
        "packages": summary.packages.iter().map(|(package, counts)| {
            let mut document = package_to_json(package);
            document["counts"] = json!({ "c": counts.created, "u": counts.updated, "d": counts.deleted });
            document
        }).collect::<Vec<_>>(),
        "restart": summary.new_lineage.as_ref().map(restart_to_json),
        "superseded": summary.superseded.as_ref().map(|it| it.display().to_string()),
    })
}

fn package_to_json(package: &PackageRecord) -> Value {
    json!({
        "from_seq": package.from_seq,
        "to_seq": package.to_seq,
        "file": package.data_file,
        "manifest": package.manifest_file,
        "rows": package.rows,
        "bytes": package.bytes,
        "sha256": package.sha256,
        "manifest_sha256": package.manifest_sha256,
    })
}

fn restart_to_text(restart: Option<&NewLineage>) -> String {
    restart.map_or(String::new(), |it| {
        format!(
            "note: {} is not of this database, so an older copy of it was restored: lineage {} begins, and \
             every consumer starts again at 0\n",
            it.evidence.display(),
            it.lineage
        )
    })
}

fn restart_to_json(restart: &NewLineage) -> Value {
    json!({ "lineage": restart.lineage, "evidence": restart.evidence.display().to_string() })
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
        let exported = position.exported_seq;
        print_json(&json!({ "consumer": name, "acked_seq": acked, "exported_seq": exported }))?;
    } else {
        print(&format!("{name} has taken everything up to change {acked}\n"))?;
    }
    Ok(ExitStatus::Ok)
}

fn forget(arguments: &CliArgs, loaded: &LoadedConfig, consumer: &ConsumerName) -> CommandResult {
    let removed = app::forget_consumer(loaded, consumer)?;
    let name = consumer.as_str();
    if arguments.json {
        print_json(&json!({ "consumer": name, "removed_packages": removed }))?;
    } else {
        print(&format!("{name} is forgotten, and {removed} packages are removed\n"))?;
    }
    Ok(ExitStatus::Ok)
}

fn list(arguments: &CliArgs, loaded: &LoadedConfig, consumer: Option<&ConsumerName>) -> CommandResult {
    let listing = app::list_consumers(loaded, consumer)?;
    if arguments.json {
        print_json(&listing_to_json(&listing))?;
    } else {
        print(&listing_to_text(&listing))?;
    }
    Ok(ExitStatus::Ok)
}

fn listing_to_text(listing: &ConsumerList) -> String {
    if listing.consumers.is_empty() {
        return "nothing was handed on yet\n".into();
    }
    let mut text = String::new();
    for ConsumerEntry { name, position, waiting, packages } in &listing.consumers {
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            text,
            "{name}: {waiting} changes wait, packages reach {}, taken up to {}",
            position.exported_seq, position.acked_seq
        );
        for (package, present) in packages {
            let state = match (present, package.to_seq <= position.acked_seq) {
                (false, _) => "its files are gone",
                (true, true) => "taken",
                (true, false) => "waits to be taken",
            };
            let file = package.folder.join(&package.data_file);
            let _ = writeln!(
                text,
                "  {} {} rows, {} bytes, {}: {state}",
                package.created_at,
                package.rows,
                package.bytes,
                printable(&file.display().to_string()),
            );
        }
    }
    text
}

fn listing_to_json(listing: &ConsumerList) -> Value {
    let package = |(package, present): &(PackageRecord, bool), acked: i64| {
        let mut document = package_to_json(package);
        document["folder"] = json!(package.folder.display().to_string());
        document["created_at"] = json!(package.created_at.to_string());
        document["acked"] = json!(package.to_seq <= acked);
        document["present"] = json!(present);
        document
    };
    json!({
        "lineage": listing.lineage,
        "last_seq": listing.last_seq,
        "consumers": listing.consumers.iter().map(|it| json!({
            "name": it.name,
            "exported_seq": it.position.exported_seq,
            "acked_seq": it.position.acked_seq,
            "exported_at": it.position.exported_at.map(|at| at.to_string()),
            "waiting": it.waiting,
            "packages": it.packages.iter().map(|entry| package(entry, it.position.acked_seq)).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
    })
}
