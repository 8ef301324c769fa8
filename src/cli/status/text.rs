//! The report of `status` for people: the health first, then blocks of facts. Pure: value in, text out.

use clap::builder::styling::{AnsiColor, Style};
use indicatif::HumanCount;

use super::lake::lake_facts;
use crate::app::{
    HealthReason, LastRun, LastScan, Lateness, ReaderProcess, RunKind, RunStatus, StatusReport, age_to_text,
    count, rough_duration, unlisted_to_text, was_interrupted,
};
use crate::cli::export::consumer_table;
use crate::cli::table::{ColumnKind, pairs, paragraph, table};
use crate::cli::{format_time, printable};
use crate::config::size_to_text;
use crate::sync::{RunOutcome, fields_to_text, lateness_to_text, overlap_line, seconds_to_text};
use crate::ticket::{ChangeCounts, Timestamp};
use crate::watermark::is_near_overlap;

/// Size that SQLite lets a write-ahead log reach before it starts over, in bytes; a larger one has a reader.
const LARGE_WAL_BYTES: u64 = 8 << 20;

/// So many new fields are named, and with `-v`.
const FIELDS_MAX: usize = 20;
const VERBOSE_FIELDS_MAX: usize = 500;

const HEADING: Style = Style::new().bold();
const OK: Style = AnsiColor::Green.on_default().bold();
const ATTENTION: Style = AnsiColor::Yellow.on_default().bold();

/// How to format a report.
#[derive(Clone, Copy)]
pub(super) struct TextOptions {
    /// The width of the terminal; `None` elsewhere.
    pub(super) width: Option<u16>,
    /// Whether to show what is known about the server.
    pub(super) is_verbose: bool,
}

type Pairs = Vec<(String, String)>;

/// All facts that are pairs of a name and a value, with their headings, and what is known about the server.
pub(in crate::cli) fn blocks(status: &StatusReport) -> Vec<(&'static str, Pairs)> {
    let consumers = status.consumers.iter().map(|(name, position, waiting)| {
        let waiting = count(waiting.unsigned_abs(), "change");
        let [exported, acked] =
            [position.exported_seq, position.acked_seq].map(|seq| HumanCount(seq.unsigned_abs()));
        (
            name.clone(),
            format!("exported to change {exported}, acknowledged to {acked}; {waiting} not exported"),
        )
    });
    let mut blocks = vec![
        ("Data", data(status)),
        ("Scans", scans(status, true)),
        ("Waiting", waiting(status)),
        ("Consumers", consumers.collect()),
    ];
    blocks.extend(status.lake.as_ref().map(|lake| ("Lake", lake_facts(lake))));
    blocks.push(("Names", reference_lists(status)));
    blocks.push(("Server behavior", server_behavior(status)));
    blocks
}

/// Formats a report; `reasons` are those of its assessment.
pub(super) fn to_text(status: &StatusReport, reasons: &[HealthReason], options: TextOptions) -> String {
    let mut text = summary(status, reasons, options.width);
    let mut blocks = vec![
        ("Data", data(status)),
        ("Scans", scans(status, options.is_verbose)),
        ("Waiting", waiting(status)),
    ];
    if options.is_verbose {
        blocks.push(("Names", reference_lists(status)));
        blocks.push(("Server behavior", server_behavior(status)));
    }
    let names = blocks.iter().flat_map(|(_, rows)| rows).map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut block = |heading: &str, content: String| {
        text += &format!("\n{HEADING}{heading}{HEADING:#}\n{content}");
    };
    let about_server = if options.is_verbose { blocks.split_off(3) } else { Vec::new() };
    for (heading, rows) in blocks {
        block(heading, pairs(&rows, names, options.width));
    }
    if !status.health.runs.is_empty() {
        block("Last runs", runs(status, options.width));
    }
    if !status.consumers.is_empty() {
        let positions =
            status.consumers.iter().map(|(name, position, waiting)| (name.as_str(), position, *waiting));
        block("Consumers", consumer_table(positions, options.width));
    }
    if let Some(lake) = &status.lake {
        block("Lake", pairs(&lake_facts(lake), names, options.width));
    }
    for (heading, rows) in about_server.into_iter().filter(|(_, rows)| !rows.is_empty()) {
        block(heading, pairs(&rows, names, options.width));
    }
    text
}

