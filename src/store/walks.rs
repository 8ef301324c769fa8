//! Where the copy stands and how it got there: the watermark, passes and walks.

use rusqlite::OptionalExtension as _;

use super::{Snapshot, StoreError, Writing};
use crate::scope::Scope;
use crate::ticket::Stamp;
use crate::ticket::parse::Named;
use crate::watermark::{State, Walk, Watermark};

/// What a pass has asked for and done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunFigures {
    /// Requests, tokens included.
    pub requests: u64,
    /// Requests for the ticket list.
    pub list_requests: u64,
    /// How many of them were repetitions.
    pub retries: u64,
    /// Rows received.
    pub received: u64,
    /// Tickets that appeared.
    pub created: u64,
    /// Tickets that changed.
    pub updated: u64,
    /// Tickets that left.
    pub deleted: u64,
}

/// How a pass ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunEnd<'a> {
    /// Everything asked for is stored.
    Complete,
    /// What was received is stored, but it may not be everything.
    Incomplete(&'a str),
    /// It could not go on.
    Failed(&'a str),
}

/// How a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkOutcome {
    /// The ids received are as many as the server says there are.
    Counted,
    /// They are not.
    Incomplete,
    /// The server does not say how many there are.
    Unverified,
    /// It could not go on.
    Failed,
}

impl WalkOutcome {
    /// Its word in `walks.outcome`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            WalkOutcome::Counted => "counted",
            WalkOutcome::Incomplete => "incomplete",
            WalkOutcome::Unverified => "unverified",
            WalkOutcome::Failed => "failed",
        }
    }
}

/// What a walk has read so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalkFigures {
    /// Pages.
    pub pages: u64,
    /// Different ids.
    pub unique_ids: u64,
    /// The last count that the server claimed.
    pub record_count: Option<u64>,
    /// Whether that count was ever lower than before.
    pub count_fell: bool,
}

impl Snapshot<'_> {
    /// The watermark, where the database has one.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn watermark(&self) -> Result<Option<Watermark>, StoreError> {
        type Row = (String, String, [Option<String>; 3], Option<i64>);
        let row: Option<Row> = self
            .connection
            .query_row(
                "SELECT scope, state, covered_until, newest_seen, fill_started_at, fill_last_id FROM watermarks",
                [],
                |row| Ok((row.get(0)?, row.get(1)?, [row.get(2)?, row.get(3)?, row.get(4)?], row.get(5)?)),
            )
            .optional()?;
        let Some((scope, state, [covered_until, newest_seen, fill_started_at], fill_last_id)) = row else {
            return Ok(None);
        };
        Ok(Some(Watermark {
            scope: read_scope(&scope)?,
            state: if state == State::Following.word() { State::Following } else { State::Filling },
            covered_until: stamp(covered_until)?,
            newest_seen: stamp(newest_seen)?,
            fill_started_at: stamp(fill_started_at)?,
            fill_last_id,
        }))
    }

    /// Up to when the copy was known to be complete while change `seq` was its newest: where the mark
    /// stood before the pass that made the next change.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn covered_at(&self, seq: i64) -> Result<Option<Stamp>, StoreError> {
        let covered_until = self.connection.query_row(
            "SELECT covered_until FROM watermark_journal WHERE COALESCE(run_id, 0) < COALESCE(
                 (SELECT run_id FROM changes WHERE seq > ?1 ORDER BY seq LIMIT 1), 9223372036854775807)
             ORDER BY move_id DESC LIMIT 1",
            [seq],
            |row| row.get(0),
        );
        stamp(covered_until.optional()?.flatten())
    }

    /// When the last counted full walk of the present scope ended.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn last_full(&self) -> Result<Option<Stamp>, StoreError> {
        stamp(self.connection.query_row(
            "SELECT MAX(ended_at) FROM walks WHERE kind = 'full' AND outcome IN ('counted', 'confirmed')",
            [],
            |row| row.get(0),
        )?)
    }

    /// Whether the server's clock stepped back since the last counted full walk.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn stepped_since_full(&self) -> Result<bool, StoreError> {
        Ok(self.connection.query_row(
            "SELECT EXISTS (SELECT 1 FROM watermark_journal
             WHERE reason = 'clock_stepped' AND moved_at > COALESCE((SELECT MAX(ended_at) FROM walks
                 WHERE kind = 'full' AND outcome IN ('counted', 'confirmed')), ''))",
            [],
            |row| row.get(0),
        )?)
    }

    /// What a pass wrote down of itself.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn run_figures(&self, run_id: i64) -> Result<RunFigures, StoreError> {
        let sql = "SELECT requests, list_requests, retries, received, created, updated, deleted FROM runs
                   WHERE run_id = ?1";
        Ok(self.connection.query_row(sql, [run_id], |row| {
            let number = |column| row.get::<_, i64>(column).map(i64::cast_unsigned);
            Ok(RunFigures {
                requests: number(0)?,
                list_requests: number(1)?,
                retries: number(2)?,
                received: number(3)?,
                created: number(4)?,
                updated: number(5)?,
                deleted: number(6)?,
            })
        })?)
    }

    /// How many requests passes may have made since `since`; of a pass that never ended, `unrecorded`
    /// more than it wrote down.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn requests_since(&self, since: Stamp, unrecorded: u64) -> Result<u64, StoreError> {
        let requests: i64 = self.connection.query_row(
            "SELECT COALESCE(SUM(requests + CASE WHEN ended_at IS NULL THEN ?2 ELSE 0 END), 0) FROM runs
             WHERE COALESCE(ended_at, started_at) >= ?1",
            (since.to_string(), unrecorded.cast_signed()),
            |row| row.get(0),
        )?;
        Ok(u64::try_from(requests).unwrap_or(0))
    }
}

