//! The life of a ticket, and its row at a time, for people. Pure: value in, text out.

use clap::builder::styling::Style;
use indicatif::HumanCount;

use crate::app::{
    ChangeMark, EventKind, EventLine, LifeEvent, PendingOfTicket, Presence, RejectDetails, RejectOfTicket,
    ShownValue, TicketHistory, TicketRowAt, UnlistedStatus, UnlistedTicket, age_to_text, count,
    pending_to_text, removal_to_text,
};
use crate::cli::table::{pairs, paragraph};
use crate::cli::{format_time, printable};
use crate::ticket::Timestamp;

const HEADING: Style = Style::new().bold();

/// How wide lines are where there is no terminal: text of tickets is cut there, too.
const PIPE_WIDTH: usize = 200;

/// Fewest columns for a value, however narrow the terminal is.
const VALUE_WIDTH_MIN: usize = 24;

/// A longer name is cut; labels and values stand beside each other.
const LABEL_MAX: usize = 30;

/// The space before a label and behind it, in columns.
const GAPS: usize = 4;

type LabeledRows = Vec<(String, String)>;

/// Formats the life of a ticket.
pub(super) fn history_to_text(history: &TicketHistory, width: Option<u16>) -> String {
    let summary = history.summary().map_or(String::new(), |it| format!(": {}", one_line(it)));
    let title = format!("Ticket {}", history.id);
    let heading = paragraph("", &cut(&format!("{title}{summary}"), columns(width)), width);
    let mut text = emphasize(&heading, &title) + &rows(&head(history), width);
    let waiting = waiting(history, width);
    if !waiting.is_empty() {
        text += &format!("\n{HEADING}Waiting{HEADING:#}\n{}", rows(&waiting, width));
    }
    text += &format!("\n{HEADING}History{HEADING:#} (the oldest first, times are UTC)\n");
    if history.has_lost_beginning() {
        text += &paragraph("", "Older change records are no longer kept.", width);
    }
    for event in &history.events {
        text += &format!("\n{}", event_to_text(event, width));
    }
    text
}

/// Formats the row of a ticket at a time.
pub(super) fn row_at_to_text(row: &TicketRowAt, width: Option<u16>) -> String {
    let title = format!("Ticket {}", row.id);
    let heading = format!("{title} as it was stored here at {}\n", row.at);
    let mark =
        |mark: &ChangeMark| format!("change {}, {}", HumanCount(mark.seq.unsigned_abs()), mark.observed_at);
    let mut head = vec![
        (
            "Since".to_owned(),
            row.since.as_ref().map_or("a change record that is no longer kept".into(), mark),
        ),
        ("Until".to_owned(), row.until.as_ref().map_or("now".into(), mark)),
    ];
    if !row.unknown.is_empty() {
        head.push(("Not known".to_owned(), row.unknown.join(", ")));
    }
    let values = row.values();
    let labels = values.iter().map(|(label, ..)| label_width(label)).max().unwrap_or(0);
    let values = values.into_iter().map(|(label, value, number)| {
        let number = match (&value, number) {
            (ShownValue::Name(_), Some(number)) => format!(" ({number})"),
            _ => String::new(),
        };
        (cut(&one_line(&label), LABEL_MAX), value_to_text(&value, value_width(labels, width)) + &number)
    });
    let values: LabeledRows = values.collect();
    let state = match row.is_open {
        Some(true) => " (open)",
        Some(false) => " (closed)",
        None => "",
    };
    format!(
        "{}{}\n{HEADING}Values{HEADING:#}{state}\n{}",
        emphasize(&heading, &title),
        rows(&head, width),
        rows(&values, width)
    )
}

/// What the ticket is, and what is known of it.
fn head(history: &TicketHistory) -> LabeledRows {
    let mut rows = LabeledRows::new();
    let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
    match &history.presence {
        Presence::Stored => {}
        Presence::RowLost => row("Row", "lost here; the next full scan brings it back".into()),
        Presence::Erased { at, reason } => {
            let when = time_with_age(history, *at);
            row("Erased", format!("on {when}: {}; nothing of it is stored any more", one_line(reason)));
        }
        Presence::Removed { reason, observed_at, not_before, merged_into } => {
            let shown = not_before
                .map_or(String::new(), |at| format!("; it was not gone before {}", format_time(at)));
            let noticed = time_with_age(history, *observed_at);
            row(
                "Removed",
                format!("{}; noticed at {noticed}{shown}", printable(&removal_to_text(reason, *merged_into))),
            );
        }
    }
    for (label, value) in &history.facts {
        let value = match (*label, value) {
            ("Agent", ShownValue::Nothing) => "nobody".to_owned(),
            ("Status", value) => {
                let state = history.is_open.map(|is_open| if is_open { "open" } else { "closed" });
                let last = if history.presence == Presence::Stored { "" } else { " when it was last seen" };
                let state = state.map_or(String::new(), |state| format!(" ({state}{last})"));
                value_to_text(value, PIPE_WIDTH) + &state
            }
            (_, ShownValue::Time(at)) => time_with_age(history, *at),
            (_, value) => value_to_text(value, PIPE_WIDTH),
        };
        row(label, value);
    }
    if let Some(at) = history.first_seen_at {
        row("First seen", time_with_age(history, at));
    }
    rows
}

