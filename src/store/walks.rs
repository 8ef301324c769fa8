//! Walks: how far each of them came, how it ended, and where an unfinished one can be taken up again.

use roaring::RoaringTreemap;
use rusqlite::OptionalExtension as _;

use super::mark::stamp;
use super::{Snapshot, StoreError, Writing};
use crate::ticket::Stamp;
use crate::watermark::Walk;

/// How a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkOutcome {
    /// Nothing that stood in the list all the while is missing.
    Counted,
    /// The same, and it found nothing that the walks before it should have brought.
    Confirmed,
    /// Something may be missing.
    Incomplete,
    /// The server counts other tickets than it shows, again and again, or does not count them.
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
            WalkOutcome::Confirmed => "confirmed",
            WalkOutcome::Incomplete => "incomplete",
            WalkOutcome::Unverified => "unverified",
            WalkOutcome::Failed => "failed",
        }
    }
}

/// What a walk has read so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalkFigures {
    /// Pages, those read again included.
    pub pages: u64,
    /// Different ids.
    pub unique_ids: u64,
    /// The last count that the server claimed.
    pub record_count: Option<u64>,
    /// Whether that count was ever lower than before.
    pub count_fell: bool,
    /// How often the list was read.
    pub readings: u32,
}

/// A walk that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastWalk {
    /// `full` or `following`.
    pub kind: String,
    /// The word of its outcome.
    pub outcome: String,
    /// What it read.
    pub figures: WalkFigures,
}

/// The full walk that was last counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastFull {
    /// When it ended, by the local clock.
    pub ended_at: Stamp,
    /// `counted`, or `confirmed` where it agreed with the walks before it.
    pub outcome: String,
}

/// What one commit of a full walk received, and how far it came with it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Place {
    /// Which of the lists that it reads one after another.
    pub part: u32,
    /// The greatest id committed.
    pub cursor: Option<i64>,
    /// The start of the walk by the server's clock.
    pub begun_at: Option<Stamp>,
    /// The ids received, those of earlier commits left out.
    pub ids: RoaringTreemap,
    /// Those of them that were shown in an older version than the stored one.
    pub older: RoaringTreemap,
}

/// A full walk that did not come to its end.
#[derive(Clone, Debug, PartialEq)]
pub struct Unfinished {
    /// Its number.
    pub walk_id: i64,
    /// When it began, by the local clock.
    pub started_at: Stamp,
    /// How far it came in the list that it was reading; its ids are those of all commits.
    pub place: Place,
    /// The ids of the lists that it had read before.
    pub read_before: RoaringTreemap,
}

impl Snapshot<'_> {
    /// The last full walk that was counted.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn last_full(&self) -> Result<Option<LastFull>, StoreError> {
        let walk: Option<(Option<String>, String)> = self
            .connection
            .query_row(
                // The last one and not the latest: the local clock may have been set back since.
                "SELECT ended_at, outcome FROM walks
                 WHERE kind = 'full' AND outcome IN ('counted', 'confirmed') ORDER BY walk_id DESC LIMIT 1",
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        let Some((ended_at, outcome)) = walk else { return Ok(None) };
        Ok(stamp(ended_at)?.map(|ended_at| LastFull { ended_at, outcome }))
    }

    /// Whether the last counted full walk was the first of its scope and was interrupted, or tickets
    /// left while it read.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn fill_to_confirm(&self) -> Result<bool, StoreError> {
        let last = self.connection.query_row(
            "SELECT fill AND (resumed OR count_fell) FROM walks
             WHERE kind = 'full' AND outcome IN ('counted', 'confirmed') ORDER BY walk_id DESC LIMIT 1",
            [],
            |row| row.get(0),
        );
        Ok(last.optional()?.unwrap_or(false))
    }

    /// The last walk that ended.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn last_walk(&self) -> Result<Option<LastWalk>, StoreError> {
        let sql = "SELECT kind, outcome, pages, unique_ids, record_count, count_fell, readings FROM walks
                   WHERE outcome IS NOT NULL ORDER BY walk_id DESC LIMIT 1";
        let walk = self.connection.query_row(sql, [], |row| {
            let figures = WalkFigures {
                pages: row.get::<_, i64>(2)?.cast_unsigned(),
                unique_ids: row.get::<_, i64>(3)?.cast_unsigned(),
                record_count: row.get::<_, Option<i64>>(4)?.map(i64::cast_unsigned),
                count_fell: row.get(5)?,
                readings: row.get(6)?,
            };
            Ok(LastWalk { kind: row.get(0)?, outcome: row.get(1)?, figures })
        });
        Ok(walk.optional()?)
    }

    /// The full walk that can be taken up again, where there is one.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn unfinished(&self) -> Result<Option<Unfinished>, StoreError> {
        let walk: Option<(i64, String)> = self
            .connection
            .query_row(
                "SELECT walk_id, started_at FROM walks WHERE outcome IS NULL AND EXISTS
                     (SELECT 1 FROM walk_places WHERE walk_places.walk_id = walks.walk_id)
                 ORDER BY walk_id DESC LIMIT 1",
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        let Some((walk_id, started_at)) = walk else { return Ok(None) };
        let Some(started_at) = stamp(Some(started_at))? else { return Ok(None) };
        let mut statement = self.connection.prepare(
            "SELECT part, cursor, begun_at, ids, older FROM walk_places WHERE walk_id = ?1 ORDER BY rowid",
        )?;
        let mut rows = statement.query([walk_id])?;
        let (mut place, mut read_before) = (Place::default(), RoaringTreemap::new());
        while let Some(row) = rows.next()? {
            let part = row.get(0)?;
            if part != place.part {
                read_before |= std::mem::take(&mut place.ids);
            }
            (place.part, place.cursor) = (part, row.get(1)?);
            place.begun_at = stamp(row.get(2)?)?;
            place.ids |= read_ids(row.get_ref(3)?.as_blob().unwrap_or_default())?;
            place.older |= read_ids(row.get_ref(4)?.as_blob().unwrap_or_default())?;
        }
        Ok(Some(Unfinished { walk_id, started_at, place, read_before }))
    }

    /// How many changes since `seq` are dated at or before `until`, so that the walks before should have
    /// brought them.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn belated(&self, seq: i64, until: Stamp) -> Result<u64, StoreError> {
        let count: i64 = self.connection.query_row(
            "SELECT COUNT(*) FROM changes WHERE seq > ?1 AND reason IS NULL AND source_last_modified <= ?2
             AND (op = 'c' OR op = 'u' AND json_type(changed, '$.SOURCE_LAST_MODIFIED') IS NOT NULL)",
            (seq, until.to_string()),
            |row| row.get(0),
        )?;
        Ok(count.cast_unsigned())
    }
}