/// `OK` and the age of the data, or `ATTENTION` and every reason, the worst in the first line.
fn summary(status: &StatusReport, reasons: &[HealthReason], width: Option<u16>) -> String {
    let Some((worst, others)) = reasons.split_first() else {
        let tickets = count(status.health.tickets, "ticket");
        let age = status.last_complete_age().map_or("never".into(), age_to_text);
        let age = age.strip_prefix("just ").unwrap_or(&age);
        let accepted = match status.accepted_lacks() {
            0 => String::new(),
            accepted => format!("; {} missing, which `accept_shortfall` accepts", HumanCount(accepted)),
        };
        let text = paragraph("OK —", &format!("{tickets}, complete as of {age}{accepted}"), width);
        return emphasize(&text, "OK", OK);
    };
    let with_help = |reason: &HealthReason| {
        let message = reason.to_string();
        printable(&format!("{}. {}.", message.trim_end_matches('.'), capitalize(reason.help())))
    };
    let mut text = emphasize(&paragraph("ATTENTION —", &with_help(worst), width), "ATTENTION", ATTENTION);
    for reason in others {
        text += &paragraph("  also —", &with_help(reason), width);
    }
    text
}

/// A clause as the beginning of a sentence.
fn capitalize(clause: &str) -> String {
    let mut characters = clause.chars();
    characters
        .next()
        .map_or(String::new(), |first| first.to_ascii_uppercase().to_string() + characters.as_str())
}

/// Styles the first word of a text.
fn emphasize(text: &str, word: &str, style: Style) -> String {
    format!("{style}{word}{style:#}{}", text.strip_prefix(word).unwrap_or(text))
}

/// `2026-11-22T12:00:00Z (5 min ago)`, or `never`.
fn time_with_age(status: &StatusReport, at: Option<Timestamp>) -> String {
    at.map_or("never".into(), |at| {
        format!("{} ({})", format_time(at), age_to_text(status.now.instant() - at.instant()))
    })
}

fn data(status: &StatusReport) -> Pairs {
    let health = &status.health;
    let watermark = health.watermark.as_ref();
    let mut rows = Pairs::new();
    let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
    row("Tickets", HumanCount(health.tickets).to_string());
    if 0 < health.erased_tickets {
        let erased = HumanCount(health.erased_tickets);
        row("Erased", format!("{erased}; not missing, also where the server still lists them"));
    }
    if health.has_privacy_traces {
        row(
            "Privacy",
            "values that are held back may be left in the files of the database; see `halosync check`".into(),
        );
    }
    row("Newest change", HumanCount(health.last_seq.unsigned_abs()).to_string());
    row("Server", watermark.map_or("none yet".into(), |mark| printable(&mark.scope.server)));
    row("Complete until", time_with_age(status, watermark.and_then(|mark| mark.covered_until)));
    row("Newest update", time_with_age(status, watermark.and_then(|mark| mark.newest_seen)));
    row("Last complete run", time_with_age(status, health.last_complete_at));
    row("Database", printable(&status.database.display().to_string()));
    row(
        "Size",
        format!(
            "{}, write-ahead log {}",
            size_to_text(status.database_bytes),
            size_to_text(status.wal_bytes)
        ),
    );
    row("Free disk", status.free_disk_bytes.map_or("unknown".into(), size_to_text));
    row(
        "Integrity",
        match &status.inspection {
            Some(inspection) if inspection.is_damaged => "damaged".into(),
            Some(_) => "no damage".into(),
            None => "not looked at, because the file is large; `halosync check` does".into(),
        },
    );
    row("Service", status.holders.writer.map_or("not running".into(), |pid| format!("running, pid {pid}")));
    if LARGE_WAL_BYTES < status.wal_bytes {
        for ReaderProcess { pid, program } in &status.holders.readers {
            let program = program.as_deref().map_or(String::new(), |it| format!(" ({})", printable(it)));
            row("Reader", format!("pid {pid}{program} keeps the log from shrinking"));
        }
    }
    rows
}

