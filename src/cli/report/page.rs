//! The page: the service desk, and the copy itself. Pure: value in, HTML out.
//!
//! Texts of tickets and of the server are escaped by the template. Beside that the page allows one script and one style, by
//! their hashes, and no request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use indicatif::HumanCount;
use maud::{Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

use super::MARK;
use super::chart::{bars, columns, figure, heat, line};
use super::data_table::{DataTable, figure_to_text};
use crate::app::{
    AGE_NAMES, AgentLoad, FigureUnit, GroupRow, Headline, OldTicket, PeriodRuns, Report, ServiceDeskFigures,
    StatusTime, count,
};
use crate::cli::status;
use crate::cli::{format_time, printable};
use crate::ticket::Timestamp;

const STYLE: &str = include_str!("report.css");
const SCRIPT: &str = include_str!("report.js");

const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

const HOURS: [&str; 24] = [
    "00", "01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12", "13", "14", "15", "16",
    "17", "18", "19", "20", "21", "22", "23",
];

/// What an empty figure says.
const NONE: &str = "None.";

/// So many teams and agents have a bar; the table has all.
const LOADS_MAX: usize = 20;

/// The whole page.
pub(super) fn page(report: &Report) -> String {
    let server = report.copy.health.watermark.as_ref().map_or("no server yet", |it| it.scope.server.as_str());
    let (figures, title) = (&report.service_desk, format!("Service desk: {}", printable(server)));
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
                a class="skip" href="#service-desk" { "Skip to the figures" }
                header {
                    h1 { (title) }
                    p {
                        "The " (HumanCount(figures.days.into())) " days from " (format_time(figures.began_at)) " to " (format_time(figures.now)) ". All times are UTC, and \
                         hours are elapsed hours, nights and weekends included. Deleted tickets are not counted."
                    }
                    (state(report))
                }
                main {
                    section id="service-desk" aria-labelledby="service-desk-heading" {
                        h2 id="service-desk-heading" { "The service desk" }
                        (headlines(figures))
                        h2 { "Flow" }
                        div class="grid" { (flow(figures)) }
                        h2 { "Open tickets" }
                        div class="grid" { (open(figures)) }
                        (oldest(figures))
                        h2 { "What tickets are about" }
                        div class="grid" { (about(figures)) }
                    }
                    section id="copy" aria-labelledby="copy-heading" {
                        h2 id="copy-heading" { "The copy itself" }
                        (copy(report))
                    }
                }
                footer { p { "Made by halosync " (env!("CARGO_PKG_VERSION")) " from its copy of the server, at " (format_time(figures.now)) "." } }
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
                p class="state attention" { strong { "Attention:" } (printable(&reason.to_string())) "." }
            }
        }
    }
}