/// What is still to be fetched or to be read, and why the row is as it is.
fn waiting(history: &TicketHistory, width: Option<u16>) -> LabeledRows {
    let mut rows = LabeledRows::new();
    let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
    for pending in &history.pending {
        let name = if pending.kind == "ticket" { "Ticket" } else { "Custom fields" };
        row(name, pending_row(pending));
    }
    if let Some(unlisted) = &history.unlisted {
        row("Not listed", unlisted_row(unlisted));
    }
    for reject in &history.rejects {
        row("Rejected", reject_row(reject, &history.names.label_of(&reject.attribute), columns(width)));
    }
    if history.is_edited {
        row(
            "Edited here",
            "another program edited its row; the next full scan compares it with the server's".into(),
        );
    }
    rows
}

fn pending_row(pending: &PendingOfTicket) -> String {
    let why = printable(&pending_to_text(pending));
    let attempts = match pending.attempts {
        0 => String::new(),
        attempts => format!("; {}", count(attempts.into(), "failed attempt")),
    };
    format!("{why}{attempts}; requested at {} or later", format_time(pending.due_at))
}

fn unlisted_row(unlisted: &UnlistedTicket) -> String {
    let answer = match unlisted.status {
        UnlistedStatus::Guarded => "the delete guard keeps it",
        UnlistedStatus::NotAsked => "the server has not been asked about it yet",
        UnlistedStatus::Missing => "the server did not find it when it was requested alone",
        UnlistedStatus::Forbidden => "the server refuses to show it",
        UnlistedStatus::NotListed => "the server returns it alone, but does not list it",
        UnlistedStatus::Unreadable => "the server's answer about it could not be read",
    };
    let since = format_time(unlisted.first_missed_at);
    format!("since {since}: {answer}; asked again at {} or later", format_time(unlisted.ask_again_at))
}

fn reject_row(reject: &RejectOfTicket, label: &str, columns: usize) -> String {
    let name = match one_line(label) {
        label if label == reject.attribute => label,
        label => format!("{label} ({})", one_line(&reject.attribute)),
    };
    let Some(RejectDetails { reason, raw, seen_at }) = &reject.details else {
        return format!("{name}: it could not be read, like that of many other tickets");
    };
    let since = format_time(*seen_at);
    let sent = match raw {
        Some(raw) => format!("the server sent {} (since {since})", cut(&one_line(raw), columns)),
        None => format!("since {since}"),
    };
    format!("{name}: {}; {sent}; the last good value stays", printable(reason))
}

fn event_to_text(event: &LifeEvent, width: Option<u16>) -> String {
    let title = title(event.kind);
    let heading = |text: &str| emphasize(&paragraph(&format!("{title}:"), text, width), title);
    let (when, note, seq) = (when(event), note(event), HumanCount(event.seq.unsigned_abs()));
    if is_one_line(event.kind) {
        let note = note.map_or(String::new(), |note| format!("; {note}"));
        return heading(&format!("{when}{note} (change {seq}, {})", run_to_text(event)));
    }
    let mut lines = vec![("Change".to_owned(), format!("{seq}, {}", run_to_text(event)))];
    lines.extend(note.map(|note| ("Why".to_owned(), note)));
    let labels = event.lines.iter().map(|line| label_width(&line.label)).max().unwrap_or(0);
    let columns = value_width(labels.max("Change".len()), width);
    let shown = event.lines.iter();
    lines.extend(shown.map(|line| (cut(&one_line(&line.label), LABEL_MAX), line_to_text(line, columns))));
    heading(&when) + &rows(&lines, width)
}

/// Whether an event is bookkeeping, which takes one line.
fn is_one_line(kind: EventKind) -> bool {
    matches!(kind, EventKind::Touched | EventKind::StatusRenamed | EventKind::CustomFieldsOff)
}

fn title(kind: EventKind) -> &'static str {
    match kind {
        EventKind::FirstSeen => "First seen",
        EventKind::Returned => "Returned",
        EventKind::Updated => "Updated",
        EventKind::Closed => "Closed",
        EventKind::Reopened => "Reopened",
        EventKind::Touched => "Touched",
        EventKind::StatusRenamed => "Status renamed",
        EventKind::Repaired => "Repaired",
        EventKind::WentBack => "Went back",
        EventKind::CustomFields => "Custom fields",
        EventKind::CustomFieldsOff => "Custom fields off",
        EventKind::Removed => "Removed",
    }
}