fn scans(status: &StatusReport, is_verbose: bool) -> Pairs {
    let health = &status.health;
    let mut rows = Pairs::new();
    let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
    row(
        "State",
        match health.watermark.as_ref().map(|mark| mark.state.as_str()) {
            Some("incremental") => "incremental: runs ask for what changed",
            Some(_) => "initial: not everything has been loaded yet",
            None => "empty: nothing was synced yet",
        }
        .into(),
    );
    let full = health.last_full_scan.as_ref();
    let full_outcome = full.map_or(String::new(), |scan| {
        let accepted = if scan.is_accepted() { ", accepted" } else { "" };
        let unconfirmed = if scan.needs_confirmation { "; its first part is not yet confirmed" } else { "" };
        format!(", {}{accepted}{unconfirmed}", words(scan.outcome.as_str()))
    });
    row("Last full scan", time_with_age(status, full.map(|scan| scan.ended_at)) + &full_outcome);
    if let Some(last_scan) = &health.last_scan {
        row("Last scan", last_scan_to_text(last_scan));
    }
    if let Some(scan) = &health.interrupted_scan {
        let received = HumanCount(scan.received());
        let received = match health.interrupted_scan_count {
            Some(total) => format!("{received} of {}", count(total, "ticket")),
            None => count(scan.received(), "ticket"),
        };
        let since = time_with_age(status, Some(scan.started_at));
        let (name, end) = if status.is_running() {
            ("Scan under way", "")
        } else {
            ("Interrupted scan", "; `halosync sync` continues it")
        };
        row(name, format!("{received} received since {since}{end}"));
    }
    if is_verbose {
        let held = status.delete_guard.as_ref().and_then(RunOutcome::reason);
        row("Delete guard", held.unwrap_or_else(|| "does not hold".into()));
    }
    if let Some(text) = late_changes(status, is_verbose) {
        row("Late changes", text);
    }
    let new_fields = if is_verbose { status.unmapped_fields.clone() } else { status.new_fields() };
    if !new_fields.is_empty() {
        let max = if is_verbose { VERBOSE_FIELDS_MAX } else { FIELDS_MAX };
        row("New fields", printable(&fields_to_text(&new_fields, max)) + "; not stored");
    }
    rows
}

/// How late changes became visible, where that comes near the overlap, or on request.
fn late_changes(status: &StatusReport, is_verbose: bool) -> Option<String> {
    let Some(Lateness { late_by, measured_at }) = status.lateness else {
        return is_verbose.then(|| "no change was late in the last 30 days".into());
    };
    let overlap = seconds_to_text(status.overlap);
    let is_near = is_near_overlap(late_by, status.overlap);
    let advice = match overlap_line(late_by) {
        line if is_near => format!("set `{line}` in `[sync]`, it is {overlap}"),
        line => format!("`{line}` is enough, it is {overlap}"),
    };
    let (late_by, found) = (lateness_to_text(late_by), time_with_age(status, Some(measured_at)));
    (is_near || is_verbose).then(|| {
        format!("up to {late_by} late in the last 30 days, the most delayed found {found}; {advice}")
    })
}

/// A word of the database, such as `count_mismatch`, for people.
fn words(word: &str) -> String {
    word.replace('_', " ")
}

fn last_scan_to_text(scan: &LastScan) -> String {
    let read = &scan.stats;
    let server_count = read.record_count.map_or("no count".to_owned(), |number| count(number, "ticket"));
    let reads_note = if 1 < read.reads { format!("; read {} times", read.reads) } else { String::new() };
    let received = count(read.unique_ids, "ticket");
    let (kind, outcome) = (scan.kind.as_str(), words(scan.outcome.as_str()));
    format!("{kind}, {outcome}: {received} received, the server reports {server_count}{reads_note}")
}

fn waiting(status: &StatusReport) -> Pairs {
    let health = &status.health;
    let mut rows = Pairs::new();
    let mut row = |name: &str, number: u64, details: String| {
        let details = if details.is_empty() { details } else { format!(" ({details})") };
        rows.push((name.to_owned(), format!("{}{details}", HumanCount(number))));
    };
    let pending = &health.pending_tickets;
    let mut ids: Vec<_> = pending.first_ids.iter().map(ToString::to_string).collect();
    if (ids.len() as u64) < pending.count {
        ids.push("…".into());
    }
    row("Pending tickets", pending.count, ids.join(", "));
    row("Pending custom fields", health.pending_custom_fields(), String::new());
    row("Refused custom fields", health.unreadable, String::new());
    row("Unlisted tickets", health.unlisted_tickets, unlisted_to_text(&health.unlisted_by_status));
    row("Rows without an id", health.rejected_rows, String::new());
    row("Rejected values", health.rejects.saturating_sub(health.rejected_rows), String::new());
    // What a list answered that cannot be all of it is asked for again.
    for (table, list) in &health.reference_lists {
        if !list.result.is_final() {
            let name = format!("Names of {}", table.words());
            rows.push((name, format!("the list is {}", list.result)));
        }
    }
    rows
}

