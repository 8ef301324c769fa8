//! One run: scope, reference tables, one scan, its end with the watermark, then the pending custom fields.
//!
//! [`run()`] is the sequence: it brings the database to its scope (`scope_change`), refreshes the reference
//! tables (`reference`), finds out which custom fields there are (`custom_fields`), plans and reads the list (`scan`),
//! asks about tickets that a full scan did not show (`unlisted`), and stores the end of the scan together with the new
//! watermark (`finish`). `probes` finds out how the server behaves where nobody knows.
//!
//! What decides is pure and knows no I/O: [`scan::list`], [`scan::seek`], [`unlisted::decide`],
//! [`custom_fields::source`], and the decisions in [`probes`]. Everything a run needs comes in as a [`RunContext`], time
//! and chance included, so that a test can repeat it.

mod canary;
mod completeness;
mod context;
pub mod custom_fields;
mod date_filter;
mod finish;
mod lateness;
mod lookup;
mod new_fields;
mod next_scan;
mod older_versions;
mod pending_tickets;
mod probe_results;
pub mod probes;
mod reference;
mod reference_pages;
mod report;
mod row_intake;
mod run;
pub mod scan;
mod scope_change;
mod shared_store;
mod token_url;
mod totals;
pub mod unlisted;

pub use completeness::{RunOutcome, held_delete_guard};
pub use context::{Clock, DECISION_TARGET, PhaseProgress, Progress, RunContext, RunPhase, RunSettings};
pub use custom_fields::SAMPLES_MAX;
pub use lateness::{LATENESS_WARNING, lateness_to_text, lateness_warning, overlap_line, seconds_to_text};
pub use new_fields::fields_to_text;
pub use reference::resolve_ticket_types;
pub use report::RunReport;
pub use run::run;
pub use scope_change::check_same_server;
pub use shared_store::SharedStore;

pub use crate::halo::{RequestWait, WaitReason};

use crate::halo::HaloError;
use crate::store::StoreError;

/// Rows per transaction, about: enough that the transaction itself costs little, and few enough that little is
/// requested again after a kill.
pub const BATCH_ROWS: usize = 800;

/// Why a run could not continue.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr, strum::VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum SyncError {
    /// A request failed.
    #[error(transparent)]
    #[strum(serialize = "")]
    Halo(#[from] HaloError),
    /// The database failed.
    #[error(transparent)]
    #[strum(serialize = "")]
    Store(#[from] StoreError),
    /// The database holds the tickets of another server.
    #[error("the database is a copy of {stored}, not of {wanted}")]
    AnotherServer {
        /// The server in the database.
        stored: String,
        /// The server in the settings.
        wanted: String,
    },
    /// A ticket type in the settings does not exist.
    #[error("the server has no ticket type {name:?}")]
    #[strum(serialize = "unknown_ticket_type")]
    UnknownType {
        /// Its name in the settings.
        name: String,
        /// The names that exist.
        known: Vec<String>,
    },
    /// The run was asked to stop.
    #[error("interrupted; the next run continues")]
    #[strum(serialize = "interrupted")]
    Stopped,
    /// A task of the run panicked.
    #[error("a background task panicked or was cancelled: {0}")]
    TaskFailed(#[from] tokio::task::JoinError),
}
