//! The change log, read: what a range of it comes to for each ticket.

use rusqlite::Row;
use serde_json::{Map, Value as Json};

use super::mark::stamp;
use super::upsert::{cell, columns, stored_fields};
use super::{Snapshot, StoreError, Writing};
use crate::ticket::attribute::{COUNT, UID};
use crate::ticket::{ATTRIBUTES, CUSTOM_FIELDS, Cell, DeltaRow, Op, Stamp, Table, Tally, Value};

/// Each ticket's first and last record in a range; the first tells whether it was there before, the
/// last whether it is there after.
const ENDS: &str = "
    WITH touched AS (
        SELECT UID, MIN(seq) AS first_seq, MAX(seq) AS last_seq
        FROM changes WHERE ?1 < seq AND seq <= ?2 GROUP BY UID
    )";

impl Snapshot<'_> {
    /// The number of the newest record, 0 where there is none.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn greatest_seq(&self) -> Result<i64, StoreError> {
        let sql = "SELECT COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'changes'), 0)";
        Ok(self.connection.query_row(sql, [], |row| row.get(0))?)
    }

    /// The number of the oldest record that is kept; that of the next one where there is none.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn oldest_seq(&self) -> Result<i64, StoreError> {
        let oldest: Option<i64> =
            self.connection.query_row("SELECT MIN(seq) FROM changes", [], |row| row.get(0))?;
        oldest.map_or_else(|| Ok(self.greatest_seq()? + 1), Ok)
    }

    /// When the latest of the records after `from` up to `to` was made.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn observed_at(&self, from: i64, to: i64) -> Result<Option<Stamp>, StoreError> {
        let sql = "SELECT MAX(observed_at) FROM changes WHERE ?1 < seq AND seq <= ?2";
        stamp(self.connection.query_row(sql, (from, to), |row| row.get(0))?)
    }

    /// Gives one row for every ticket that the records after `from`, up to the newest one, changed; in
    /// order of id. From 0 it is made of the tickets themselves, whatever the log still holds.
    ///
    /// # Errors
    /// Whatever `take` or SQLite reports.
    pub fn delta<E: From<StoreError>>(
        &self,
        from: i64,
        take: impl FnMut(DeltaRow<'_>) -> Result<(), E>,
    ) -> Result<Tally, E> {
        if from == 0 { self.everything(take) } else { self.changed_since(from, take) }
    }

    fn everything<E: From<StoreError>>(
        &self,
        mut take: impl FnMut(DeltaRow<'_>) -> Result<(), E>,
    ) -> Result<Tally, E> {
        let sql = format!(
            "SELECT s.last_seq, COALESCE(c.observed_at, s.last_seen_at), {} FROM tickets t
             JOIN ticket_state s ON s.UID = t.UID LEFT JOIN changes c ON c.seq = s.last_seq ORDER BY t.UID",
            columns("t.")
        );
        let copies_fields = self.copies_fields()?;
        let mut statement = self.connection.prepare(&sql).map_err(StoreError::from)?;
        let mut rows = statement.query([]).map_err(StoreError::from)?;
        let mut tally = Tally::default();
        while let Some(row) = rows.next().map_err(StoreError::from)? {
            let seq = row.get(0).map_err(StoreError::from)?;
            let mut cells = [Cell::Null; COUNT];
            live(row, 2, &mut cells)?;
            let observed_at = text(row, 1)?;
            let fields = if copies_fields { Some(self.live_fields(&cells)?) } else { None };
            let custom_fields = fields.as_deref();
            take(DeltaRow { seq, op: Op::Create, observed_at, cells: &cells, custom_fields })?;
            tally.count(Op::Create);
        }
        Ok(tally)
    }

    fn changed_since<E: From<StoreError>>(
        &self,
        from: i64,
        mut take: impl FnMut(DeltaRow<'_>) -> Result<(), E>,
    ) -> Result<Tally, E> {
        if from + 1 < self.oldest_seq()? {
            let what = format!("no change record {} any more, where the next package begins", from + 1);
            return Err(StoreError::Nonsense { what }.into());
        }
        let sql = format!(
            "{ENDS} SELECT l.seq, l.observed_at, f.op, l.op, l.last_row, {} FROM touched
             JOIN changes f ON f.seq = touched.first_seq JOIN changes l ON l.seq = touched.last_seq
             LEFT JOIN tickets t ON t.UID = touched.UID ORDER BY touched.UID",
            columns("t.")
        );
        let copies_fields = self.copies_fields()?;
        let mut statement = self.connection.prepare(&sql).map_err(StoreError::from)?;
        let mut rows = statement.query((from, i64::MAX)).map_err(StoreError::from)?;
        let mut tally = Tally::default();
        while let Some(row) = rows.next().map_err(StoreError::from)? {
            let Some(op) = between(text(row, 2)?, text(row, 3)?) else { continue };
            let seq = row.get(0).map_err(StoreError::from)?;
            let observed_at = text(row, 1)?;
            if op == Op::Delete {
                let (last, fields) = last_row(text(row, 4)?)?;
                let cells: Vec<_> = last.iter().map(Value::cell).collect();
                let custom_fields = copies_fields.then_some(&*fields);
                take(DeltaRow { seq, op, observed_at, cells: &cells, custom_fields })?;
            } else {
                let mut cells = [Cell::Null; COUNT];
                live(row, 5, &mut cells)?;
                let fields = if copies_fields { Some(self.live_fields(&cells)?) } else { None };
                let custom_fields = fields.as_deref();
                take(DeltaRow { seq, op, observed_at, cells: &cells, custom_fields })?;
            }
            tally.count(op);
        }
        Ok(tally)
    }

    /// Whether custom fields are copied; then a delta has a column more.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn copies_fields(&self) -> Result<bool, StoreError> {
        Ok(self.watermark()?.is_some_and(|mark| mark.scope.custom_fields))
    }

    /// The custom fields of a present ticket as one JSON object.
    fn live_fields(&self, cells: &[Cell<'_>; COUNT]) -> Result<String, StoreError> {
        let Cell::Integer(id) = cells[UID] else { return Ok("{}".to_owned()) };
        Ok(stored_fields(self.connection, id)?.to_json().to_string())
    }

    /// Gives every row of a table, in the order of its key.
    ///
    /// # Errors
    /// Whatever `take` or SQLite reports.
    pub fn table<E: From<StoreError>>(
        &self,
        table: Table,
        mut take: impl FnMut(&[Cell<'_>]) -> Result<(), E>,
    ) -> Result<u64, E> {
        let columns = table.columns();
        let names: Vec<_> = columns.iter().map(|column| format!("\"{}\"", column.name)).collect();
        let key = if table == Table::CustomFields { "UID, FIELD_ID" } else { "rowid" };
        let sql = format!("SELECT {} FROM {} ORDER BY {key}", names.join(", "), table.name());
        let mut statement = self.connection.prepare(&sql).map_err(StoreError::from)?;
        let mut rows = statement.query([]).map_err(StoreError::from)?;
        let mut given = 0;
        while let Some(row) = rows.next().map_err(StoreError::from)? {
            let mut cells = Vec::with_capacity(columns.len());
            for place in 0..columns.len() {
                cells.push(cell(row.get_ref(place).map_err(StoreError::from)?));
            }
            take(&cells)?;
            given += 1;
        }
        Ok(given)
    }

    /// What the records after `from` up to `to` come to, counted only.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn tally(&self, from: i64, to: i64) -> Result<Tally, StoreError> {
        let sql = format!(
            "{ENDS} SELECT f.op, l.op FROM touched
             JOIN changes f ON f.seq = touched.first_seq JOIN changes l ON l.seq = touched.last_seq"
        );
        let mut statement = self.connection.prepare(&sql)?;
        let mut rows = statement.query((from, to))?;
        let mut tally = Tally::default();
        while let Some(row) = rows.next()? {
            if let Some(op) = between(text(row, 0)?, text(row, 1)?) {
                tally.count(op);
            }
        }
        Ok(tally)
    }
}

impl Writing<'_> {
    /// Removes the records from before `since`, as far as every consumer has them in a package, and tells how
    /// many. A consumer that stands at 0 needs none: its first package is made of the tickets.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn forget_changes(&self, since: Stamp) -> Result<usize, StoreError> {
        // A record before another that stays stays too, whatever the clock said: the log keeps no hole.
        Ok(self.connection.execute(
            "DELETE FROM changes WHERE seq <= COALESCE(
                 (SELECT MIN(exported_seq) FROM consumers WHERE 0 < exported_seq), 9223372036854775807)
             AND seq < COALESCE((SELECT seq FROM changes WHERE ?1 <= observed_at ORDER BY seq LIMIT 1),
                 9223372036854775807)",
            [since.to_string()],
        )?)
    }
}

