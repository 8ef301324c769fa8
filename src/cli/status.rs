//! `halosync status`.

use std::fmt::Write as _;
use std::time::Duration;

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::args::Arguments;
use super::{Ended, printable, say, say_json};
use crate::agent::{self, Loaded, Standing};
use crate::ticket::Stamp;

pub(super) fn status(arguments: &Arguments, loaded: &Loaded, max_age: Option<Duration>) -> Ended {
    let standing = agent::status(loaded)?;
    let fresh = max_age.is_none_or(|max| is_fresh(&standing, max));
    if arguments.json {
        say_json(&as_json(&standing, fresh))?;
    } else {
        say(&in_words(&standing))?;
    }
    Ok(if fresh { 0 } else { 4 })
}

/// Up to here a write-ahead log is as large as SQLite lets it become by itself, in bytes.
const LARGE_LOG: u64 = 8 << 20;

fn megabytes(bytes: u64) -> String {
    let tenths = bytes.div_ceil(100_000);
    format!("{}.{} MB", tenths / 10, tenths % 10)
}

fn is_fresh(standing: &Standing, max: Duration) -> bool {
    let max = TimeDelta::from_std(max).unwrap_or(TimeDelta::MAX);
    age(standing, standing.health.last_complete_at).is_some_and(|age| age <= max)
}

fn age(standing: &Standing, at: Option<Stamp>) -> Option<TimeDelta> {
    at.map(|at| standing.now.instant() - at.instant())
}

/// `2026-11-22T12:00:00.000Z (5m ago)`, or `never`.
fn when(standing: &Standing, at: Option<Stamp>) -> String {
    let Some((at, age)) = at.zip(age(standing, at)) else { return "never".into() };
    let ago = Duration::from_secs(u64::try_from(age.num_seconds()).unwrap_or(0));
    format!("{at} ({} ago)", humantime::format_duration(ago))
}

fn in_words(standing: &Standing) -> String {
    let health = &standing.health;
    let mark = health.watermark.as_ref();
    let state = match mark.map(|mark| mark.state.word()) {
        Some("following") => "following: the copy was complete once, changes are followed",
        Some(_) => "filling: the copy has never been complete",
        None => "empty: nothing was copied yet",
    };
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "{name:<16} {value}");
    };
    line("database", standing.database.display().to_string());
    let holders = &standing.holders;
    let agent = holders.agent.map_or("not running".to_owned(), |pid| format!("at work, pid {pid}"));
    line("agent", agent);
    line("server", mark.map_or("none".into(), |mark| printable(&mark.scope.server)));
    line("state", state.into());
    line("complete until", when(standing, mark.and_then(|mark| mark.covered_until)));
    line("last complete", when(standing, health.last_complete_at));
    let full = health.last_full.as_ref();
    let proven = full.map_or(String::new(), |walk| format!(", {}", walk.outcome));
    line("last full walk", when(standing, full.map(|walk| walk.ended_at)) + &proven);
    if let Some(walk) = &health.last_walk {
        let figures = &walk.figures;
        let counted = figures.record_count.map_or("no count".to_owned(), |count| count.to_string());
        let again =
            if 1 < figures.readings { format!(", read {} times", figures.readings) } else { String::new() };
        line(
            "last walk",
            format!(
                "{}, {}: {} tickets, the server counts {counted}{again}",
                walk.kind, walk.outcome, figures.unique_ids
            ),
        );
    }
    if let Some(walk) = &health.unfinished {
        let received = walk.place.ids.len() + walk.read_before.len();
        let since = when(standing, Some(walk.started_at));
        line(
            "interrupted walk",
            format!("{received} tickets received since {since}; it goes on with the next full walk"),
        );
    }
    for it in &health.verdicts {
        let details = it.details.as_deref().map_or(String::new(), |it| format!(": {}", printable(it)));
        let since = when(standing, Some(it.decided_at));
        line(&it.question.replace('_', " "), format!("{}{details}; since {since}", it.verdict));
    }
    line("newest update", when(standing, mark.and_then(|mark| mark.newest_seen)));
    line("tickets", health.tickets.to_string());
    line("changes", health.last_seq.to_string());
    line(
        "open questions",
        format!("{} debts, {} absences, {} rejects", health.debts, health.absences, health.rejects),
    );
    if 0 < health.unreadable {
        line("unreadable", format!("the server refuses the custom fields of {} tickets", health.unreadable));
    }
    line("size", format!("{}, log {}", megabytes(standing.database_bytes), megabytes(standing.wal_bytes)));
    if LARGE_LOG < standing.wal_bytes {
        for reader in &holders.readers {
            let program =
                reader.program.as_deref().map_or(String::new(), |it| format!(" ({})", printable(it)));
            line("reader", format!("pid {}{program} keeps the log from shrinking", reader.pid));
        }
    }
    for (consumer, position, waiting) in &standing.consumers {
        let acked = position.acked_seq;
        line(
            "consumer",
            format!(
                "{consumer}: {waiting} changes wait, packages reach {}, taken up to {acked}",
                position.exported_seq
            ),
        );
    }
    for run in &health.runs {
        let outcome = run.outcome.as_deref().unwrap_or("under way, or killed");
        let [created, updated, deleted] = run.changes;
        let error = run.error.as_deref().map_or(String::new(), |error| format!(": {}", printable(error)));
        line(
            "pass",
            format!(
                "{} {} {outcome}, {} requests, {created} created, {updated} updated, {deleted} deleted{error}",
                run.started_at, run.kind, run.requests
            ),
        );
    }
    text
}

