//! The page: the service desk, and the copy itself. Pure: value in, HTML out.
//!
//! Texts of tickets and of the server are escaped by the template. Beside that the page allows one script and one style, by
//! their hashes, and no request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::NaiveDate;
use indicatif::HumanCount;
use maud::{Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

use super::MARK;
use super::chart::{bars, columns, figure, heat, line};
use super::data_table::{DataTable, figure_to_text};
use crate::app::{
    AGE_NAMES, AgentLoad, DeskReport, FigureUnit, GroupRow, Headline, OldTicket, PeriodRuns, Report,
    StatusTime, count,
};
use crate::cli::status;
use crate::cli::{format_time, printable};

const STYLE: &str = include_str!("report.css");
const SCRIPT: &str = include_str!("report.js");

const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

const HOURS: [&str; 24] = [
    "00", "01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12", "13", "14", "15", "16",
    "17", "18", "19", "20", "21", "22", "23",
];

/// So many teams and agents have a bar; the table has all.
const LOADS_MAX: usize = 20;

/// The whole page.
pub(super) fn page(report: &Report) -> String {
    let server = report.copy.health.watermark.as_ref().map_or("no server yet", |it| it.scope.server.as_str());
    let (desk, title) = (&report.desk, format!("Service desk: {}", printable(server)));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        hash(STYLE),
        hash(SCRIPT)
    );
    let markup = html! {
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="referrer" content="no-referrer";
                meta name="robots" content="noindex";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a class="skip" href="#desk" { "Skip to the figures" }
                header {
                    h1 { (title) }
                    p {
                        "The " (desk.days) " days from " (desk.first_day) " to " (format_time(desk.now)) ". All times are UTC, and hours are \
                         hours of the clock, nights and weekends included. Deleted tickets are in no figure."
                    }
                    (state(report))
                }
                main {
                    section id="desk" aria-labelledby="desk-heading" {
                        h2 id="desk-heading" { "The service desk" }
                        (headlines(desk))
                        h2 { "Flow" }
                        div class="grid" { (flow(desk)) }
                        h2 { "Open tickets" }
                        div class="grid" { (open(desk)) }
                        (oldest(desk))
                        h2 { "What tickets are about" }
                        div class="grid" { (about(desk)) }
                    }
                    section id="copy" aria-labelledby="copy-heading" {
                        h2 id="copy-heading" { "The copy itself" }
                        (copy(report))
                    }
                }
                footer { p { "Made by halosync " (env!("CARGO_PKG_VERSION")) " from its copy of the server, at " (format_time(desk.now)) "." } }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    format!("{MARK}\n{}\n", markup.into_string())
}

fn hash(text: &str) -> String {
    STANDARD.encode(Sha256::digest(text))
}

/// Whether the copy may be relied on, before any figure.
fn state(report: &Report) -> Markup {
    let reasons = report.copy.assess(None).reasons;
    html! {
        @if reasons.is_empty() {
            p class="state" {
                strong { "Complete." }
                @if let Some(until) = report.copy.health.watermark.as_ref().and_then(|it| it.covered_until) {
                    "Every ticket that was updated before " (format_time(until)) " (the server's clock) is in these figures."
                }
            }
        } @else {
            @for reason in &reasons {
                p class="state attention" { strong { "Attention." } (printable(&reason.to_string())) "." }
            }
        }
    }
}

fn headlines(desk: &DeskReport) -> Markup {
    html! {
        ul class="cards" {
            @for headline in &desk.headlines {
                li {
                    (headline.label)
                    span class="value" { (headline.value.map_or("not known".into(), |it| figure_to_text(headline.unit, it))) }
                    @if let Some(change) = change(headline, desk.days) { span class="note" { (change) } }
                    @if let Some(note) = &headline.note { p class="note" { (note) } }
                }
            }
        }
    }
}

/// How a figure compares with the period before.
fn change(headline: &Headline, days: u32) -> Option<String> {
    let (value, before) = (headline.value?, headline.before?);
    let then = figure_to_text(headline.unit, before);
    let (comma, when) = if headline.is_level {
        (",", format!("{days} days ago"))
    } else {
        ("", format!("in the {days} days before"))
    };
    let percent = if before == 0.0 { None } else { Some((value / before - 1.0) * 100.0) };
    Some(match percent {
        Some(percent) if percent.abs() < 0.5 => format!("as {when} ({then})"),
        Some(percent) if percent < 0.0 => format!("▼ {:.0} % from {then}{comma} {when}", -percent),
        Some(percent) => format!("▲ {percent:.0} % from {then}{comma} {when}"),
        None => format!("{then}{comma} {when}"),
    })
}

fn short_date(date: NaiveDate) -> String {
    date.format("%b %-d").to_string()
}

fn flow(desk: &DeskReport) -> Markup {
    let undated = match desk.closed_without_date {
        0 => String::new(),
        undated => format!(
            " {} closed at a time that the server does not say: they are on no day.",
            if undated == 1 {
                "One ticket was".into()
            } else {
                format!("{} tickets were", HumanCount(undated))
            }
        ),
    };
    #[expect(clippy::cast_precision_loss)]
    let backlog = DataTable {
        subject: "Day",
        columns: vec!["Open at its end"],
        rows: desk.backlog.iter().map(|(day, open)| (short_date(*day), vec![Some(*open as f64)])).collect(),
        unit: FigureUnit::Tickets,
    };
    let weeks = desk.weeks.iter().map(|week| (short_date(week.monday), [week.opened, week.closed]));
    let weeks = DataTable::of_counts("Week from", ["Opened", "Closed"], weeks);
    let hours = WEEKDAYS.iter().zip(desk.hours).map(|(day, hours)| ((*day).to_owned(), hours));
    let hours = DataTable::of_counts("Weekday", HOURS, hours);
    let note = format!("By the dates of the tickets, so that it is right before the copy began.{undated}");
    html! {
        (figure("Backlog", &note, &backlog, &[], &line(&backlog)))
        (figure("Opened and closed per week", "From Monday to Sunday; the last week is not over.", &weeks, &weeks.columns, &columns(&weeks)))
        (figure("Busiest hours", "Tickets opened, by weekday and hour in UTC.", &hours, &[], &heat(&hours)))
        (time_in_status(desk))
    }
}

fn time_in_status(desk: &DeskReport) -> Markup {
    let row = |it: &StatusTime| (it.status.clone(), vec![it.median_hours]);
    let medians = DataTable {
        subject: "Status",
        columns: vec!["Median"],
        rows: desk.statuses.iter().filter(|it| 0 < it.known).map(row).collect(),
        unit: FigureUnit::Hours,
    };
    let unknown: u64 = desk.statuses.iter().map(|it| it.unknown).sum();
    let known: u64 = desk.statuses.iter().map(|it| it.known).sum();
    let note = format!(
        "Only stays whose beginning halosync has seen have a length: {} of {}. What had begun before the copy did is not known.",
        HumanCount(known),
        HumanCount(known + unknown)
    );
    figure("Time in status", &note, &medians, &[], &bars(&medians))
}

fn loads(subject: &'static str, loads: &[AgentLoad]) -> (DataTable, Markup) {
    const COLUMNS: [&str; 3] = ["In time", "On hold", "Overdue"];
    let row = |load: &AgentLoad| (load.name.clone(), [load.in_time, load.on_hold, load.overdue]);
    let shown = DataTable::of_counts(subject, COLUMNS, loads.iter().take(LOADS_MAX).map(row));
    (DataTable::of_counts(subject, COLUMNS, loads.iter().map(row)), bars(&shown))
}

fn open(desk: &DeskReport) -> Markup {
    let ages = DataTable::of_counts("Priority", AGE_NAMES, desk.ages.iter().cloned());
    let (teams, team_bars) = loads("Team", &desk.teams);
    let (agents, agent_bars) = loads("Agent", &desk.agents);
    let cut = |all: usize| {
        if LOADS_MAX < all { format!(" The first {LOADS_MAX} of {all}.") } else { String::new() }
    };
    let by_team = format!(
        "Past the date by which they must be fixed, neither on hold nor without service level, the most first.{}",
        cut(desk.teams.len())
    );
    let by_agent = format!("All open tickets that are assigned.{}", cut(desk.agents.len()));
    html! {
        (figure("Age by priority", "Since they were created.", &ages, &AGE_NAMES, &bars(&ages)))
        (figure("Overdue by team", &by_team, &teams, &teams.columns, &team_bars))
        (figure("Load per agent", &by_agent, &agents, &agents.columns, &agent_bars))
    }
}

fn about(desk: &DeskReport) -> Markup {
    let groups = |title, subject, rows: &[GroupRow]| {
        let rows = rows.iter().map(|row| (row.name.clone(), [row.opened, row.closed, row.open]));
        let table =
            DataTable::of_counts(subject, ["Opened in the period", "Closed in the period", "Open now"], rows);
        let opened = table.rows.iter().map(|(name, figures)| (name.clone(), figures[..1].to_vec()));
        let drawn =
            DataTable { subject, columns: vec!["Opened"], rows: opened.collect(), unit: FigureUnit::Tickets };
        figure(
            title,
            "Opened in the period; the table also has closed and open ones.",
            &table,
            &[],
            &bars(&drawn),
        )
    };
    html! {
        (groups("By type", "Type", &desk.types))
        (groups("By category", "Category", &desk.categories))
        (groups("By client", "Client", &desk.clients))
    }
}

fn oldest(desk: &DeskReport) -> Markup {
    let row = |ticket: &OldTicket| {
        html! {
            tr {
                th scope="row" { (ticket.id) }
                td { (printable(ticket.summary.as_deref().unwrap_or("–"))) }
                td { (printable(ticket.status.as_deref().unwrap_or("–"))) }
                td { (printable(&ticket.priority)) }
                td { (printable(&ticket.team)) }
                td { (printable(&ticket.agent)) }
                td class="number" { (count(ticket.age_days.unsigned_abs(), "day")) @if ticket.is_overdue { " " span class="late" { "overdue" } } }
            }
        }
    };
    html! {
        h2 { "The oldest open tickets" }
        div class="block" {
            @if desk.oldest.is_empty() { p class="empty" { "No ticket is open." } } @else {
                label class="filter" hidden { "Only rows with " input class="filter" type="search" data-table="oldest"; }
                div class="scroll" tabindex="0" role="region" aria-label="The oldest open tickets" {
                    table id="oldest" {
                        thead { tr {
                            @for name in ["Ticket", "Summary", "Status", "Priority", "Team", "Agent"] { th scope="col" { (name) } }
                            th scope="col" class="number" { "Age" }
                        } }
                        tbody { @for ticket in &desk.oldest { (row(ticket)) } }
                    }
                }
            }
        }
    }
}

/// What the runs of the period did, as pairs of a name and a value.
fn runs(totals: &PeriodRuns) -> Vec<(String, String)> {
    let fact = |name: &str, value: String| (name.to_owned(), value);
    let PeriodRuns { complete, incomplete, failed, requests, list_requests, retries, scans } = totals;
    let scans: Vec<_> = scans
        .iter()
        .map(|((kind, outcome), scans)| {
            format!("{} {kind}, {}", HumanCount(*scans), outcome.replace('_', " "))
        })
        .collect();
    vec![
        fact(
            "Runs",
            format!(
                "{} complete, {} incomplete, {} failed",
                HumanCount(*complete),
                HumanCount(*incomplete),
                HumanCount(*failed)
            ),
        ),
        fact("Scans", if scans.is_empty() { "none".into() } else { scans.join("; ") }),
        fact(
            "Requests",
            format!(
                "{}: {} for the list, {} repeated",
                HumanCount(*requests),
                HumanCount(*list_requests),
                HumanCount(*retries)
            ),
        ),
    ]
}

fn copy(report: &Report) -> Markup {
    html! {
        @if let Some(began) = report.copy_began {
            p class="note" {
                "The copy began at " (format_time(began)) ". Changes before that are not known; dates that the tickets themselves carry are."
            }
        }
        div class="grid" {
            @for (heading, facts) in [("In the period", runs(&report.runs))].into_iter().chain(status::blocks(&report.copy)) {
                @if !facts.is_empty() {
                    div class="block" {
                        h3 { (heading) }
                        dl { @for (name, value) in facts { dt { (name) } dd { (value) } } }
                    }
                }
            }
        }
    }
}
