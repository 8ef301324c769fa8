//! Counts tickets one by one; pure.

use std::collections::{BTreeMap, BinaryHeap, HashMap};

use chrono::{Datelike as _, NaiveDate, TimeDelta, Timelike as _};

use crate::store::ReportTicket;
use crate::ticket::Timestamp;

/// How many of the oldest open tickets are named.
const OLDEST: usize = 20;

/// The ages that open tickets are counted by, in hours: each is below its limit, and the last has none.
pub(super) const AGE_LIMITS: [f64; 4] = [24.0, 24.0 * 7.0, 24.0 * 30.0, 24.0 * 90.0];

/// Tickets by age.
pub(super) type Ages = [u64; AGE_LIMITS.len() + 1];

/// What is counted of each day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DayCounts {
    pub(super) opened: u64,
    pub(super) closed: u64,
    /// Opened on that day, and closed at a time that nobody knows.
    pub(super) closed_sometime: u64,
}

/// What is counted of each team, agent, type, category or client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct GroupCounts {
    pub(super) open: u64,
    pub(super) on_hold: u64,
    pub(super) overdue: u64,
    /// Open, not on hold, and without a date by which it must be fixed, or excluded from service levels.
    pub(super) without_due: u64,
    /// Opened in the period.
    pub(super) opened: u64,
    /// Closed in the period.
    pub(super) closed: u64,
}

/// The period of a report, or the one of the same length before it; what is counted by period is in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Period {
    Before = 0,
    Present = 1,
}

/// Counts tickets.
#[derive(Debug)]
pub(super) struct TicketCounter {
    pub(super) now: Timestamp,
    /// Days of the period.
    pub(super) days: u32,
    /// The first day of `by_day`, counted from the beginning of the calendar.
    start: i64,
    /// Days before `start`.
    pub(super) earlier: DayCounts,
    /// As many days as the period has, the last of which is today.
    pub(super) by_day: Vec<DayCounts>,
    /// Tickets opened, by period.
    pub(super) opened: [u64; 2],
    /// Tickets closed, by period.
    pub(super) closed_in: [u64; 2],
    pub(super) tickets: u64,
    /// Tickets without a date of creation, or with one in the future.
    pub(super) without_creation: u64,
    /// Open tickets that nobody says by when they must be fixed.
    pub(super) open_without_fix_by: u64,
    pub(super) open: GroupCounts,
    pub(super) closed: u64,
    pub(super) closed_without_date: u64,
    pub(super) responded: u64,
    /// Hours from creation to closing, by the period of closing.
    pub(super) closing_hours: [Vec<f32>; 2],
    /// Hours from creation to the first response, by the period of that.
    pub(super) response_hours: [Vec<f32>; 2],
    /// Of open tickets, by service level agreement and priority.
    pub(super) ages: BTreeMap<(Option<i64>, Option<i64>), Ages>,
    pub(super) teams: HashMap<String, GroupCounts>,
    /// Those whose name does not stand in the ticket.
    pub(super) numbered_teams: HashMap<Option<i64>, GroupCounts>,
    pub(super) agents: HashMap<Option<i64>, GroupCounts>,
    pub(super) types: HashMap<Option<i64>, GroupCounts>,
    pub(super) categories: HashMap<String, GroupCounts>,
    pub(super) clients: HashMap<String, GroupCounts>,
    /// Tickets opened in the period, by weekday from Monday on, and hour.
    pub(super) hours: [[u64; 24]; 7],
    oldest: BinaryHeap<OldestTicket>,
}

/// An open ticket; the youngest is the greatest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OldestTicket {
    pub(super) created_at: Timestamp,
    pub(super) id: i64,
    pub(super) agent_id: Option<i64>,
    pub(super) team: Option<String>,
    pub(super) team_id: Option<i64>,
    pub(super) priority: (Option<i64>, Option<i64>),
    pub(super) is_overdue: bool,
}

impl TicketCounter {
    pub(super) fn new(now: Timestamp, days: u32) -> TicketCounter {
        TicketCounter {
            now,
            days,
            start: day_of(now) + 1 - i64::from(days),
            earlier: DayCounts::default(),
            by_day: vec![DayCounts::default(); days as usize],
            opened: [0; 2],
            closed_in: [0; 2],
            tickets: 0,
            without_creation: 0,
            open_without_fix_by: 0,
            open: GroupCounts::default(),
            closed: 0,
            closed_without_date: 0,
            responded: 0,
            closing_hours: Default::default(),
            response_hours: Default::default(),
            ages: BTreeMap::new(),
            teams: HashMap::new(),
            numbered_teams: HashMap::new(),
            agents: HashMap::new(),
            types: HashMap::new(),
            categories: HashMap::new(),
            clients: HashMap::new(),
            hours: [[0; 24]; 7],
            oldest: BinaryHeap::new(),
        }
    }