fn as_json(standing: &Standing, fresh: bool) -> Value {
    let health = &standing.health;
    let mark = health.watermark.as_ref();
    let spelled = |at: Option<Stamp>| at.map(|at| at.to_string());
    let age_seconds = |at| age(standing, at).map(|age| age.num_seconds());
    json!({
        "database": standing.database.display().to_string(),
        "fresh": fresh,
        "agent_pid": standing.holders.agent,
        "database_bytes": standing.database_bytes,
        "wal_bytes": standing.wal_bytes,
        "readers": standing.holders.readers.iter().map(|reader| json!({
            "pid": reader.pid,
            "program": reader.program,
        })).collect::<Vec<_>>(),
        "state": mark.map_or("empty", |mark| mark.state.word()),
        "server": mark.map(|mark| &mark.scope.server),
        "covered_until": spelled(mark.and_then(|mark| mark.covered_until)),
        "covered_age_seconds": age_seconds(mark.and_then(|mark| mark.covered_until)),
        "newest_seen": spelled(mark.and_then(|mark| mark.newest_seen)),
        "last_complete_at": spelled(health.last_complete_at),
        "last_complete_age_seconds": age_seconds(health.last_complete_at),
        "last_full_at": spelled(health.last_full.as_ref().map(|walk| walk.ended_at)),
        "last_full_outcome": health.last_full.as_ref().map(|walk| &walk.outcome),
        "last_walk": health.last_walk.as_ref().map(|walk| json!({
            "kind": walk.kind,
            "outcome": walk.outcome,
            "pages": walk.figures.pages,
            "unique_ids": walk.figures.unique_ids,
            "record_count": walk.figures.record_count,
            "count_fell": walk.figures.count_fell,
            "readings": walk.figures.readings,
        })),
        "interrupted_walk": health.unfinished.as_ref().map(|walk| json!({
            "started_at": walk.started_at.to_string(),
            "received": walk.place.ids.len() + walk.read_before.len(),
        })),
        "tickets": health.tickets,
        "last_seq": health.last_seq,
        "debts": health.debts,
        "unreadable": health.unreadable,
        "absences": health.absences,
        "rejects": health.rejects,
        "verdicts": health.verdicts.iter().map(|it| json!({
            "question": it.question,
            "verdict": it.verdict,
            "details": it.details,
            "decided_at": it.decided_at.to_string(),
        })).collect::<Vec<_>>(),
        "consumers": standing.consumers.iter().map(|(name, position, waiting)| json!({
            "name": name,
            "exported_seq": position.exported_seq,
            "acked_seq": position.acked_seq,
            "waiting": waiting,
        })).collect::<Vec<_>>(),
        "runs": health.runs.iter().map(|run| json!({
            "run_id": run.run_id,
            "kind": run.kind,
            "outcome": run.outcome,
            "error": run.error,
            "started_at": run.started_at,
            "ended_at": run.ended_at,
            "requests": run.requests,
            "created": run.changes[0],
            "updated": run.changes[1],
            "deleted": run.changes[2],
        })).collect::<Vec<_>>(),
    })
}
