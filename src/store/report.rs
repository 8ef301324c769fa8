//! What a report needs of every ticket, in one reading.

use std::collections::BTreeMap;

use rusqlite::Row;
use rusqlite::types::ValueRef;

use super::tx::parse_optional_timestamp;
use super::{ReadTx, StoreError};
use crate::ticket::Timestamp;

/// What a report needs of a ticket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportTicket<'r> {
    /// Its number.
    pub id: i64,
    /// When it was created.
    pub created_at: Option<Timestamp>,
    /// Whether its status counts as closed, as in `ticket_overview`.
    pub is_closed: bool,
    /// When it was closed, if the server says.
    pub closed_at: Option<Timestamp>,
    /// When somebody first responded, if the server says.
    pub responded_at: Option<Timestamp>,
    /// When it must be fixed.
    pub fix_by: Option<Timestamp>,
    /// Whether its service-level clock stands still.
    pub is_on_hold: bool,
    /// Whether no service level applies to it.
    pub is_excluded_from_sla: bool,
    /// Who works on it; 1 is nobody.
    pub agent_id: Option<i64>,
    /// The name of its team.
    pub team: Option<&'r str>,
    /// The number of its team.
    pub team_id: Option<i64>,
    /// The number of its priority, of its service level agreement.
    pub priority_id: Option<i64>,
    /// The number of its service level agreement.
    pub sla_id: Option<i64>,
    /// The number of its type.
    pub type_id: Option<i64>,
    /// The path of its category.
    pub category: Option<&'r str>,
    /// The name of its client.
    pub client: Option<&'r str>,
}

/// Names for the numbers in [`ReportTicket`].
#[derive(Clone, Debug, Default)]
pub struct ReportNames {
    /// Of agents.
    pub agents: BTreeMap<i64, String>,
    /// Of teams.
    pub teams: BTreeMap<i64, String>,
    /// Of ticket types.
    pub types: BTreeMap<i64, String>,
    /// Of priorities, by the number of the service level agreement and their own.
    pub priorities: BTreeMap<(i64, i64), String>,
}

/// How long tickets had a status that does not count as closed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StatusStays {
    /// The status.
    pub status: String,
    /// The lengths that are known of stays that have ended, in hours.
    pub hours: Vec<f64>,
    /// How many stays that have ended have a length that is not known.
    pub unknown: u64,
    /// How many last.
    pub lasting: u64,
}

/// What the runs of a period did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeriodRuns {
    /// When the first run that is still recorded and has ended started, by the local clock: older ones are not kept.
    pub known_since: Option<Timestamp>,
    /// Runs that were complete.
    pub complete: u64,
    /// Runs that were not complete, or are still running.
    pub incomplete: u64,
    /// Runs that failed.
    pub failed: u64,
    /// HTTP requests.
    pub requests: u64,
    /// Those of them for pages of the ticket list.
    pub list_requests: u64,
    /// Requests that were repeated.
    pub retries: u64,
    /// Scans by kind and outcome.
    pub scans: BTreeMap<(String, String), u64>,
}

/// What a ticket is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TicketSummary {
    /// Its summary.
    pub name: Option<String>,
    /// The name of its status.
    pub status: Option<String>,
}