    /// When the period began.
    pub(super) fn began_at(&self) -> Timestamp {
        Timestamp::new(self.now.instant() - TimeDelta::days(self.days.into())).unwrap_or(self.now)
    }

    /// The date of a place in `by_day`.
    pub(super) fn date(&self, index: usize) -> NaiveDate {
        let day = i32::try_from(self.start + index.cast_signed() as i64).unwrap_or_default();
        NaiveDate::from_num_days_from_ce_opt(day).unwrap_or_default()
    }

    /// The period that a time is in. Both are equally long, to the second.
    fn period(&self, at: Timestamp) -> Option<Period> {
        let age = self.now.instant() - at.instant();
        let span = TimeDelta::days(self.days.into());
        if age < TimeDelta::zero() || span * 2 <= age {
            return None;
        }
        Some(if age < span { Period::Present } else { Period::Before })
    }

    fn counts_of(&mut self, day: i64) -> Option<&mut DayCounts> {
        match usize::try_from(day - self.start) {
            Ok(index) => self.by_day.get_mut(index),
            Err(_) => Some(&mut self.earlier),
        }
    }

    pub(super) fn add(&mut self, ticket: &ReportTicket<'_>) {
        self.tickets += 1;
        self.responded += u64::from(ticket.responded_at.is_some());
        // A date in the future is a mistake somewhere; nothing is counted by it.
        let past = |at: &Timestamp| *at <= self.now;
        let created_at = ticket.created_at.filter(past);
        let closed_at = ticket.closed_at.filter(past).filter(|_| ticket.is_closed);
        // A ticket closed before it was opened, by its dates, was never open.
        let effective_closing = closed_at.map(|at| created_at.map_or(at, |created| created.max(at)));
        let ticket = &ReportTicket { created_at, closed_at: effective_closing, ..*ticket };
        let opened_in = created_at.and_then(|at| self.period(at));
        let closed_in = effective_closing.and_then(|at| self.period(at));
        if let Some(period) = opened_in {
            self.opened[period as usize] += 1;
        }
        if let Some(period) = closed_in {
            self.closed_in[period as usize] += 1;
        }
        self.add_days(ticket);
        if let Some(created_at) = created_at {
            if let (Some(period), Some(at)) = (closed_in, closed_at.filter(|at| created_at <= *at)) {
                self.closing_hours[period as usize].push(hours_between(created_at, at));
            }
            let responded_at = ticket.responded_at.filter(|at| created_at <= *at);
            if let Some((at, period)) = responded_at.and_then(|at| Some((at, self.period(at)?))) {
                self.response_hours[period as usize].push(hours_between(created_at, at));
            }
            if opened_in == Some(Period::Present) {
                let at = created_at.instant();
                let weekday = at.weekday().num_days_from_monday() as usize;
                self.hours[weekday][at.hour() as usize] += 1;
            }
        }
        let is_open = !ticket.is_closed;
        let has_due = ticket.fix_by.is_some() && !ticket.is_excluded_from_sla;
        let is_running = is_open && !ticket.is_on_hold;
        let is_overdue = is_running && has_due && ticket.fix_by.is_some_and(|at| at < self.now);
        let counts = GroupCounts {
            open: is_open.into(),
            on_hold: (is_open && ticket.is_on_hold).into(),
            overdue: is_overdue.into(),
            without_due: (is_running && !has_due).into(),
            opened: (opened_in == Some(Period::Present)).into(),
            closed: (closed_in == Some(Period::Present)).into(),
        };
        self.add_to_groups(ticket, counts);
        if is_open {
            self.open.add(counts);
            self.open_without_fix_by += u64::from(ticket.fix_by.is_none() && !ticket.is_excluded_from_sla);
            self.add_age(ticket);
            self.add_to_oldest(ticket, is_overdue);
        } else {
            self.closed += 1;
            self.closed_without_date += u64::from(effective_closing.is_none());
        }
    }

    fn add_days(&mut self, ticket: &ReportTicket<'_>) {
        let Some(created_at) = ticket.created_at else {
            self.without_creation += 1;
            return;
        };
        let is_closed_sometime = ticket.is_closed && ticket.closed_at.is_none();
        if let Some(counts) = self.counts_of(day_of(created_at)) {
            counts.opened += 1;
            counts.closed_sometime += u64::from(is_closed_sometime);
        }
        if let Some(counts) = ticket.closed_at.and_then(|at| self.counts_of(day_of(at))) {
            counts.closed += 1;
        }
    }