/// What happened between the two ends of a range, by the first and the last record in it.
fn between(first: &str, last: &str) -> Option<Op> {
    let (before, after) = (first != Op::Create.letter(), last != Op::Delete.letter());
    match (before, after) {
        (false, true) => Some(Op::Create),
        (true, true) => Some(Op::Update),
        (true, false) => Some(Op::Delete),
        (false, false) => None,
    }
}

fn live<'r>(row: &'r Row<'_>, first: usize, cells: &mut [Cell<'r>; COUNT]) -> Result<(), StoreError> {
    for (position, place) in cells.iter_mut().enumerate() {
        *place = cell(row.get_ref(first + position)?);
    }
    Ok(())
}

fn text<'r>(row: &'r Row<'_>, column: usize) -> Result<&'r str, StoreError> {
    let text = row.get_ref(column)?.as_str();
    text.map_err(|error| StoreError::Nonsense { what: format!("a change record without its text: {error}") })
}

/// A row back from `changes.last_row`, with its custom fields as one JSON object.
fn last_row(json: &str) -> Result<(Vec<Value>, String), StoreError> {
    let object: Map<String, Json> = serde_json::from_str(json)
        .map_err(|error| StoreError::Nonsense { what: format!("a last row that is not JSON: {error}") })?;
    let value = |name| match object.get(name) {
        None | Some(Json::Null) => Value::Null,
        Some(Json::Bool(truth)) => Value::Integer(i64::from(*truth)),
        Some(Json::Number(number)) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => Value::Integer(number),
            (None, Some(number)) => Value::Real(number),
            (None, None) => Value::Null,
        },
        Some(Json::String(text)) => Value::Text(text.clone()),
        Some(other) => Value::Text(other.to_string()),
    };
    let fields = object.get(CUSTOM_FIELDS).map_or_else(|| "{}".to_owned(), Json::to_string);
    Ok((ATTRIBUTES.iter().map(|attribute| value(attribute.name)).collect(), fields))
}