impl Writing<'_> {
    /// Begins a walk; the number is its `walk_id`. For a full one, unfinished walks are given up.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn begin_walk(&self, run_id: i64, walk: &Walk, fill: bool, now: Stamp) -> Result<i64, StoreError> {
        let from = match walk {
            Walk::Full => None,
            Walk::Following { from } => Some(from.to_string()),
        };
        if *walk == Walk::Full {
            self.give_up_walks(now)?;
        }
        self.connection.execute(
            "INSERT INTO walks (run_id, kind, asked_from, fill, started_at, moves_before)
             VALUES (?1, ?2, ?3, ?4, ?5, (SELECT COALESCE(MAX(move_id), 0) FROM watermark_journal))",
            (run_id, walk.word(), from, fill, now.to_string()),
        )?;
        Ok(self.connection.last_insert_rowid())
    }

    /// Gives up every unfinished walk.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn give_up_walks(&self, now: Stamp) -> Result<(), StoreError> {
        self.connection.execute("DELETE FROM walk_places", [])?;
        self.connection.execute(
            "UPDATE walks SET outcome = 'failed', ended_at = ?1 WHERE outcome IS NULL",
            [now.to_string()],
        )?;
        Ok(())
    }

    /// Takes up an unfinished walk in another pass.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn take_up_walk(&self, walk_id: i64, run_id: i64) -> Result<(), StoreError> {
        let sql = "UPDATE walks SET run_id = ?2, resumed = 1 WHERE walk_id = ?1";
        self.connection.execute(sql, (walk_id, run_id))?;
        Ok(())
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
                 readings = ?6, outcome = ?7, ended_at = ?8 WHERE walk_id = ?1",
            )?
            .execute((
                walk_id,
                figures.pages.cast_signed(),
                figures.unique_ids.cast_signed(),
                figures.record_count.map(u64::cast_signed),
                figures.count_fell,
                figures.readings.max(1),
                outcome.map(WalkOutcome::word),
                outcome.map(|_| now.to_string()),
            ))?;
        if outcome.is_some() {
            self.note_place(walk_id, None)?;
        }
        Ok(())
    }

    /// Adds to the place at which a walk can be taken up again; `None` forgets it.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn note_place(&self, walk_id: i64, place: Option<&Place>) -> Result<(), StoreError> {
        let Some(place) = place else {
            self.connection
                .prepare_cached("DELETE FROM walk_places WHERE walk_id = ?1")?
                .execute([walk_id])?;
            return Ok(());
        };
        let (ids, older) = (spell_ids(&place.ids)?, spell_ids(&place.older)?);
        let begun_at = place.begun_at.map(|at| at.to_string());
        self.connection
            .prepare_cached(
                "INSERT INTO walk_places (walk_id, part, cursor, begun_at, ids, older)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute((walk_id, place.part, place.cursor, begun_at, ids, older))?;
        Ok(())
    }
}

fn read_ids(bytes: &[u8]) -> Result<RoaringTreemap, StoreError> {
    RoaringTreemap::deserialize_from(bytes).map_err(|error| nonsense(&error))
}

fn spell_ids(ids: &RoaringTreemap) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    ids.serialize_into(&mut bytes).map_err(|error| nonsense(&error))?;
    Ok(bytes)
}

fn nonsense(error: &std::io::Error) -> StoreError {
    StoreError::Nonsense { what: format!("the ids of a walk: {error}") }
}
