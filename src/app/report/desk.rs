//! The figures of a service desk with names; pure.

use std::collections::{BTreeMap, HashMap};

use chrono::{Datelike as _, NaiveDate, TimeDelta};
use indicatif::HumanCount;

use super::figures::{Ages, DeskFigures, GroupCounts, OldestTicket, Period, median};
use crate::store::{DeskNames, DeskSummary, StatusStays};
use crate::ticket::Timestamp;

/// The names of the ages that open tickets are counted by.
pub const AGE_NAMES: [&str; 5] = ["under a day", "under a week", "under 30 days", "under 90 days", "older"];

/// Stands for a name where the ticket has none: the copy cannot tell nobody from what is held back.
const NOT_KNOWN: &str = "(not known)";

/// So many groups are shown; the others are one.
const GROUPS_MAX: usize = 15;

/// What a figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FigureUnit {
    /// Tickets.
    Tickets,
    /// Hours of the clock.
    Hours,
}

/// A figure, and the same of the period before.
#[derive(Clone, Debug, PartialEq)]
pub struct Headline {
    /// What it is.
    pub label: &'static str,
    /// Its unit.
    pub unit: FigureUnit,
    /// Its value; `None` where the copy cannot know it.
    pub value: Option<f64>,
    /// Its value in the period before, or when that ended; `None` as above.
    pub before: Option<f64>,
    /// Whether it counts what is there at a time, and not what happened in the period.
    pub is_level: bool,
    /// What must be known to read it.
    pub note: Option<String>,
}

/// A week, from Monday on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeekRow {
    /// Its Monday.
    pub monday: NaiveDate,
    /// Tickets opened.
    pub opened: u64,
    /// Tickets closed; `None` where the copy has no closing times.
    pub closed: Option<u64>,
}

/// Tickets of a type, category or client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRow {
    /// Its name.
    pub name: String,
    /// Open tickets.
    pub open: u64,
    /// Opened in the period.
    pub opened: u64,
    /// Closed in the period; `None` where the copy has no closing times.
    pub closed: Option<u64>,
}

/// Open tickets of an agent or a team.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentLoad {
    /// Name of the agent or team.
    pub name: String,
    /// Open tickets whose due date is still to come.
    pub not_yet_due: u64,
    /// Open tickets on hold.
    pub on_hold: u64,
    /// Overdue tickets.
    pub overdue: u64,
    /// Open tickets without a due date, or excluded from service levels.
    pub without_due: u64,
}

impl AgentLoad {
    /// All open tickets.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.not_yet_due + self.on_hold + self.overdue + self.without_due
    }
}

/// How long tickets had a status.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusTime {
    /// The status.
    pub status: String,
    /// Stays of a length that is known.
    pub known: u64,
    /// Their median, in hours.
    pub median_hours: Option<f64>,
    /// The longest, in hours.
    pub longest_hours: Option<f64>,
    /// Stays that have ended, of a length that is not known.
    pub unknown: u64,
    /// Stays that last.
    pub lasting: u64,
}

/// One of the oldest open tickets.
#[derive(Clone, Debug, PartialEq)]
pub struct OldTicket {
    /// Its number.
    pub id: i64,
    /// Its summary; `None` where it is left out, or there is none.
    pub summary: Option<String>,
    /// Its status.
    pub status: Option<String>,
    /// Its team.
    pub team: String,
    /// Its agent.
    pub agent: String,
    /// Its priority.
    pub priority: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// Its age in days.
    pub age_days: i64,
    /// Whether it is overdue.
    pub is_overdue: bool,
}

/// The figures of a service desk.
#[derive(Clone, Debug, PartialEq)]
pub struct DeskReport {
    /// When it was made, by the local clock.
    pub now: Timestamp,
    /// How many days the period has, today included.
    pub days: u32,
    /// When the period began.
    pub began_at: Timestamp,
    /// Tickets in the copy.
    pub tickets: u64,
    /// Those without a usable date of creation, which no figure by date has.
    pub without_creation: u64,
    /// Open tickets.
    pub open: u64,
    /// Closed tickets.
    pub closed: u64,
    /// Those without a usable closing time.
    pub closed_without_date: u64,
    /// The headline figures.
    pub headlines: Vec<Headline>,
    /// Open tickets at the end of each day of the period.
    pub backlog: Vec<(NaiveDate, i64)>,
    /// The weeks of the period.
    pub weeks: Vec<WeekRow>,
    /// Open tickets by priority and age, in the order of [`AGE_NAMES`].
    pub ages: Vec<(String, [u64; 5])>,
    /// Open tickets by team, the most overdue first.
    pub teams: Vec<AgentLoad>,
    /// Open tickets by agent, the most first.
    pub agents: Vec<AgentLoad>,
    /// How long tickets had each status.
    pub statuses: Vec<StatusTime>,
    /// Tickets by type.
    pub types: Vec<GroupRow>,
    /// Tickets by the first level of their category.
    pub categories: Vec<GroupRow>,
    /// Tickets by client.
    pub clients: Vec<GroupRow>,
    /// Tickets opened in the period, by weekday from Monday on, and hour in UTC.
    pub hours: [[u64; 24]; 7],
    /// The oldest open tickets.
    pub oldest: Vec<OldTicket>,
}