    fn add_to_groups(&mut self, ticket: &ReportTicket<'_>, counts: GroupCounts) {
        if counts == GroupCounts::default() {
            return;
        }
        match ticket.team {
            Some(team) => add_named(&mut self.teams, team, counts),
            None => self.numbered_teams.entry(ticket.team_id).or_default().add(counts),
        }
        self.agents.entry(ticket.agent_id).or_default().add(counts);
        self.types.entry(ticket.type_id).or_default().add(counts);
        let category = ticket.category.map_or("", |path| path.split('>').next().unwrap_or("").trim());
        add_named(&mut self.categories, category, counts);
        add_named(&mut self.clients, ticket.client.unwrap_or_default(), counts);
    }

    fn add_age(&mut self, ticket: &ReportTicket<'_>) {
        let Some(created_at) = ticket.created_at else { return };
        let hours = f64::from(hours_between(created_at, self.now));
        let age = AGE_LIMITS.iter().position(|limit| hours < *limit).unwrap_or(AGE_LIMITS.len());
        self.ages.entry((ticket.sla_id.filter(|id| *id != 0), ticket.priority_id)).or_default()[age] += 1;
    }

    fn add_to_oldest(&mut self, ticket: &ReportTicket<'_>, is_overdue: bool) {
        let Some(created_at) = ticket.created_at else { return };
        let is_old = self.oldest.len() < OLDEST
            || self
                .oldest
                .peek()
                .is_some_and(|youngest| (created_at, ticket.id) < (youngest.created_at, youngest.id));
        if is_old {
            self.oldest.push(OldestTicket {
                created_at,
                id: ticket.id,
                agent_id: ticket.agent_id,
                team: ticket.team.map(ToOwned::to_owned),
                team_id: ticket.team_id,
                priority: (ticket.sla_id.filter(|id| *id != 0), ticket.priority_id),
                is_overdue,
            });
            if OLDEST < self.oldest.len() {
                self.oldest.pop();
            }
        }
    }

    /// The oldest open tickets, the oldest first.
    pub(super) fn oldest(&self) -> Vec<OldestTicket> {
        let mut oldest: Vec<_> = self.oldest.iter().cloned().collect();
        oldest.sort();
        oldest
    }

    /// Their numbers.
    pub(super) fn oldest_ids(&self) -> Vec<i64> {
        self.oldest().into_iter().map(|ticket| ticket.id).collect()
    }

    /// Whether there are closed tickets, and none has a closing time.
    pub(super) fn has_no_closing_times(&self) -> bool {
        0 < self.closed && self.closed == self.closed_without_date
    }

    /// How many tickets were open at the end of the day before the first one of `by_day`, as far as that is known.
    pub(super) fn backlog_before(&self) -> i64 {
        self.earlier.balance()
    }
}

impl DayCounts {
    /// By how much the day changed the number of open tickets.
    pub(super) fn balance(self) -> i64 {
        self.opened.cast_signed() - self.closed.cast_signed() - self.closed_sometime.cast_signed()
    }
}

impl GroupCounts {
    pub(super) fn add(&mut self, other: GroupCounts) {
        self.open += other.open;
        self.on_hold += other.on_hold;
        self.overdue += other.overdue;
        self.without_due += other.without_due;
        self.opened += other.opened;
        self.closed += other.closed;
    }
}

fn add_named(groups: &mut HashMap<String, GroupCounts>, name: &str, counts: GroupCounts) {
    match groups.get_mut(name) {
        Some(group) => group.add(counts),
        None => drop(groups.insert(name.to_owned(), counts)),
    }
}

/// The day of a time in UTC, counted from the beginning of the calendar.
fn day_of(at: Timestamp) -> i64 {
    at.instant().date_naive().num_days_from_ce().into()
}

/// Hours from one time to another; 0 where the second is before the first.
#[expect(clippy::cast_precision_loss)]
fn hours_between(from: Timestamp, to: Timestamp) -> f32 {
    (to.instant() - from.instant()).num_seconds().max(0) as f32 / 3_600.0
}

