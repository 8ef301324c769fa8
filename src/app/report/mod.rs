//! What a report on the service desk and on the copy itself says. Takes no lock and reads no secret.

mod headline;
mod labels;
mod service_desk;
mod ticket_counter;

pub use headline::{FigureUnit, Headline};
pub use service_desk::{AGE_NAMES, AgentLoad, GroupRow, OldTicket, ServiceDeskFigures, StatusTime, WeekRow};

use chrono::TimeDelta;

use super::{AppError, LoadedConfig, StatusReport, inspected_status, now};
use crate::store::{PeriodRuns, Store};
use crate::ticket::Timestamp;
use labels::LabelOptions;
use ticket_counter::TicketCounter;

/// What a report is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportOptions {
    /// How many days it looks back.
    pub days: u32,
    /// Whether names of agents, and summaries, which may name people, are left out.
    pub without_people: bool,
}

/// A report on the service desk and on the copy itself.
#[derive(Debug)]
pub struct Report {
    /// The service desk.
    pub service_desk: ServiceDeskFigures,
    /// The copy.
    pub copy: StatusReport,
    /// When the copy began, by the local clock.
    pub copy_began: Option<Timestamp>,
    /// What the runs of the period did, as far as they are recorded.
    pub runs: PeriodRuns,
}

/// Makes a report.
///
/// # Errors
/// If there is no database, or it cannot be read.
pub fn report(loaded: &LoadedConfig, options: ReportOptions) -> Result<Report, AppError> {
    let copy = inspected_status(loaded, None)?;
    let store = Store::open_read_only(&loaded.config.store.path, loaded.config.store.busy_timeout)?;
    let now = now();
    let (service_desk, copy_began, runs) = store.read(|tx| {
        let mut counter = TicketCounter::new(now, options.days);
        tx.for_each_report_ticket(|ticket| counter.add(ticket))?;
        let names = tx.report_names()?;
        let since = Timestamp::new(now.instant() - TimeDelta::days(i64::from(options.days))).unwrap_or(now);
        let stays = tx.status_stays(since)?;
        let summaries = tx.ticket_summaries(&counter.oldest_ids())?;
        let labels = LabelOptions { names: &names, without_people: options.without_people };
        let service_desk = ServiceDeskFigures::new(&counter, labels, stays, &summaries);
        Ok::<_, AppError>((service_desk, tx.copy_began_at()?, tx.period_runs(since)?))
    })?;
    Ok(Report { service_desk, copy, copy_began, runs })
}