/// How numbers become names.
#[derive(Clone, Copy)]
pub(super) struct LabelOptions<'a> {
    pub(super) names: &'a DeskNames,
    pub(super) without_people: bool,
}

impl LabelOptions<'_> {
    fn agent(self, id: Option<i64>) -> String {
        match id {
            None => return NOT_KNOWN.into(),
            Some(1) => return "(unassigned)".into(),
            Some(_) => {}
        }
        let id = id.unwrap_or_default();
        let Some(name) = self.names.agents.get(&id).filter(|_| !self.without_people) else {
            return format!("agent {id}");
        };
        let namesakes = self.names.agents.values().filter(|it| *it == name).count();
        if 1 < namesakes { format!("{name} ({id})") } else { name.clone() }
    }

    fn team(self, id: Option<i64>) -> String {
        let id = id.filter(|id| *id != 0);
        id.map_or_else(|| NOT_KNOWN.into(), |id| named(&self.names.teams, id, "team"))
    }

    fn ticket_type(self, id: Option<i64>) -> String {
        id.map_or_else(|| NOT_KNOWN.into(), |id| named(&self.names.types, id, "type"))
    }

    /// As `ticket_overview` names it: by the service level agreement; without one, by the name that all of them give the number.
    fn priority(self, (sla, priority): (Option<i64>, Option<i64>)) -> String {
        let Some(priority) = priority else { return NOT_KNOWN.into() };
        let all = &self.names.priorities;
        let name = if let Some(sla) = sla {
            all.get(&(sla, priority))
        } else {
            let mut names = all.iter().filter(|((_, it), _)| *it == priority).map(|(_, name)| name);
            let first = names.next();
            first.filter(|first| names.all(|name| name == *first))
        };
        name.map_or_else(|| format!("priority {priority}"), Clone::clone)
    }
}

fn named(names: &BTreeMap<i64, String>, id: i64, what: &str) -> String {
    names.get(&id).map_or_else(|| format!("{what} {id}"), Clone::clone)
}

impl DeskReport {
    pub(super) fn new(
        figures: &DeskFigures,
        labels: LabelOptions<'_>,
        stays: Vec<StatusStays>,
        summaries: &BTreeMap<i64, DeskSummary>,
    ) -> DeskReport {
        let closed_known = !has_no_closing_times(figures);
        let oldest = figures.oldest();
        let teams = figures.numbered_teams.iter().map(|(id, counts)| (labels.team(*id), *counts));
        let teams = teams.chain(figures.teams.iter().map(|(name, counts)| (name.clone(), *counts)));
        let teams = loads(teams.collect::<Vec<_>>(), |load| (load.overdue, load.open()));
        let agents = figures.agents.iter().map(|(id, counts)| (labels.agent(*id), *counts));
        let agents = loads(agents.collect::<Vec<_>>(), |load| (load.open(), load.overdue));
        let types = figures.types.iter().map(|(id, counts)| (labels.ticket_type(*id), *counts));
        let text = |groups: &HashMap<String, GroupCounts>| {
            let named = groups.iter().map(|(name, counts)| {
                (if name.is_empty() { NOT_KNOWN.to_owned() } else { name.clone() }, *counts)
            });
            group_rows(named.collect(), closed_known)
        };
        DeskReport {
            now: figures.now,
            days: figures.days,
            began_at: figures.began_at(),
            tickets: figures.tickets,
            without_creation: figures.without_creation,
            open: figures.open.open,
            closed: figures.closed,
            closed_without_date: figures.closed_without_date,
            headlines: headlines(figures),
            // It would be nothing but the age of what is open now.
            backlog: if has_no_closing_times(figures) { Vec::new() } else { backlog(figures) },
            weeks: weeks(figures),
            ages: ages(figures, labels),
            teams,
            agents,
            statuses: status_times(stays),
            types: group_rows(types.collect(), closed_known),
            categories: text(&figures.categories),
            clients: text(&figures.clients),
            hours: figures.hours,
            oldest: oldest
                .into_iter()
                .map(|ticket| old_ticket(ticket, figures.now, labels, summaries))
                .collect(),
        }
    }
}