/// What else is to be said about an event, as a clause.
fn note(event: &LifeEvent) -> Option<String> {
    Some(match event.kind {
        _ if event.is_emptied && event.kind != EventKind::Removed => {
            "what changed was erased with the ticket".into()
        }
        EventKind::FirstSeen
        | EventKind::Updated
        | EventKind::Closed
        | EventKind::Reopened
        | EventKind::CustomFields => return None,
        EventKind::Returned => "the server lists it again".into(),
        EventKind::Touched if event.changed.is_empty() => "no attribute changed".into(),
        EventKind::Touched => "only its date of last update moved".into(),
        EventKind::StatusRenamed => {
            let lines = event.lines.iter().map(|line| line_to_text(line, PIPE_WIDTH));
            let renamed = lines.collect::<Vec<_>>().join(", ");
            format!("{renamed}: the list of statuses changed, not the ticket")
        }
        EventKind::Repaired => "an edit of the local database was undone; no event of the ticket".into(),
        EventKind::WentBack => "the server shows an earlier version: it was restored from a backup".into(),
        EventKind::CustomFieldsOff => "they are no longer synchronized; no event of the ticket".into(),
        EventKind::Removed => {
            printable(&removal_to_text(event.reason.as_deref().unwrap_or_default(), event.merged_into))
        }
    })
}

/// When an event happened, as exactly as that is known.
fn when(event: &LifeEvent) -> String {
    let seen = event.observed_at;
    match (event.server_time, event.not_before) {
        _ if event.kind == EventKind::Repaired => format!("at {}", clock_and_date(seen)),
        (Some(at), _) if date(at) == date(seen) => {
            format!("last edit at {} by the server; seen {}", clock(at), clock_and_date(seen))
        }
        (Some(at), _) => {
            format!("last edit at {} by the server; seen {}", clock_and_date(at), clock_and_date(seen))
        }
        (None, None) => format!("before {}", clock_and_date(seen)),
        (None, Some(from)) if clock_and_date(from) == clock_and_date(seen) => {
            format!("at {}", clock_and_date(seen))
        }
        (None, Some(from)) if date(from) == date(seen) => {
            format!("between {} and {}", clock(from), clock_and_date(seen))
        }
        (None, Some(from)) => format!("between {} and {}", clock_and_date(from), clock_and_date(seen)),
    }
}

fn date(at: Timestamp) -> String {
    at.instant().format("%Y-%m-%d").to_string()
}

fn clock(at: Timestamp) -> String {
    at.instant().format("%H:%M:%S").to_string()
}

fn clock_and_date(at: Timestamp) -> String {
    format!("{}, {}", clock(at), date(at))
}

fn run_to_text(event: &LifeEvent) -> String {
    let run = &event.run;
    let scans = match run.scans.as_slice() {
        [] => String::new(),
        scans => format!(", {} scan", printable(&scans.join(" and "))),
    };
    format!("seen by run {}{scans}", HumanCount(run.run_id.unsigned_abs()))
}

/// `old → new`, in two lines where they do not fit into one.
fn line_to_text(line: &EventLine, columns: usize) -> String {
    let new = value_to_text(&line.new, columns);
    let Some(old) = &line.old else { return new };
    let one = format!("{} → {new}", value_to_text(old, columns));
    if one.chars().count() <= columns {
        return one;
    }
    let new = value_to_text(&line.new, columns.saturating_sub(2));
    format!("{}\n→ {new}", value_to_text(old, columns))
}

/// A value in at most so many columns.
fn value_to_text(value: &ShownValue, columns: usize) -> String {
    match value {
        ShownValue::Nothing => "none".into(),
        ShownValue::Name(name) if name.is_empty() => "\"\"".into(),
        ShownValue::Name(name) => cut(&one_line(name), columns),
        ShownValue::Unnamed(noun, number) => format!("{noun} {number}"),
        ShownValue::Text(text) => quoted(text, columns),
        ShownValue::Time(at) => format_time(*at),
        ShownValue::Number(number) => number.clone(),
        ShownValue::Answer(true) => "yes".into(),
        ShownValue::Answer(false) => "no".into(),
    }
}

/// Text in quotation marks; a longer one is cut, and says how long it is.
fn quoted(text: &str, columns: usize) -> String {
    let line = one_line(text);
    if line.chars().count() + 2 <= columns {
        return format!("\"{line}\"");
    }
    let length = format!("…\" ({})", count(text.chars().count() as u64, "character"));
    let kept = columns.saturating_sub(length.chars().count() + 1);
    format!("\"{}{length}", line.chars().take(kept).collect::<String>().trim_end())
}

