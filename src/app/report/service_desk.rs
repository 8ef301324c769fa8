//! The figures of a service desk with names; pure.

use std::collections::{BTreeMap, HashMap};

use chrono::{Datelike as _, NaiveDate, TimeDelta};

use super::headline::{Headline, headlines};
use super::labels::{LabelOptions, NOT_KNOWN};
use super::ticket_counter::{Ages, GroupCounts, OldestTicket, TicketCounter, median};
use crate::store::{StatusStays, TicketSummary};
use crate::ticket::Timestamp;

/// The names of the ages that open tickets are counted by.
pub const AGE_NAMES: [&str; 5] = ["under a day", "under a week", "under 30 days", "under 90 days", "older"];

/// So many groups are shown; the others are one.
const GROUPS_MAX: usize = 15;

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
pub struct ServiceDeskFigures {
    /// When it was made, by the local clock.
    pub now: Timestamp,
    /// How many days the period has; it ends now.
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

impl ServiceDeskFigures {
    pub(super) fn new(
        counter: &TicketCounter,
        labels: LabelOptions<'_>,
        stays: Vec<StatusStays>,
        summaries: &BTreeMap<i64, TicketSummary>,
    ) -> ServiceDeskFigures {
        let closed_known = !counter.has_no_closing_times();
        let oldest = counter.oldest();
        let teams = counter.numbered_teams.iter().map(|(id, counts)| (labels.team(*id), *counts));
        let teams = teams.chain(counter.teams.iter().map(|(name, counts)| (name.clone(), *counts)));
        let teams = loads(teams.collect(), |load| (load.overdue, load.open()));
        let agents = counter.agents.iter().map(|(id, counts)| (labels.agent(*id), *counts));
        let agents = loads(agents.collect(), |load| (load.open(), load.overdue));
        let types = counter.types.iter().map(|(id, counts)| (labels.ticket_type(*id), *counts));
        let text = |groups: &HashMap<String, GroupCounts>| {
            let named = groups.iter().map(|(name, counts)| {
                (if name.is_empty() { NOT_KNOWN.to_owned() } else { name.clone() }, *counts)
            });
            group_rows(named.collect(), closed_known)
        };
        ServiceDeskFigures {
            now: counter.now,
            days: counter.days,
            began_at: counter.began_at(),
            tickets: counter.tickets,
            without_creation: counter.without_creation,
            open: counter.open.open,
            closed: counter.closed,
            closed_without_date: counter.closed_without_date,
            headlines: headlines(counter),
            // It would be nothing but the age of what is open now.
            backlog: if closed_known { backlog(counter) } else { Vec::new() },
            weeks: weeks(counter, closed_known),
            ages: ages(counter, labels),
            teams,
            agents,
            statuses: status_times(stays),
            types: group_rows(types.collect(), closed_known),
            categories: text(&counter.categories),
            clients: text(&counter.clients),
            hours: counter.hours,
            oldest: oldest
                .into_iter()
                .map(|ticket| old_ticket(ticket, counter.now, labels, summaries))
                .collect(),
        }
    }
}

/// Open tickets at the end of each day.
fn backlog(counter: &TicketCounter) -> Vec<(NaiveDate, i64)> {
    let mut open = counter.backlog_before();
    let days = counter.by_day.iter().enumerate().map(|(index, counts)| {
        open += counts.balance();
        (counter.date(index), open)
    });
    days.collect()
}

/// The weeks that begin in the period.
fn weeks(counter: &TicketCounter, closed_known: bool) -> Vec<WeekRow> {
    let mut weeks: Vec<WeekRow> = Vec::new();
    for (index, counts) in counter.by_day.iter().enumerate() {
        let date = counter.date(index);
        let monday = date - TimeDelta::days(date.weekday().num_days_from_monday().into());
        if monday < counter.date(0) {
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

fn ages(counter: &TicketCounter, labels: LabelOptions<'_>) -> Vec<(String, Ages)> {
    let mut by_name: BTreeMap<String, (i64, Ages)> = BTreeMap::new();
    for (priority, ages) in &counter.ages {
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
    summaries: &BTreeMap<i64, TicketSummary>,
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