/// Whether there are closed tickets, and none has a closing time.
fn has_no_closing_times(figures: &DeskFigures) -> bool {
    0 < figures.closed && figures.closed == figures.closed_without_date
}

/// Open tickets at the end of each day.
fn backlog(figures: &DeskFigures) -> Vec<(NaiveDate, i64)> {
    let mut open = figures.backlog_before();
    let days = figures.by_day.iter().enumerate().map(|(index, counts)| {
        open += counts.balance();
        (figures.date(index), open)
    });
    days.collect()
}

#[expect(clippy::cast_precision_loss)]
fn headlines(figures: &DeskFigures) -> Vec<Headline> {
    let of_period =
        |counts: [u64; 2]| (Some(counts[Period::Present as usize]), Some(counts[Period::Before as usize]));
    let tickets = |label, (value, before): (Option<u64>, Option<u64>), note| Headline {
        label,
        unit: FigureUnit::Tickets,
        value: value.map(|it| it as f64),
        before: before.map(|it| it as f64),
        is_level: false,
        note,
    };
    let undated = figures.without_creation;
    let unclosed = figures.closed_without_date;
    let no_closing_times = has_no_closing_times(figures);
    // A comparison would be one of what is known, and not of what happened.
    let comparable = undated == 0 && unclosed == 0;
    let open = figures.open.open;
    let opened_before = open + figures.closed_in[Period::Present as usize];
    let open_before =
        opened_before.checked_sub(figures.opened[Period::Present as usize]).filter(|_| comparable);
    let (opened, opened_earlier) = of_period(figures.opened);
    let dated = undated < figures.tickets || figures.tickets == 0;
    let (closed, closed_earlier) = of_period(figures.closed_in);
    let count_note = |count: u64, one: &str, many: &str| match count {
        0 => None,
        1 => Some(format!("one {one}")),
        _ => Some(format!("{} {many}", HumanCount(count))),
    };
    let closed_note = if no_closing_times {
        Some("the copy has no closing times".into())
    } else {
        count_note(unclosed, "more has no closing time", "more have no closing time")
    };
    let no_due = 0 < open && figures.open_without_fix_by == open;
    let overdue_note = if no_due {
        "the copy has no due dates".into()
    } else {
        count_note(
            figures.open_without_fix_by,
            "open ticket has no due date",
            "open tickets have no due date",
        )
        .unwrap_or_else(|| "now; what was overdue earlier is not known".into())
    };
    let median_of = |label, values: &[Vec<f32>; 2], is_unknown: bool, unknown: &str, none: &str, of: &str| {
        let value = median(&values[Period::Present as usize]);
        let note = match value {
            Some(_) => of,
            None if is_unknown => unknown,
            None => none,
        };
        Headline {
            label,
            unit: FigureUnit::Hours,
            value,
            before: median(&values[Period::Before as usize]).filter(|_| comparable),
            is_level: false,
            note: Some(note.into()),
        }
    };
    vec![
        Headline { is_level: true, ..tickets("Open", (Some(open), open_before), None) },
        tickets(
            "Opened",
            (opened.filter(|_| dated), opened_earlier.filter(|_| dated)),
            count_note(undated, "ticket has no creation date", "tickets have no creation date"),
        ),
        tickets(
            "Closed",
            (closed.filter(|_| !no_closing_times), closed_earlier.filter(|_| unclosed == 0)),
            closed_note,
        ),
        tickets("Overdue", (Some(figures.open.overdue).filter(|_| !no_due), None), Some(overdue_note)),
        median_of(
            "Median time to close",
            &figures.closing_hours,
            no_closing_times,
            "the copy has no closing times",
            "no ticket was closed in the period",
            "of tickets closed in the period",
        ),
        median_of(
            "Median first response",
            &figures.response_hours,
            figures.responded == 0,
            "the copy has no times of first responses",
            "no ticket was first responded to in the period",
            "of tickets first responded to in the period",
        ),
    ]
}

/// The weeks that begin in the period.
fn weeks(figures: &DeskFigures) -> Vec<WeekRow> {
    let mut weeks: Vec<WeekRow> = Vec::new();
    let closed_known = !has_no_closing_times(figures);
    for (index, counts) in figures.by_day.iter().enumerate() {
        let date = figures.date(index);
        let monday = date - TimeDelta::days(date.weekday().num_days_from_monday().into());
        if monday < figures.date(0) {
            continue;
        }
        if weeks.last().is_none_or(|week| week.monday != monday) {
            weeks.push(WeekRow { monday, opened: 0, closed: closed_known.then_some(0) });
        }
        if let Some(week) = weeks.last_mut() {
            week.opened += counts.opened;
            week.closed = week.closed.map(|closed| closed + counts.closed);
        }
    }
    weeks
}

