//! `halosync export`.

use std::fmt::Write as _;

use serde_json::json;

use super::args::{Arguments, Delta, Export, Snapshot};
use super::{Ended, say, say_json};
use crate::agent::{self, Handover, Loaded, Taken};

pub(super) fn export(arguments: &Arguments, loaded: &Loaded, export: &Export) -> Ended {
    match export {
        Export::Delta(delta) => self::delta(arguments, loaded, delta),
        Export::Snapshot(snapshot) => self::snapshot(arguments, loaded, snapshot),
    }
}

fn snapshot(arguments: &Arguments, loaded: &Loaded, wanted: &Snapshot) -> Ended {
    let format = wanted.format.unwrap_or(loaded.config.export.format);
    let taken = agent::snapshot(loaded, format, wanted.out.as_deref(), wanted.allow_incomplete)?;
    match taken {
        Taken::Snapshot { folder, manifest } => {
            if arguments.json {
                say_json(&json!({ "folder": folder.display().to_string(), "manifest": manifest }))?;
            } else {
                let mut text = format!("{}\n", folder.display());
                for file in &manifest.files {
                    // Writing to a `String` cannot fail.
                    let _ = writeln!(text, "  {}: {} rows, {} bytes", file.name, file.rows, file.bytes);
                }
                say(&text)?;
            }
            Ok(0)
        }
        Taken::Incomplete => {
            if arguments.json {
                say_json(&json!({ "folder": null, "manifest": null }))?;
            } else {
                say("no snapshot: the copy has never been complete (--allow-incomplete takes one anyway)\n")?;
            }
            Ok(3)
        }
    }
}

fn delta(arguments: &Arguments, loaded: &Loaded, delta: &Delta) -> Ended {
    let settings = &loaded.config.export;
    let consumer = delta.consumer.as_ref().unwrap_or(&settings.consumer);
    let format = delta.format.unwrap_or(settings.format);
    let handover = agent::deliver(loaded, consumer, format, delta.out.as_deref())?;
    if arguments.json {
        say_json(&as_json(&handover))?;
    } else {
        say(&in_words(&handover))?;
    }
    Ok(if delta.fail_if_empty && handover.packages.is_empty() { 4 } else { 0 })
}

/// What was handed on, a line a package.
pub(super) fn in_words(handover: &Handover) -> String {
    let consumer = handover.consumer.as_str();
    if handover.packages.is_empty() {
        return format!("nothing new for {consumer}: its packages reach change {}\n", handover.reached);
    }
    let mut text = String::new();
    for (package, tally) in &handover.packages {
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            text,
            "{}: {} rows ({} created, {} updated, {} deleted), {} bytes",
            handover.folder.join(&package.data_file).display(),
            package.rows,
            tally.created,
            tally.updated,
            tally.deleted,
            package.bytes,
        );
    }
    text
}

pub(super) fn as_json(handover: &Handover) -> serde_json::Value {
    json!({
        "consumer": handover.consumer.as_str(),
        "folder": handover.folder.display().to_string(),
        "reached": handover.reached,
        "packages": handover.packages.iter().map(|(package, tally)| json!({
            "from_seq": package.from_seq,
            "to_seq": package.to_seq,
            "file": package.data_file,
            "manifest": package.manifest_file,
            "rows": package.rows,
            "bytes": package.bytes,
            "sha256": package.sha256,
            "manifest_sha256": package.manifest_sha256,
            "counts": { "c": tally.created, "u": tally.updated, "d": tally.deleted },
        })).collect::<Vec<_>>(),
    })
}