impl ReadTx<'_> {
    /// Reads every ticket.
    pub fn for_each_report_ticket(&self, mut each: impl FnMut(&ReportTicket<'_>)) -> Result<(), StoreError> {
        // `ticket_overview` looks names up for each row; here they are looked up once.
        let sql = "SELECT t.UID, t.SOURCE_CREATED_DATE,
                 COALESCE(t.STATUS_ID IN (
                     SELECT ID FROM statuses WHERE CLOSED = 1
                     UNION ALL
                     SELECT 9 WHERE NOT EXISTS (SELECT 1 FROM statuses WHERE ID = 9 AND CLOSED IS NOT NULL)
                 ), 0),
                 x.CLOSED_AT, x.RESPONDED_AT, t.FIX_BY_DATE, t.ON_HOLD, t.EXCLUDE_FROM_SLA, t.AGENT_ID, t.TEAM, t.TEAM_ID,
                 t.PRIORITY_ID, t.SLA_ID, t.TICKET_TYPE_ID, t.CATEGORY_1, t.CLIENT_NAME
             FROM tickets t LEFT JOIN ticket_extra x ON x.UID = t.UID";
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            each(&read_ticket(row)?);
        }
        Ok(())
    }

    /// Reads the names.
    pub fn report_names(&self) -> Result<ReportNames, StoreError> {
        let names = |table: &str| -> Result<BTreeMap<i64, String>, StoreError> {
            let sql = format!("SELECT ID, NAME FROM {table} WHERE NAME IS NOT NULL");
            let mut statement = self.connection.prepare(&sql)?;
            let names = statement.query_map([], |row| Ok((row.get(0)?, lossy(row.get_ref(1)?))))?;
            let names: Vec<(i64, Option<String>)> = names.collect::<Result<_, _>>()?;
            Ok(names.into_iter().filter_map(|(id, name)| Some((id, name?))).collect())
        };
        let sql = "SELECT SLA_ID, PRIORITY_ID, NAME FROM priorities WHERE NAME IS NOT NULL";
        let mut statement = self.connection.prepare(sql)?;
        let priorities = statement.query_map([], |row| {
            Ok(((row.get(0)?, row.get(1)?), lossy(row.get_ref(2)?).unwrap_or_default()))
        })?;
        Ok(ReportNames {
            agents: names("agents")?,
            teams: names("teams")?,
            types: names("ticket_types")?,
            priorities: priorities.collect::<Result<_, _>>()?,
        })
    }

    /// When the copy began, by the local clock.
    pub fn copy_began_at(&self) -> Result<Option<Timestamp>, StoreError> {
        let began = self.connection.query_row("SELECT MIN(since) FROM lineage", [], |row| row.get(0))?;
        parse_optional_timestamp(began)
    }

    /// What the runs since a time did.
    pub fn period_runs(&self, since: Timestamp) -> Result<PeriodRuns, StoreError> {
        let since = since.to_string();
        let sql = "SELECT COUNT(*) FILTER (WHERE outcome = 'complete'),
                 COUNT(*) FILTER (WHERE COALESCE(outcome, 'incomplete') = 'incomplete'),
                 COUNT(*) FILTER (WHERE outcome = 'failed'),
                 COALESCE(SUM(requests), 0), COALESCE(SUM(list_requests), 0), COALESCE(SUM(retries), 0)
             FROM runs WHERE kind = 'sync' AND ?1 <= started_at";
        let count = |row: &Row<'_>, index| row.get::<_, i64>(index).map(i64::cast_unsigned);
        // One that was killed is never pruned.
        let first = self.connection.query_row(
            "SELECT MIN(started_at) FROM runs WHERE ended_at IS NOT NULL",
            [],
            |row| row.get(0),
        )?;
        let known_since = parse_optional_timestamp(first)?;
        let totals = self.connection.query_row(sql, [&since], |row| {
            Ok(PeriodRuns {
                known_since,
                complete: count(row, 0)?,
                incomplete: count(row, 1)?,
                failed: count(row, 2)?,
                requests: count(row, 3)?,
                list_requests: count(row, 4)?,
                retries: count(row, 5)?,
                scans: BTreeMap::new(),
            })
        })?;
        let sql = "SELECT kind, COALESCE(outcome, 'not ended'), COUNT(*) FROM scans WHERE ?1 <= started_at GROUP BY 1, 2";
        let mut statement = self.connection.prepare(sql)?;
        let scans = statement.query_map([&since], |row| Ok(((row.get(0)?, row.get(1)?), count(row, 2)?)))?;
        Ok(PeriodRuns { scans: scans.collect::<Result<_, _>>()?, ..totals })
    }

    /// How long tickets had each status that does not count as closed: the stays that ended at a time or later, or last.
    pub fn status_stays(&self, since: Timestamp) -> Result<Vec<StatusStays>, StoreError> {
        let sql = "SELECT STATUS, hours, until IS NULL AND end_reason IS NULL FROM status_intervals
             WHERE CLOSED = 0 AND (until IS NULL OR ?1 <= until) ORDER BY STATUS";
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query([since.to_string()])?;
        let mut stays: Vec<StatusStays> = Vec::new();
        while let Some(row) = rows.next()? {
            let status = lossy(row.get_ref(0)?).unwrap_or_default();
            if stays.last().is_none_or(|last| last.status != status) {
                stays.push(StatusStays { status, ..StatusStays::default() });
            }
            let Some(last) = stays.last_mut() else { continue };
            match (row.get(2)?, row.get::<_, Option<f64>>(1)?) {
                (true, _) => last.lasting += 1,
                (false, Some(hours)) => last.hours.push(hours),
                (false, None) => last.unknown += 1,
            }
        }
        Ok(stays)
    }

    /// Reads what some tickets are about.
    pub fn ticket_summaries(&self, ids: &[i64]) -> Result<BTreeMap<i64, TicketSummary>, StoreError> {
        let mut statement = self.connection.prepare("SELECT NAME, STATUS FROM tickets WHERE UID = ?1")?;
        let mut summaries = BTreeMap::new();
        for id in ids {
            let summary = statement.query_row([id], |row| {
                Ok(TicketSummary { name: lossy(row.get_ref(0)?), status: lossy(row.get_ref(1)?) })
            })?;
            summaries.insert(*id, summary);
        }
        Ok(summaries)
    }
}

/// A text that another program may have stored, with replacement characters in place of what is not UTF-8.
fn lossy(value: ValueRef<'_>) -> Option<String> {
    match value {
        ValueRef::Text(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    }
}

fn read_ticket<'r>(row: &'r Row<'_>) -> Result<ReportTicket<'r>, StoreError> {
    // Another program may have stored anything; a report leaves it out.
    let text = |index| -> Result<Option<&'r str>, StoreError> {
        Ok(match row.get_ref(index)? {
            ValueRef::Text(bytes) => std::str::from_utf8(bytes).ok().filter(|text| !text.trim().is_empty()),
            _ => None,
        })
    };
    let time = |index| text(index).map(|text| text.and_then(|text| text.parse::<Timestamp>().ok()));
    let is_set =
        |index| -> Result<bool, StoreError> { Ok(matches!(row.get_ref(index)?, ValueRef::Integer(1))) };
    let number = |index| -> Result<Option<i64>, StoreError> {
        Ok(match row.get_ref(index)? {
            ValueRef::Integer(number) => Some(number),
            _ => None,
        })
    };
    Ok(ReportTicket {
        id: row.get(0)?,
        created_at: time(1)?,
        is_closed: is_set(2)?,
        closed_at: time(3)?,
        responded_at: time(4)?,
        fix_by: time(5)?,
        is_on_hold: is_set(6)?,
        is_excluded_from_sla: is_set(7)?,
        agent_id: number(8)?,
        team: text(9)?,
        team_id: number(10)?,
        priority_id: number(11)?,
        sla_id: number(12)?,
        type_id: number(13)?,
        category: text(14)?,
        client: text(15)?,
    })
}