fn ages(figures: &DeskFigures, labels: LabelOptions<'_>) -> Vec<(String, Ages)> {
    let mut by_name: BTreeMap<String, (i64, Ages)> = BTreeMap::new();
    for (priority, ages) in &figures.ages {
        let (number, sum) = by_name.entry(labels.priority(*priority)).or_insert((i64::MAX, Ages::default()));
        *number = (*number).min(priority.1.unwrap_or(i64::MAX));
        sum.iter_mut().zip(ages).for_each(|(sum, age)| *sum += age);
    }
    // The number tells how urgent it is; names do not sort so.
    let mut rows: Vec<_> = by_name.into_iter().map(|(name, (number, ages))| (number, name, ages)).collect();
    rows.sort();
    rows.into_iter().map(|(_, name, ages)| (name, ages)).collect()
}

fn loads<K: Ord>(groups: Vec<(String, GroupCounts)>, order: impl Fn(&AgentLoad) -> K) -> Vec<AgentLoad> {
    let mut rows: Vec<_> = merged(groups)
        .into_iter()
        .filter(|(_, counts)| 0 < counts.open)
        .map(|(name, counts)| AgentLoad {
            name,
            not_yet_due: counts.open - counts.on_hold - counts.overdue - counts.without_due,
            on_hold: counts.on_hold,
            overdue: counts.overdue,
            without_due: counts.without_due,
        })
        .collect();
    rows.sort_by(|a, b| order(b).cmp(&order(a)).then_with(|| a.name.cmp(&b.name)));
    rows
}

/// Groups of the same name as one.
fn merged(groups: Vec<(String, GroupCounts)>) -> BTreeMap<String, GroupCounts> {
    let mut by_name: BTreeMap<String, GroupCounts> = BTreeMap::new();
    for (name, counts) in groups {
        by_name.entry(name).or_default().add(counts);
    }
    by_name
}

/// The groups with most open and opened tickets, and all others as one.
fn group_rows(groups: Vec<(String, GroupCounts)>, closed_known: bool) -> Vec<GroupRow> {
    let row = |(name, counts): (String, GroupCounts)| GroupRow {
        name,
        open: counts.open,
        opened: counts.opened,
        closed: closed_known.then_some(counts.closed),
    };
    let mut rows: Vec<_> = merged(groups).into_iter().map(row).collect();
    rows.sort_by(|a, b| (b.opened, b.open).cmp(&(a.opened, a.open)).then_with(|| a.name.cmp(&b.name)));
    if GROUPS_MAX < rows.len() {
        let others = rows.split_off(GROUPS_MAX - 1);
        let closed = others.iter().map(|other| other.closed).sum();
        let mut sum = GroupRow { name: format!("({} others)", others.len()), open: 0, opened: 0, closed };
        for other in others {
            sum.open += other.open;
            sum.opened += other.opened;
        }
        rows.push(sum);
    }
    rows
}

fn status_times(stays: Vec<StatusStays>) -> Vec<StatusTime> {
    let mut rows: Vec<_> = stays
        .into_iter()
        .map(|stays| {
            #[expect(clippy::cast_possible_truncation)]
            let hours: Vec<f32> = stays.hours.iter().map(|hours| *hours as f32).collect();
            StatusTime {
                status: stays.status,
                known: hours.len() as u64,
                median_hours: median(&hours),
                longest_hours: stays.hours.into_iter().reduce(f64::max),
                unknown: stays.unknown,
                lasting: stays.lasting,
            }
        })
        .collect();
    rows.sort_by(|a, b| {
        b.median_hours
            .unwrap_or(-1.0)
            .total_cmp(&a.median_hours.unwrap_or(-1.0))
            .then_with(|| a.status.cmp(&b.status))
    });
    rows
}

fn old_ticket(
    ticket: OldestTicket,
    now: Timestamp,
    labels: LabelOptions<'_>,
    summaries: &BTreeMap<i64, DeskSummary>,
) -> OldTicket {
    let summary = summaries.get(&ticket.id);
    let team = ticket.team.unwrap_or_else(|| labels.team(ticket.team_id));
    OldTicket {
        id: ticket.id,
        summary: summary.and_then(|it| it.name.clone()).filter(|_| !labels.without_people),
        status: summary.and_then(|it| it.status.clone()),
        team,
        agent: labels.agent(ticket.agent_id),
        priority: labels.priority(ticket.priority),
        created_at: ticket.created_at,
        age_days: (now.instant() - ticket.created_at.instant()).num_days(),
        is_overdue: ticket.is_overdue,
    }
}