/// The middle of values, or the mean of the two in the middle; `None` of none.
pub(super) fn median(values: &[f32]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_unstable_by(f32::total_cmp);
    let middle = values.len() / 2;
    let upper = f64::from(*values.get(middle)?);
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    values.get(middle.wrapping_sub(1)).map(|lower| f64::midpoint(f64::from(*lower), upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        format!("{text}:00.000Z").parse().unwrap()
    }

    fn count(tickets: &[ReportTicket<'_>]) -> TicketCounter {
        let mut counter = TicketCounter::new(at("2026-11-20T12:00"), 10);
        for ticket in tickets {
            counter.add(ticket);
        }
        counter
    }

    #[test]
    fn both_periods_are_equally_long_and_days_are_whole() {
        let opened = |created| ReportTicket { created_at: Some(at(created)), ..ReportTicket::default() };
        for (created, periods, earlier, day, dated) in [
            ("2026-10-31T12:00", [0, 0], 1, None, true),
            ("2026-10-31T12:01", [1, 0], 1, None, true),
            ("2026-11-10T12:00", [1, 0], 1, None, true),
            ("2026-11-10T12:01", [0, 1], 1, None, true),
            ("2026-11-11T00:00", [0, 1], 0, Some(0), true),
            ("2026-11-20T12:00", [0, 1], 0, Some(9), true),
            ("2026-11-20T12:01", [0, 0], 0, None, false),
        ] {
            let counter = count(&[opened(created)]);
            assert_eq!((counter.opened, counter.earlier.opened), (periods, earlier), "{created}");
            let found = counter.by_day.iter().position(|it| 0 < it.opened);
            assert_eq!((found, counter.without_creation == 0), (day, dated), "{created}");
        }
    }

    #[test]
    fn backlog_leaves_out_what_was_closed_nobody_knows_when() {
        let ticket = |created, closed: Option<&str>, is_closed| ReportTicket {
            created_at: Some(at(created)),
            closed_at: closed.map(at),
            is_closed,
            ..ReportTicket::default()
        };
        let counter = count(&[
            ticket("2026-10-01T00:00", None, false),
            ticket("2026-10-01T00:00", Some("2026-11-12T00:00"), true),
            ticket("2026-10-01T00:00", None, true),
            // Reopened: the old date of closing means nothing.
            ticket("2026-11-12T00:00", Some("2026-11-13T00:00"), false),
            // Closed before it was opened.
            ticket("2026-11-15T00:00", Some("2026-11-01T00:00"), true),
            // Closed in the future.
            ticket("2026-10-01T00:00", Some("2027-01-01T00:00"), true),
        ]);
        assert_eq!(counter.backlog_before(), 2);
        let balances: Vec<_> = counter.by_day.iter().map(|it| it.balance()).collect();
        assert_eq!(balances.iter().sum::<i64>(), 0);
        // One was opened and one closed on the twelfth.
        assert_eq!(counter.by_day[1], DayCounts { opened: 1, closed: 1, closed_sometime: 0 });
        assert_eq!(counter.by_day[4], DayCounts { opened: 1, closed: 1, closed_sometime: 0 });
        assert_eq!((counter.closed, counter.closed_without_date, counter.open.open), (4, 2, 2));
        assert_eq!(counter.closed_in, [0, 2]);
        assert_eq!(counter.closing_hours[Period::Present as usize].len(), 1);
    }

    #[test]
    fn overdue_are_open_tickets_past_their_date_whose_clock_runs() {
        let late = ReportTicket { fix_by: Some(at("2026-11-20T11:59")), ..ReportTicket::default() };
        for (name, ticket, overdue) in [
            ("late", late, 1),
            ("not yet", ReportTicket { fix_by: Some(at("2026-11-20T12:00")), ..late }, 0),
            ("closed", ReportTicket { is_closed: true, ..late }, 0),
            ("on hold", ReportTicket { is_on_hold: true, ..late }, 0),
            ("without service level", ReportTicket { is_excluded_from_sla: true, ..late }, 0),
            ("no date", ReportTicket { fix_by: None, ..late }, 0),
        ] {
            assert_eq!(count(&[ticket]).open.overdue, overdue, "{name}");
        }
    }

    #[test]
    fn twenty_oldest_open_tickets_are_kept_in_order() {
        let tickets: Vec<_> = (0..60)
            .map(|number| ReportTicket {
                id: number,
                created_at: Some(at(&format!("2026-10-{:02}T00:00", 1 + (number * 7) % 30))),
                is_closed: number % 2 == 1,
                ..ReportTicket::default()
            })
            .collect();
        let mut expected: Vec<_> =
            tickets.iter().filter(|it| !it.is_closed).map(|it| (it.created_at, it.id)).collect();
        expected.sort_unstable();
        let expected: Vec<_> = expected.into_iter().take(OLDEST).map(|(_, id)| id).collect();
        assert_eq!(count(&tickets).oldest_ids(), expected);
    }

    #[test]
    fn median_is_the_middle_or_between_the_two_in_the_middle() {
        for (values, expected) in
            [(&[][..], None), (&[3.0], Some(3.0)), (&[9.0, 1.0], Some(5.0)), (&[9.0, 1.0, 2.0], Some(2.0))]
        {
            assert_eq!(median(values), expected, "{values:?}");
        }
    }
}