fn reference_lists(status: &StatusReport) -> Pairs {
    let rows = status.health.reference_lists.iter().map(|(table, list)| {
        let details = list.details.as_deref().map_or(String::new(), |it| format!(": {}", printable(it)));
        let since = time_with_age(status, Some(list.read_at));
        (capitalize(&table.words()), format!("{}{details}; read {since}", list.result))
    });
    rows.collect()
}

fn runs(status: &StatusReport, width: Option<u16>) -> String {
    use ColumnKind::{Number, Text};
    let columns = [
        ("STARTED", Text),
        ("TOOK", Number),
        ("RESULT", Text),
        ("REQUESTS", Number),
        ("CREATED", Number),
        ("UPDATED", Number),
        ("DELETED", Number),
    ];
    let number = |number: u64| HumanCount(number).to_string();
    let runs = &status.health.runs;
    let rows = runs.iter().enumerate().map(|(position, run)| {
        let ChangeCounts { created, updated, deleted } = run.changes;
        let took = run_seconds(run).map_or(String::new(), rough_duration);
        let result = run_result(run, position == 0 && status.is_running());
        let requests = number(run.requests.unsigned_abs());
        [started_at(run), took, result, requests, number(created), number(updated), number(deleted)]
    });
    let mut text = table(columns, rows.collect(), width);
    for run in runs {
        if let Some(error) = run.error.as_ref().filter(|_| !was_interrupted(run)) {
            text += &paragraph(&format!("  {}:", started_at(run)), &printable(error), width);
        }
    }
    text
}

/// When a run started, to the second.
fn started_at(run: &LastRun) -> String {
    run.started_at.parse().map_or_else(|_| printable(&run.started_at), format_time)
}

/// How long a run took, in seconds.
fn run_seconds(run: &LastRun) -> Option<u64> {
    let at = |text: &str| text.parse::<Timestamp>().ok().map(Timestamp::instant);
    let took = at(run.ended_at.as_deref()?)? - at(&run.started_at)?;
    u64::try_from(took.num_seconds()).ok()
}

fn run_result(run: &LastRun, is_running: bool) -> String {
    let outcome = match run.outcome {
        Some(_) if was_interrupted(run) => "interrupted",
        Some(outcome) => outcome.as_str(),
        None if is_running => "running",
        None => "killed",
    };
    match (run.kind, run.outcome) {
        (RunKind::DryRun, Some(RunStatus::Complete)) => "dry run".into(),
        (RunKind::DryRun, _) => format!("dry run, {outcome}"),
        _ => outcome.into(),
    }
}

