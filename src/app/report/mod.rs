//! What a report on the service desk and on the copy itself says. Takes no lock and reads no secret.

mod desk;
mod figures;

pub use desk::{
    AGE_NAMES, AgentLoad, DeskReport, FigureUnit, GroupRow, Headline, OldTicket, StatusTime, WeekRow,
};

use chrono::TimeDelta;

use super::{AppError, LoadedConfig, StatusReport, inspected_status, now};
use crate::store::{PeriodRuns, Store};
use crate::ticket::Timestamp;
use desk::LabelOptions;
use figures::DeskFigures;

/// What a report is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportOptions {
    /// How many days it looks back, today included.
    pub days: u32,
    /// Whether names of agents, and summaries, which may name people, are left out.
    pub without_people: bool,
}

/// A report on the service desk and on the copy itself.
#[derive(Debug)]
pub struct Report {
    /// The service desk.
    pub desk: DeskReport,
    /// The copy.
    pub copy: StatusReport,
    /// When the copy began, by the local clock.
    pub copy_began: Option<Timestamp>,
    /// What the runs of the period did.
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
    let (desk, copy_began, runs) = store.read(|tx| {
        let mut figures = DeskFigures::new(now, options.days);
        tx.for_each_desk_ticket(|ticket| figures.add(ticket))?;
        let names = tx.desk_names()?;
        let since = Timestamp::new(now.instant() - TimeDelta::days(i64::from(options.days))).unwrap_or(now);
        let stays = tx.status_stays(since)?;
        let summaries = tx.desk_summaries(&figures.oldest_ids())?;
        let labels = LabelOptions { names: &names, without_people: options.without_people };
        let desk = DeskReport::new(&figures, labels, stays, &summaries);
        Ok::<_, AppError>((desk, tx.copy_began_at()?, tx.period_runs(since)?))
    })?;
    Ok(Report { desk, copy, copy_began, runs })
}