/// Text in one line, safe for a terminal.
fn one_line(text: &str) -> String {
    printable(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Text that ends with `…` where it is longer.
fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    text.chars().take(columns.saturating_sub(1)).collect::<String>().trim_end().to_owned() + "…"
}

fn label_width(label: &str) -> usize {
    label.chars().count().min(LABEL_MAX)
}

/// The columns of a line.
fn columns(width: Option<u16>) -> usize {
    width.map_or(PIPE_WIDTH, usize::from)
}

/// The columns for values beside labels.
fn value_width(labels: usize, width: Option<u16>) -> usize {
    columns(width).saturating_sub(labels + GAPS).max(VALUE_WIDTH_MIN)
}

fn rows(rows: &[(String, String)], width: Option<u16>) -> String {
    let names = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    pairs(rows, names, width)
}

/// `2026-11-22T12:00:00Z (5 min ago)`.
fn time_with_age(history: &TicketHistory, at: Timestamp) -> String {
    format!("{} ({})", format_time(at), age_to_text(history.now.instant() - at.instant()))
}

/// Styles the beginning of a text.
fn emphasize(text: &str, beginning: &str) -> String {
    format!("{HEADING}{beginning}{HEADING:#}{}", text.strip_prefix(beginning).unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::history_example::{
        ExampleStore, NOW, at, life_with_custom_fields, normal_life, returned_life, row, unlisted_life,
    };
    use crate::store::RemovalReason;

    /// A text at 80 and 200 columns and in a pipe.
    fn assert_matches_snapshot(name: &str, to_text: impl Fn(Option<u16>) -> String) {
        let mut text = String::new();
        for width in [Some(80), Some(200), None] {
            let formatted = anstream::adapter::strip_str(&to_text(width)).to_string();
            let longest = formatted.lines().map(|line| line.chars().count()).max().unwrap_or(0);
            assert!(width.is_none_or(|width| longest <= usize::from(width)), "{formatted}");
            assert!(!formatted.contains(|it: char| it != '\n' && crate::app::is_hidden(it)), "{formatted:?}");
            let title = width.map_or("In a pipe".to_owned(), |width| format!("{width} columns"));
            text += &format!("=== {title}\n{formatted}\n");
        }
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path("../../../tests/golden/history");
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(name, text));
    }

    fn assert_history_matches_snapshot(name: &str, example: &ExampleStore) {
        let history = example.history(NOW);
        assert_matches_snapshot(name, |width| history_to_text(&history, width));
    }

    #[test]
    fn history_of_a_normal_life() {
        assert_history_matches_snapshot("normal", &normal_life());
    }

    #[test]
    fn history_of_a_deleted_ticket() {
        let mut example = ExampleStore::new();
        example.list(true, "2026-11-20T08:10:03.000Z", &row());
        example.remove("2026-11-21T03:00:00.000Z", RemovalReason::Deleted, None);
        assert_history_matches_snapshot("deleted", &example);
    }

    #[test]
    fn history_of_a_merged_ticket() {
        let mut example = ExampleStore::new();
        example.list(true, "2026-11-20T08:10:03.000Z", &row());
        example.remove("2026-11-21T03:00:00.000Z", RemovalReason::Merged, Some(815));
        assert_history_matches_snapshot("merged", &example);
    }

    #[test]
    fn history_of_an_unlisted_ticket_with_pending_fetches_and_rejects() {
        assert_history_matches_snapshot("unlisted", &unlisted_life());
    }

    #[test]
    fn history_of_a_ticket_that_returned_was_repaired_and_went_back() {
        assert_history_matches_snapshot("returned", &returned_life());
    }

    #[test]
    fn history_of_a_ticket_with_custom_fields() {
        assert_history_matches_snapshot("custom_fields", &life_with_custom_fields());
    }

    #[test]
    fn row_of_a_ticket_at_a_time() {
        let row = life_with_custom_fields().row_at(at("2026-11-20T09:01:00.000Z")).unwrap();
        assert_matches_snapshot("row_at", |width| row_at_to_text(&row, width));
    }

    #[test]
    fn text_of_tickets_is_one_line_and_says_how_long_it_is_where_it_is_cut() {
        for (text, columns, expected) in [
            ("short", 24, "\"short\""),
            ("of\ntwo\tlines", 24, "\"of two lines\""),
            ("\u{1b}[31mred\u{202e}", 24, "\"\u{FFFD}[31mred\u{FFFD}\""),
            ("", 24, "\"\""),
            (
                "a text that is longer than there are columns",
                40,
                "\"a text that is longer…\" (44 characters)",
            ),
        ] {
            assert_eq!(quoted(text, columns), expected);
        }
    }
}