fn server_behavior(status: &StatusReport) -> Pairs {
    let rows = status.health.probes.iter().map(|it| {
        let details = it.details.as_deref().map_or(String::new(), |it| format!(": {}", printable(it)));
        let since = time_with_age(status, Some(it.probed_at));
        let name = capitalize(&words(it.probe.as_str()));
        (name, format!("{}{details}; probed {since}", printable(&words(&it.result))))
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::app::{Inspection, UnmappedField};
    use crate::store::{
        ConsumerPosition, InterruptedScan, LastFullScan, PendingTickets, Probe, ScanCheckpoint, ScanOutcome,
        ScanStats, ServerProbe, UnlistedStatus,
    };
    use crate::ticket::JsonType;
    use crate::watermark::{ScanKind, Watermark, WatermarkState};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn run(started_at: &str, seconds: i64, outcome: Option<RunStatus>, created: u64) -> LastRun {
        let started_at = at(started_at);
        let ended_at = Timestamp::new(started_at.instant() + TimeDelta::seconds(seconds)).unwrap();
        LastRun {
            run_id: 1,
            kind: RunKind::Sync,
            outcome,
            error: None,
            started_at: started_at.to_string(),
            ended_at: outcome.map(|_| ended_at.to_string()),
            requests: 3,
            changes: ChangeCounts { created, updated: 12, deleted: 0 },
        }
    }

    fn incomplete(error: &str) -> LastRun {
        let run = run("2026-11-22T11:59:30.000Z", 4, Some(RunStatus::Incomplete), 0);
        LastRun { error: Some(error.to_owned()), ..run }
    }

    fn scan(kind: ScanKind, outcome: ScanOutcome, tickets: u64) -> LastScan {
        let stats = ScanStats {
            pages: 1,
            unique_ids: tickets,
            record_count: Some(tickets),
            count_fell: false,
            reads: 1,
        };
        LastScan { kind, outcome, stats }
    }

    /// A service that is running, with two consumers.
    fn healthy() -> StatusReport {
        let mut report = StatusReport::example();
        report.holders.writer = Some(815);
        report.health.last_full_scan = Some(LastFullScan {
            ended_at: at("2026-11-22T03:00:00.000Z"),
            outcome: ScanOutcome::Confirmed,
            needs_confirmation: false,
        });
        let from = at("2026-11-22T11:43:51.000Z");
        report.health.last_scan = Some(scan(ScanKind::Incremental { from }, ScanOutcome::Verified, 1));
        report.health.runs = vec![
            run("2026-11-22T11:58:58.100Z", 2, Some(RunStatus::Complete), 1),
            run("2026-11-22T11:53:58.000Z", 272, Some(RunStatus::Complete), 8_000),
            run("2026-11-22T11:48:58.000Z", 0, None, 0),
        ];
        let position = |exported_seq, acked_seq| ConsumerPosition {
            exported_seq,
            acked_seq,
            ..ConsumerPosition::default()
        };
        report.consumers =
            vec![("default".into(), position(8_123, 8_000), 0), ("warehouse".into(), position(23, 0), 8_100)];
        report
    }

    /// The report at 80 and 200 columns and in a pipe.
    fn assert_matches_snapshot(name: &str, report: &StatusReport) {
        let reasons = report.assess(None).reasons;
        let mut text = String::new();
        for width in [Some(80), Some(200), None] {
            let options = TextOptions { width, is_verbose: false };
            let formatted = anstream::adapter::strip_str(&to_text(report, &reasons, options)).to_string();
            let longest = formatted.lines().map(|line| line.chars().count()).max().unwrap_or(0);
            assert!(width.is_none_or(|width| longest <= usize::from(width)), "{formatted}");
            let title = width.map_or("In a pipe".to_owned(), |width| format!("{width} columns"));
            text += &format!("=== {title}\n{formatted}\n");
        }
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path("../../../tests/golden/status");
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(name, text));
    }

    #[test]
    fn status_of_a_healthy_service() {
        assert_matches_snapshot("healthy", &healthy());
    }

    #[test]
    fn status_while_the_delete_guard_holds() {
        let mut report = healthy();
        let guard = RunOutcome::DeleteGuard { removals: 500, allowed: 400 };
        report.health.runs[0] = incomplete(&guard.reason().unwrap());
        report.delete_guard = Some(guard);
        report.health.unlisted_tickets = 502;
        report.health.unlisted_by_status =
            vec![(UnlistedStatus::Forbidden, 2), (UnlistedStatus::Guarded, 500)];
        report.health.last_complete_at = Some(at("2026-11-22T09:00:00.000Z"));
        assert_matches_snapshot("delete_guard", &report);
    }

    #[test]
    fn status_with_pending_tickets() {
        let mut report = healthy();
        report.health.runs[0] = incomplete("2 tickets cannot be read yet: 5, 7");
        report.health.pending_tickets = PendingTickets { count: 2, first_ids: vec![5, 7] };
        report.health.pending_fetches = 1_202;
        (report.health.rejects, report.health.unreadable) = (1, 3);
        assert_matches_snapshot("pending_tickets", &report);
    }

    #[test]
    fn status_during_the_first_load() {
        let mut report = healthy();
        let mark = report.health.watermark.take().unwrap();
        report.health.watermark =
            Some(Watermark { state: WatermarkState::Initial, covered_until: None, ..mark });
        report.health.tickets = 3_200;
        report.health.last_seq = 3_200;
        report.health.last_complete_at = None;
        report.health.last_full_scan = None;
        report.health.last_scan = None;
        report.health.interrupted_scan = Some(InterruptedScan {
            scan_id: 1,
            started_at: at("2026-11-22T11:55:28.000Z"),
            checkpoint: ScanCheckpoint { ids: (1..=3_200).collect(), ..ScanCheckpoint::default() },
            earlier_list_ids: (1..1).collect(),
            earlier_rejected_rows: vec![],
        });
        report.health.interrupted_scan_count = Some(8_000);
        report.health.runs = vec![run("2026-11-22T11:55:28.000Z", 0, None, 3_200)];
        report.consumers.clear();
        assert_matches_snapshot("first_load", &report);
    }

    #[test]
    fn status_of_a_damaged_database() {
        let mut report = healthy();
        report.inspection = Some(Inspection { is_damaged: true, ..Inspection::default() });
        assert_matches_snapshot("damaged", &report);
    }

    #[test]
    fn first_line_names_what_is_accepted() {
        let mut report = healthy();
        report.accept_shortfall = 5;
        report.health.pending_tickets = PendingTickets { count: 2, first_ids: vec![5, 7] };
        let line = summary(&report, &report.assess(None).reasons, None);
        assert_eq!(
            anstream::adapter::strip_str(&line).to_string(),
            "OK — 8,000 tickets, complete as of 1 min ago; 2 missing, which `accept_shortfall` accepts\n"
        );
    }

    #[test]
    fn what_is_known_about_the_server_is_shown_on_request() {
        let mut report = healthy();
        report.health.probes = vec![ServerProbe {
            probe: Probe::DateFilter,
            result: "plain_utc".into(),
            details: Some("two bounds".into()),
            probed_at: at("2026-11-19T11:00:00.000Z"),
        }];
        let text = |is_verbose| to_text(&report, &[], TextOptions { width: None, is_verbose });
        assert!(!text(false).contains("two bounds"));
        let expected =
            "Date filter            plain utc: two bounds; probed 2026-11-19T11:00:00Z (3 days ago)\n";
        assert!(text(true).ends_with(expected), "{}", text(true));
    }

    #[test]
    fn new_fields_and_late_changes_are_shown_where_they_matter() {
        let mut report = healthy();
        let field = |name: &str, in_first_search| UnmappedField {
            object: "tickets".into(),
            field: name.into(),
            json_type: JsonType::String,
            first_seen_at: at("2026-11-20T12:00:00.000Z"),
            last_seen_at: at("2026-11-22T11:00:00.000Z"),
            in_first_search,
        };
        report.unmapped_fields = vec![field("mood", false), field("use", true)];
        let late = |seconds| Lateness {
            late_by: TimeDelta::seconds(seconds),
            measured_at: at("2026-11-22T11:00:00.000Z"),
        };
        let rows = |report: &StatusReport, is_verbose| {
            let rows = scans(report, is_verbose).into_iter();
            rows.filter(|(name, _)| name == "New fields" || name == "Late changes").map(|row| row.1).collect()
        };
        let found: Vec<String> = rows(&report, false);
        assert_eq!(found, ["ticket list: mood (string); not stored"]);
        report.lateness = Some(late(300));
        let found: Vec<String> = rows(&report, true);
        let expected = [
            "up to 5 min late in the last 30 days, the most delayed found 2026-11-22T11:00:00Z (1 h ago); `overlap = \"10m\"` is enough, it is 10 min",
            "ticket list: mood (string), use (string); not stored",
        ];
        assert_eq!(found, expected);
        report.lateness = Some(late(301));
        let found: Vec<String> = rows(&report, false);
        let expected = "up to 6 min late in the last 30 days, the most delayed found 2026-11-22T11:00:00Z (1 h ago); set `overlap = \"11m\"` in \
             `[sync]`, it is 10 min";
        assert_eq!(found[0], expected);
    }

    #[test]
    fn a_run_without_an_end_is_running_or_was_killed() {
        let open = run("2026-11-22T11:48:58.000Z", 0, None, 0);
        let dry = |outcome| LastRun { kind: RunKind::DryRun, outcome, ..open.clone() };
        for (run, is_running, expected) in [
            (open.clone(), true, "running"),
            (open.clone(), false, "killed"),
            (run("2026-11-22T11:48:58.000Z", 0, Some(RunStatus::Failed), 0), true, "failed"),
            (dry(Some(RunStatus::Complete)), false, "dry run"),
            (dry(Some(RunStatus::Failed)), false, "dry run, failed"),
        ] {
            assert_eq!(run_result(&run, is_running), expected);
        }
    }

    #[test]
    fn text_of_the_server_cannot_control_the_terminal() {
        let mut report = healthy();
        report.health.runs[0] = incomplete("a \u{1b}[31mred\u{1b}[0m answer\nof two lines");
        let reasons = report.assess(None).reasons;
        let text = to_text(&report, &reasons, TextOptions { width: None, is_verbose: false });
        assert!(!anstream::adapter::strip_str(&text).to_string().contains('\u{1b}'));
        assert!(text.contains("red\u{FFFD}[0m answer\u{FFFD}of two lines"), "{text}");
    }
}