fn headlines(figures: &ServiceDeskFigures) -> Markup {
    html! {
        ul class="cards" {
            @for headline in &figures.headlines {
                li {
                    (headline.label)
                    span class="value" { (headline.value.map_or("not known".into(), |it| figure_to_text(headline.unit, it))) }
                    @if let Some(change) = change(headline, figures.days) { span class="note" { (change) } }
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
        (",", format!("{} days ago", HumanCount(days.into())))
    } else {
        ("", format!("in the {} days before", HumanCount(days.into())))
    };
    let percent = if before == 0.0 { None } else { Some((value / before - 1.0) * 100.0) };
    Some(match percent {
        Some(percent) if percent.abs() < 0.5 => format!("about the same as {when} ({then})"),
        Some(percent) if percent < 0.0 => format!("▼ {:.0}% from {then}{comma} {when}", -percent),
        Some(percent) => format!("▲ {percent:.0}% from {then}{comma} {when}"),
        None => format!("{then}{comma} {when}"),
    })
}

/// A sentence about tickets that a figure leaves out, behind a space; empty where it leaves out none.
fn left_out(count: u64, one: &str, many: &str) -> String {
    match count {
        0 => String::new(),
        1 => format!(" One ticket {one}."),
        _ => format!(" {} tickets {many}.", HumanCount(count)),
    }
}

fn without_creation(figures: &ServiceDeskFigures) -> String {
    left_out(
        figures.without_creation,
        "has no usable creation date and is not counted",
        "have no usable creation date and are not counted",
    )
}

fn flow(figures: &ServiceDeskFigures) -> Markup {
    let undated = without_creation(figures);
    let unclosed = left_out(
        figures.closed_without_date,
        "was closed at a time that the copy does not know and is not in this chart",
        "were closed at times that the copy does not know and are not in this chart",
    );
    #[expect(clippy::cast_precision_loss)]
    let backlog = figures.backlog.iter().map(|(day, open)| (day.to_string(), vec![Some(*open as f64)]));
    let backlog = DataTable::new("Day", vec![("Open at end of day", FigureUnit::Tickets)], backlog);
    let weeks = figures.weeks.iter().map(|week| (week.monday.to_string(), [Some(week.opened), week.closed]));
    let weeks = DataTable::of_counts("Week from", ["Opened", "Closed"], weeks);
    let hours = WEEKDAYS.iter().zip(figures.hours).map(|(day, hours)| ((*day).to_owned(), hours));
    let hours = DataTable::of_counts("Weekday", HOURS, hours);
    let note = format!(
        "Computed from the dates of the tickets, also for days before the copy began. A reopened ticket counts as open \
         throughout.{undated}{unclosed}"
    );
    let by_week = format!("Whole weeks from Monday to Sunday; the last one is not over.{undated}{unclosed}");
    let most = figures.hours.iter().flatten().max().copied().unwrap_or(0);
    let by_hour = format!(
        "Tickets opened, by weekday and hour in UTC. The stronger the color, the more, up to {} in an hour of the week.{undated}",
        HumanCount(most)
    );
    html! {
        (figure("Backlog", &note, &backlog, &[], &line(&backlog), "Not known: the copy has no closing times."))
        (figure("Opened and closed per week", &by_week, &weeks, &weeks.column_names(), &columns(&weeks), "No whole week yet."))
        (figure("Busiest hours", &by_hour, &hours, &[], &heat(&hours), NONE))
        (time_in_status(figures))
    }
}

fn time_in_status(figures: &ServiceDeskFigures) -> Markup {
    use FigureUnit::{Hours, Tickets};
    #[expect(clippy::cast_precision_loss)]
    let row = |it: &StatusTime| {
        let counts = [it.known, it.unknown, it.lasting].map(|count| Some(count as f64));
        (it.status.clone(), [vec![it.median_hours, it.longest_hours], counts.to_vec()].concat())
    };
    let columns = vec![
        ("Median", Hours),
        ("Longest", Hours),
        ("Stays of known length", Tickets),
        ("Of unknown length", Tickets),
        ("Still lasting", Tickets),
    ];
    let table = DataTable::new("Status", columns, figures.statuses.iter().map(row));
    let note = "The median of the stays that ended in the period. Only those whose beginning halosync has seen have a length; what had \
                begun before the copy did is not known. Closed statuses are left out.";
    figure("Time in status", note, &table, &[], &bars(&table.with_columns(&[0])), "Not known yet.")
}

fn loads(subject: &'static str, loads: &[AgentLoad]) -> (DataTable, Markup) {
    const COLUMNS: [&str; 4] = ["Not yet due", "On hold", "Overdue", "No due date"];
    let row = |load: &AgentLoad| {
        (load.name.clone(), [load.not_yet_due, load.on_hold, load.overdue, load.without_due])
    };
    let table = DataTable::of_counts(subject, COLUMNS, loads.iter().map(row));
    let drawn = bars(&table.first_rows(LOADS_MAX));
    (table, drawn)
}

fn open(figures: &ServiceDeskFigures) -> Markup {
    let ages = DataTable::of_counts("Priority", AGE_NAMES, figures.ages.iter().cloned());
    let (teams, team_bars) = loads("Team", &figures.teams);
    let (agents, agent_bars) = loads("Agent", &figures.agents);
    let cut = |all: usize| {
        if LOADS_MAX < all { format!(" The first {LOADS_MAX} of {all}.") } else { String::new() }
    };
    let by_team = format!(
        "All open tickets, the teams with most overdue ones first. Overdue is what is past its due date, neither on hold nor excluded \
         from SLAs.{}",
        cut(figures.teams.len())
    );
    let by_agent = format!("All open tickets, unassigned ones included.{}", cut(figures.agents.len()));
    let age = format!("Open tickets since they were created.{}", without_creation(figures));
    html! {
        div class="ordered" { (figure("Age by priority", &age, &ages, &AGE_NAMES, &bars(&ages), NONE)) }
        (figure("Overdue and open by team", &by_team, &teams, &teams.column_names(), &team_bars, NONE))
        (figure("Load per agent", &by_agent, &agents, &agents.column_names(), &agent_bars, NONE))
    }
}

fn about(figures: &ServiceDeskFigures) -> Markup {
    let groups = |title, subject, rows: &[GroupRow]| {
        let rows = rows.iter().map(|row| (row.name.clone(), [Some(row.opened), row.closed, Some(row.open)]));
        let columns = ["Opened in the period", "Closed in the period", "Open now"];
        let table = DataTable::of_counts(subject, columns, rows);
        let note = "Opened in the period; the table also has closed and open ones.";
        figure(title, note, &table, &[], &bars(&table.with_columns(&[0])), NONE)
    };
    html! {
        (groups("By type", "Type", &figures.types))
        (groups("By category", "Category", &figures.categories))
        (groups("By client", "Client", &figures.clients))
    }
}

fn oldest(figures: &ServiceDeskFigures) -> Markup {
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
            @if figures.oldest.is_empty() { p class="empty" { (if figures.open == 0 { "No ticket is open." } else { "No open ticket has a usable creation date." }) } } @else {
                label class="filter" hidden { "Filter rows " input class="filter" type="search" data-table="oldest"; }
                div class="scroll" tabindex="0" role="region" aria-label="The oldest open tickets" {
                    table id="oldest" {
                        thead { tr {
                            @for name in ["Ticket", "Summary", "Status", "Priority", "Team", "Agent"] { th scope="col" { (name) } }
                            th scope="col" class="number" { "Age" }
                        } }
                        tbody { @for ticket in &figures.oldest { (row(ticket)) } }
                    }
                }
            }
        }
    }
}

/// What the runs of the period did, as pairs of a name and a value.
fn runs(report: &Report) -> Vec<(String, String)> {
    let fact = |name: &str, value: String| (name.to_owned(), value);
    let PeriodRuns { known_since, complete, incomplete, failed, requests, list_requests, retries, scans } =
        &report.runs;
    let scans: Vec<_> = scans
        .iter()
        .map(|((kind, outcome), scans)| {
            format!("{} {kind}, {}", HumanCount(*scans), outcome.replace('_', " "))
        })
        .collect();
    let is_cut = |since: &Timestamp| {
        report.service_desk.began_at < *since && report.copy_began.is_none_or(|began| began < *since)
    };
    let mut facts = match known_since.filter(is_cut) {
        Some(since) => {
            vec![fact("Recorded since", format!("{}; nothing is known of runs before", format_time(since)))]
        }
        None => Vec::new(),
    };
    facts.extend([
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
    ]);
    facts
}

fn copy(report: &Report) -> Markup {
    html! {
        @if let Some(began) = report.copy_began {
            p class="note" {
                "The copy began at " (format_time(began)) ". Changes before that are not known; dates that the tickets themselves carry are."
            }
        }
        div class="grid" {
            @for (heading, facts) in [("In the period", runs(report))].into_iter().chain(status::blocks(&report.copy)) {
                @if !facts.is_empty() {
                    div class="block" {
                        h3 { (heading) }
                        dl { @for (name, value) in facts { dt { (printable(&name)) } dd { (printable(&value)) } } }
                    }
                }
            }
        }
    }
}