impl Writing<'_> {
    /// Replaces the watermark and, where `reason` is given, journals the move.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn set_watermark(
        &self,
        mark: &Watermark,
        reason: Option<&str>,
        run_id: Option<i64>,
        now: Stamp,
    ) -> Result<(), StoreError> {
        let before = self.snapshot().watermark()?.and_then(|mark| mark.covered_until);
        let scope = serde_json::to_string(&mark.scope)
            .map_err(|error| StoreError::Nonsense { what: error.to_string() })?;
        self.connection.execute(
            "INSERT OR REPLACE INTO watermarks
             (one, scope, state, covered_until, newest_seen, fill_started_at, fill_last_id)
             VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6)",
            (
                scope,
                mark.state.word(),
                spelled(mark.covered_until),
                spelled(mark.newest_seen),
                spelled(mark.fill_started_at),
                mark.fill_last_id,
            ),
        )?;
        if let Some(reason) = reason {
            self.connection.execute(
                "INSERT INTO watermark_journal (moved_at, covered_from, covered_until, reason, run_id)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                (now.to_string(), spelled(before), spelled(mark.covered_until), reason, run_id),
            )?;
        }
        Ok(())
    }

    /// Begins a pass; the number is its `run_id`.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn begin_run(&self, kind: &str, now: Stamp) -> Result<i64, StoreError> {
        self.connection
            .execute("INSERT INTO runs (kind, started_at) VALUES (?1, ?2)", (kind, now.to_string()))?;
        Ok(self.connection.last_insert_rowid())
    }

    /// Writes down what a pass did so far.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn note_run(&self, run_id: i64, figures: &RunFigures) -> Result<(), StoreError> {
        let numbers = [
            figures.requests,
            figures.list_requests,
            figures.retries,
            figures.received,
            figures.created,
            figures.updated,
            figures.deleted,
        ]
        .map(u64::cast_signed);
        let [requests, list_requests, retries, received, created, updated, deleted] = numbers;
        self.connection
            .prepare_cached(
                "UPDATE runs SET requests = ?2, list_requests = ?3, retries = ?4, received = ?5,
                 created = ?6, updated = ?7, deleted = ?8 WHERE run_id = ?1",
            )?
            .execute((run_id, requests, list_requests, retries, received, created, updated, deleted))?;
        Ok(())
    }

    /// Ends a pass.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn end_run(&self, run_id: i64, end: RunEnd<'_>, now: Stamp) -> Result<(), StoreError> {
        let (outcome, error) = match end {
            RunEnd::Complete => ("complete", None),
            RunEnd::Incomplete(error) => ("incomplete", Some(error)),
            RunEnd::Failed(error) => ("failed", Some(error)),
        };
        self.connection.execute(
            "UPDATE runs SET outcome = ?2, error = ?3, ended_at = ?4 WHERE run_id = ?1",
            (run_id, outcome, error, now.to_string()),
        )?;
        // A walk of this pass that did not come to its own end failed with it.
        self.connection.execute(
            "UPDATE walks SET outcome = 'failed', ended_at = ?2 WHERE run_id = ?1 AND outcome IS NULL",
            (run_id, now.to_string()),
        )?;
        Ok(())
    }

    /// Forgets passes that ended before `since`, with their walks.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn forget_runs(&self, since: Stamp) -> Result<(), StoreError> {
        self.connection.execute("DELETE FROM runs WHERE ended_at < ?1", [since.to_string()])?;
        Ok(())
    }

    /// Begins a walk; the number is its `walk_id`.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn begin_walk(&self, run_id: i64, walk: &Walk, now: Stamp) -> Result<i64, StoreError> {
        let from = match walk {
            Walk::Full => None,
            Walk::Following { from } => Some(from.to_string()),
        };
        self.connection.execute(
            "INSERT INTO walks (run_id, kind, asked_from, started_at) VALUES (?1, ?2, ?3, ?4)",
            (run_id, walk.word(), from, now.to_string()),
        )?;
        Ok(self.connection.last_insert_rowid())
    }

    /// Writes down what a walk has read so far, and how it ended if it did.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn note_walk(
        &self,
        walk_id: i64,
        figures: &WalkFigures,
        outcome: Option<WalkOutcome>,
        now: Stamp,
    ) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "UPDATE walks SET pages = ?2, unique_ids = ?3, record_count = ?4, count_fell = ?5,
                 outcome = ?6, ended_at = ?7 WHERE walk_id = ?1",
            )?
            .execute((
                walk_id,
                figures.pages.cast_signed(),
                figures.unique_ids.cast_signed(),
                figures.record_count.map(u64::cast_signed),
                figures.count_fell,
                outcome.map(WalkOutcome::word),
                outcome.map(|_| now.to_string()),
            ))?;
        Ok(())
    }

    /// Replaces the list of ticket types.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn replace_ticket_types(&self, types: &[Named]) -> Result<(), StoreError> {
        self.connection.execute("DELETE FROM ticket_types", [])?;
        let mut insert = self.connection.prepare_cached(
            "INSERT OR REPLACE INTO ticket_types (ID, NAME, \"USE\", SEQUENCE) VALUES (?1, ?2, ?3, ?4)",
        )?;
        for Named { id, name, details } in types {
            insert.execute((id, name.trim(), &details.usage, details.sequence))?;
        }
        Ok(())
    }

    /// Stores a verdict about the server, with what it rests on.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn set_verdict(
        &self,
        question: &str,
        verdict: &str,
        details: Option<&str>,
        now: Stamp,
    ) -> Result<(), StoreError> {
        self.connection.execute(
            "INSERT OR REPLACE INTO calibrations (question, verdict, details, decided_at) VALUES (?1, ?2, ?3, ?4)",
            (question, verdict, details, now.to_string()),
        )?;
        Ok(())
    }

    /// Notes that the server did not show a ticket, and when to ask for it again.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn note_absence(
        &self,
        id: i64,
        status: &str,
        now: Stamp,
        ask_again_at: Stamp,
    ) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "INSERT INTO absences (UID, status, first_missed_at, ask_again_at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (UID) DO UPDATE SET status = excluded.status, ask_again_at = excluded.ask_again_at",
            )?
            .execute((id, status, now.to_string(), ask_again_at.to_string()))?;
        Ok(())
    }
}

fn read_scope(text: &str) -> Result<Scope, StoreError> {
    serde_json::from_str(text)
        .map_err(|error| StoreError::Nonsense { what: format!("a scope that cannot be read: {error}") })
}

pub(super) fn stamp(text: Option<String>) -> Result<Option<Stamp>, StoreError> {
    let read = |text: String| {
        Stamp::from_spelled(&text).map_err(|_| StoreError::Nonsense { what: format!("the time {text:?}") })
    };
    text.map(read).transpose()
}

fn spelled(stamp: Option<Stamp>) -> Option<String> {
    stamp.map(|stamp| stamp.to_string())
}
