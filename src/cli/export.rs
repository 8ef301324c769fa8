//! `halosync export`, all but `verify`.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::args::{Arguments, Delta, Export, Snapshot};
use super::{Ended, printable, say, say_json};
use crate::agent::{
    self, AgentError, Delivered, Handover, Listed, Listing, Loaded, Restart, SnapshotWish, Taken,
};
use crate::config::Consumer;

pub(super) fn export(
    arguments: &Arguments,
    load: impl Fn() -> Result<Loaded, AgentError>,
    export: &Export,
) -> Ended {
    match export {
        // Whoever verifies has neither settings nor a database.
        Export::Verify { dir, expect_to } => super::verify::verify(arguments, dir, *expect_to),
        Export::Delta(delta) => self::delta(arguments, &load()?, delta),
        Export::Snapshot(snapshot) => self::snapshot(arguments, &load()?, snapshot),
        Export::Ack { consumer, seq } => acknowledge(arguments, &load()?, consumer.as_ref(), *seq),
        Export::Forget { consumer } => forget(arguments, &load()?, consumer),
        Export::List { consumer } => list(arguments, &load()?, consumer.as_ref()),
    }
}

fn snapshot(arguments: &Arguments, loaded: &Loaded, wanted: &Snapshot) -> Ended {
    let wish = SnapshotWish {
        consumer: wanted.consumer.as_ref(),
        style: wanted.files.style(loaded.config.export.format),
        dir: wanted.files.out.as_deref(),
        allow_incomplete: wanted.allow_incomplete,
        allow_empty: !wanted.fail_if_empty,
    };
    let (status, why) = match agent::snapshot(loaded, &wish)? {
        Taken::Snapshot { folder, manifest, restart } => {
            if arguments.json {
                let folder = folder.display().to_string();
                let restart = restart.as_ref().map(restart_as_json);
                say_json(&json!({ "folder": folder, "manifest": manifest, "restart": restart }))?;
            } else {
                let mut text = format!("{}\n", folder.display());
                for file in &manifest.files {
                    // Writing to a `String` cannot fail.
                    let _ = writeln!(text, "  {}: {} rows, {} bytes", file.name, file.rows, file.bytes);
                }
                say(&(text + &restart_in_words(restart.as_ref())))?;
            }
            return Ok(0);
        }
        Taken::Incomplete => {
            (3, "no snapshot: the copy has never been complete (--allow-incomplete takes one anyway)\n")
        }
        Taken::Empty => (4, "no snapshot: there is no ticket\n"),
    };
    if arguments.json {
        say_json(&json!({ "folder": null, "manifest": null, "restart": null }))?;
    } else {
        say(why)?;
    }
    Ok(status)
}

fn delta(arguments: &Arguments, loaded: &Loaded, delta: &Delta) -> Ended {
    let settings = &loaded.config.export;
    let consumer = delta.consumer.as_ref().unwrap_or(&settings.consumer);
    let style = delta.files.style(settings.format);
    let handover = agent::deliver(loaded, consumer, style, delta.files.out.as_deref())?;
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
    let mut text = restart_in_words(handover.restart.as_ref());
    if let Some(superseded) = &handover.superseded {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "note: packages of an earlier lineage are now in {}", superseded.display());
    }
    if handover.packages.is_empty() {
        let _ = writeln!(text, "nothing new for {consumer}: its packages reach change {}", handover.reached);
    }
    for (package, tally) in &handover.packages {
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

pub(super) fn as_json(handover: &Handover) -> Value {
    json!({
        "consumer": handover.consumer.as_str(),
        "folder": handover.folder.display().to_string(),
        "reached": handover.reached,
        "packages": handover.packages.iter().map(|(package, tally)| {
            let mut document = package_as_json(package);
            document["counts"] = json!({ "c": tally.created, "u": tally.updated, "d": tally.deleted });
            document
        }).collect::<Vec<_>>(),
        "restart": handover.restart.as_ref().map(restart_as_json),
        "superseded": handover.superseded.as_ref().map(|it| it.display().to_string()),
    })
}

fn package_as_json(package: &Delivered) -> Value {
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

fn restart_in_words(restart: Option<&Restart>) -> String {
    restart.map_or(String::new(), |it| {
        format!(
            "note: {} is not of this database, so an older copy of it was restored: lineage {} begins, and \
             every consumer starts again at 0\n",
            it.evidence.display(),
            it.lineage
        )
    })
}

fn restart_as_json(restart: &Restart) -> Value {
    json!({ "lineage": restart.lineage, "evidence": restart.evidence.display().to_string() })
}

fn acknowledge(arguments: &Arguments, loaded: &Loaded, consumer: Option<&Consumer>, seq: i64) -> Ended {
    let consumer = consumer.unwrap_or(&loaded.config.export.consumer);
    let position = agent::acknowledge(loaded, consumer, seq)?;
    let (name, acked) = (consumer.as_str(), position.acked_seq);
    if arguments.json {
        let exported = position.exported_seq;
        say_json(&json!({ "consumer": name, "acked_seq": acked, "exported_seq": exported }))?;
    } else {
        say(&format!("{name} has taken everything up to change {acked}\n"))?;
    }
    Ok(0)
}

fn forget(arguments: &Arguments, loaded: &Loaded, consumer: &Consumer) -> Ended {
    let removed = agent::forget(loaded, consumer)?;
    let name = consumer.as_str();
    if arguments.json {
        say_json(&json!({ "consumer": name, "removed_packages": removed }))?;
    } else {
        say(&format!("{name} is forgotten, and {removed} packages are removed\n"))?;
    }
    Ok(0)
}

fn list(arguments: &Arguments, loaded: &Loaded, consumer: Option<&Consumer>) -> Ended {
    let listing = agent::list(loaded, consumer)?;
    if arguments.json {
        say_json(&listing_as_json(&listing))?;
    } else {
        say(&listing_in_words(&listing))?;
    }
    Ok(0)
}

fn listing_in_words(listing: &Listing) -> String {
    if listing.consumers.is_empty() {
        return "nothing was handed on yet\n".into();
    }
    let mut text = String::new();
    for Listed { name, position, waiting, packages } in &listing.consumers {
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            text,
            "{name}: {waiting} changes wait, packages reach {}, taken up to {}",
            position.exported_seq, position.acked_seq
        );
        for (package, there) in packages {
            let state = match (there, package.to_seq <= position.acked_seq) {
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

fn listing_as_json(listing: &Listing) -> Value {
    let package = |(package, there): &(Delivered, bool), acked: i64| {
        let mut document = package_as_json(package);
        document["folder"] = json!(package.folder.display().to_string());
        document["created_at"] = json!(package.created_at.to_string());
        document["acked"] = json!(package.to_seq <= acked);
        document["present"] = json!(there);
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
            "packages": it.packages.iter().map(|it2| package(it2, it.position.acked_seq)).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
    })
}
