//! Change records, reduced to one row for each ticket.

use rusqlite::types::ValueRef;
use rusqlite::{OptionalExtension as _, Row};
use serde_json::{Map, Value as Json};

use super::upsert::{ERASED, EXTRA_COLUMNS, JOIN_EXTRA, cell, columns, read_custom_fields};
use super::{ReadTx, StoreError};
use crate::snapshot_table::SnapshotTable;
use crate::ticket::attribute::{ATTRIBUTE_COUNT, EXTRA_COUNT, UID};
use crate::ticket::{
    ATTRIBUTES, AttributeValue, CUSTOM_FIELDS_KEY, CellValue, ChangeCounts, DeltaRow, EXTRA_KEY, Op,
    extras_to_json,
};

/// The first and last record of each ticket in a range: the first shows whether the ticket existed before
/// it, the last whether it exists after it.
const RANGE_ENDS: &str = "
    WITH touched AS (
        SELECT UID, MIN(seq) AS first_seq, MAX(seq) AS last_seq
        FROM changes WHERE ?1 < seq AND seq <= ?2 GROUP BY UID
    )";

/// The custom fields of a ticket without any.
const NO_CUSTOM_FIELDS: &str = "[]";

/// A ticket whose row another program lost is in no delta before its repair, which is a change of its own.
const IS_EXPORTED: &str = "(l.op = 'd' OR t.UID IS NOT NULL)";

impl ReadTx<'_> {
    /// The number of the newest change record ever written, 0 before the first.
    pub fn greatest_seq(&self) -> Result<i64, StoreError> {
        let sql = "SELECT COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'changes'), 0)";
        Ok(self.connection.query_row(sql, [], |row| row.get(0))?)
    }

    /// The number of the oldest change record that is kept, or of the next one if none is.
    pub fn oldest_seq(&self) -> Result<i64, StoreError> {
        let oldest: Option<i64> =
            self.connection.query_row("SELECT MIN(seq) FROM changes", [], |row| row.get(0))?;
        oldest.map_or_else(|| Ok(self.greatest_seq()? + 1), Ok)
    }

    /// Visits one row for every ticket that was changed by a record after `from`, ascending by id. From 0
    /// the rows are the tickets themselves, whichever records are still kept, and the erased ones: a consumer that begins
    /// anew may have them.
    ///
    /// A ticket that is erased at the end of the range is always deleted in it, and its row has the id alone.
    ///
    /// # Errors
    /// [`StoreError::InvalidData`] if the record after `from` has aged out; and every error of `visit`.
    pub fn delta<E: From<StoreError>>(
        &self,
        from: i64,
        visit: impl FnMut(DeltaRow<'_>) -> Result<(), E>,
    ) -> Result<ChangeCounts, E> {
        if from == 0 { self.delta_from_tickets(visit) } else { self.delta_from_changes(from, visit) }
    }

    fn delta_from_tickets<E: From<StoreError>>(
        &self,
        mut visit: impl FnMut(DeltaRow<'_>) -> Result<(), E>,
    ) -> Result<ChangeCounts, E> {
        let sql = format!(
            // A row of `ticket_state` is missing only if another program deleted it, or inserted the ticket: the
            // next scan records that ticket.
            "SELECT COALESCE(s.last_seq, (SELECT MAX(r.seq) FROM changes r WHERE r.UID = t.UID), 0),
                 COALESCE(c.observed_at, s.last_seen_at, (SELECT MAX(since) FROM lineage)), c.reason, {}, x.UID, {}
             FROM tickets t {JOIN_EXTRA}
             LEFT JOIN ticket_state s ON s.UID = t.UID LEFT JOIN changes c ON c.seq = s.last_seq
             WHERE (s.UID IS NOT NULL OR EXISTS (SELECT 1 FROM changes r WHERE r.UID = t.UID))
                 AND t.UID NOT IN (SELECT UID FROM purged)
             ORDER BY t.UID",
            columns("t."),
            *EXTRA_COLUMNS
        );
        let has_custom_fields = self.has_custom_fields()?;
        let mut statement = self.connection.prepare(&sql).map_err(StoreError::from)?;
        let mut rows = statement.query([]).map_err(StoreError::from)?;
        let mut counts = ChangeCounts::default();
        let mut erasures = self.erasures()?.into_iter().peekable();
        while let Some(row) = rows.next().map_err(StoreError::from)? {
            let seq = row.get(0).map_err(StoreError::from)?;
            let mut cells = [CellValue::Null; ATTRIBUTE_COUNT];
            read_cells(row, 3, &mut cells)?;
            let is_before = |it: &ErasureRecord| matches!(cells[UID], CellValue::Integer(id) if it.id < id);
            while let Some(erasure) = erasures.next_if(is_before) {
                erasure.visit(&mut visit)?;
                counts.add(Op::Delete);
            }
            let extra = extra_json(row, 3 + ATTRIBUTE_COUNT)?;
            let (observed_at, reason) = (text(row, 1)?, optional_text(row, 2)?);
            let fields = if has_custom_fields { Some(self.custom_fields_json(&cells)?) } else { None };
            let (extra, custom_fields) = (extra.as_deref(), fields.as_deref());
            visit(DeltaRow {
                seq,
                op: Op::Create,
                observed_at,
                reason,
                cells: &cells,
                extra,
                custom_fields,
            })?;
            counts.add(Op::Create);
        }
        for erasure in erasures {
            erasure.visit(&mut visit)?;
            counts.add(Op::Delete);
        }
        Ok(counts)
    }

    /// The erased tickets, ascending by id. Where the record of an erasure aged out, its number is 0.
    fn erasures(&self) -> Result<Vec<ErasureRecord>, StoreError> {
        let mut statement = self.connection.prepare(
            "SELECT p.UID, COALESCE(c.seq, 0), COALESCE(c.observed_at, p.purged_at)
             FROM purged p LEFT JOIN changes c ON c.seq =
                 (SELECT MAX(r.seq) FROM changes r WHERE r.UID = p.UID AND r.op = 'd' AND r.reason = ?1)
             ORDER BY p.UID",
        )?;
        let erasures = statement.query_map([ERASED], |row| {
            Ok(ErasureRecord { id: row.get(0)?, seq: row.get(1)?, observed_at: row.get(2)? })
        })?;
        Ok(erasures.collect::<Result<_, _>>()?)
    }

    /// Whether a ticket was stored before a change record of it, as far as records tell.
    fn was_stored_before(&self, id: i64, seq: i64) -> Result<bool, StoreError> {
        let sql = "SELECT op <> 'd' FROM changes WHERE UID = ?1 AND seq < ?2 ORDER BY seq DESC LIMIT 1";
        let stored =
            self.connection.prepare_cached(sql)?.query_row((id, seq), |row| row.get(0)).optional()?;
        stored.map_or_else(|| Ok(self.complete_after()?.unwrap_or(0) != 0), Ok)
    }

    fn delta_from_changes<E: From<StoreError>>(
        &self,
        from: i64,
        mut visit: impl FnMut(DeltaRow<'_>) -> Result<(), E>,
    ) -> Result<ChangeCounts, E> {
        if from + 1 < self.oldest_seq()? {
            let what = format!("no change record {}, with which the next package begins,", from + 1);
            return Err(StoreError::InvalidData { what }.into());
        }
        let sql = format!(
            "{RANGE_ENDS} SELECT l.seq, l.observed_at, f.op, l.op, l.last_row, touched.UID, l.reason,
                 f.seq, f.reason, {}, x.UID, {} FROM touched
             JOIN changes f ON f.seq = touched.first_seq JOIN changes l ON l.seq = touched.last_seq
             LEFT JOIN tickets t ON t.UID = touched.UID {JOIN_EXTRA}
             WHERE {IS_EXPORTED} ORDER BY touched.UID",
            columns("t."),
            *EXTRA_COLUMNS
        );
        let has_custom_fields = self.has_custom_fields()?;
        let mut statement = self.connection.prepare(&sql).map_err(StoreError::from)?;
        let mut rows = statement.query((from, i64::MAX)).map_err(StoreError::from)?;
        let mut counts = ChangeCounts::default();
        while let Some(row) = rows.next().map_err(StoreError::from)? {
            let id = row.get(5).map_err(StoreError::from)?;
            let seq = row.get(0).map_err(StoreError::from)?;
            let (observed_at, reason) = (text(row, 1)?, optional_text(row, 6)?);
            let (first, last) = (text(row, 2)?, text(row, 3)?);
            if last == Op::Delete.as_str() && reason == Some(ERASED) {
                ErasureRecord { id, seq, observed_at: observed_at.to_owned() }.visit(&mut visit)?;
                counts.add(Op::Delete);
                continue;
            }
            // A ticket that had been deleted before may have been erased.
            let before = if first == Op::Delete.as_str() && optional_text(row, 8)? == Some(ERASED) {
                self.was_stored_before(id, row.get(7).map_err(StoreError::from)?)?
            } else {
                first != Op::Create.as_str()
            };
            let Some(op) = net_op(before, last != Op::Delete.as_str()) else { continue };
            if op == Op::Delete {
                let last_row: Option<String> = row.get(4).map_err(StoreError::from)?;
                let last = parse_last_row(id, last_row.as_deref())?;
                let cells: Vec<_> = last.values.iter().map(AttributeValue::as_cell).collect();
                let extra = last.extra.as_deref();
                let custom_fields = has_custom_fields.then_some(&*last.custom_fields);
                visit(DeltaRow { seq, op, observed_at, reason, cells: &cells, extra, custom_fields })?;
            } else {
                let mut cells = [CellValue::Null; ATTRIBUTE_COUNT];
                read_cells(row, 9, &mut cells)?;
                let extra = extra_json(row, 9 + ATTRIBUTE_COUNT)?;
                let fields = if has_custom_fields { Some(self.custom_fields_json(&cells)?) } else { None };
                let (extra, custom_fields) = (extra.as_deref(), fields.as_deref());
                visit(DeltaRow { seq, op, observed_at, reason, cells: &cells, extra, custom_fields })?;
            }
            counts.add(op);
        }
        Ok(counts)
    }

    /// Whether custom fields are synchronized; otherwise their column in a delta is NULL.
    pub fn has_custom_fields(&self) -> Result<bool, StoreError> {
        Ok(self.watermark()?.is_some_and(|mark| mark.scope.custom_fields))
    }

    /// The custom fields of a stored ticket as a JSON array.
    fn custom_fields_json(&self, cells: &[CellValue<'_>; ATTRIBUTE_COUNT]) -> Result<String, StoreError> {
        let CellValue::Integer(id) = cells[UID] else { return Ok(NO_CUSTOM_FIELDS.to_owned()) };
        Ok(read_custom_fields(self.connection, id)?.to_json().to_string())
    }

    /// Visits every row of a table in the order of its key, and returns how many there were.
    pub fn for_each_row<E: From<StoreError>>(
        &self,
        table: SnapshotTable,
        mut visit: impl FnMut(&[CellValue<'_>]) -> Result<(), E>,
    ) -> Result<u64, E> {
        let columns = table.columns();
        let names: Vec<_> = columns.iter().map(|column| format!("\"{}\"", column.name)).collect();
        let key = table.key().join(", ");
        let sql = format!("SELECT {} FROM {} ORDER BY {key}", names.join(", "), table.name());
        let mut statement = self.connection.prepare(&sql).map_err(StoreError::from)?;
        let mut rows = statement.query([]).map_err(StoreError::from)?;
        let mut count = 0;
        while let Some(row) = rows.next().map_err(StoreError::from)? {
            let mut cells = Vec::with_capacity(columns.len());
            for index in 0..columns.len() {
                cells.push(cell(row.get_ref(index).map_err(StoreError::from)?));
            }
            visit(&cells)?;
            count += 1;
        }
        Ok(count)
    }
}

/// The erasure of a ticket.
struct ErasureRecord {
    id: i64,
    /// The number of its change record.
    seq: i64,
    observed_at: String,
}

impl ErasureRecord {
    /// Visits its row, which has the id alone.
    fn visit<E>(&self, visit: &mut impl FnMut(DeltaRow<'_>) -> Result<(), E>) -> Result<(), E> {
        let mut cells = [CellValue::Null; ATTRIBUTE_COUNT];
        cells[UID] = CellValue::Integer(self.id);
        visit(DeltaRow {
            seq: self.seq,
            op: Op::Delete,
            observed_at: &self.observed_at,
            reason: Some(ERASED),
            cells: &cells,
            extra: None,
            custom_fields: None,
        })
    }
}

/// The net effect of a range on a ticket that was stored before it or not, and is after it or not.
fn net_op(before: bool, after: bool) -> Option<Op> {
    match (before, after) {
        (false, true) => Some(Op::Create),
        (true, true) => Some(Op::Update),
        (true, false) => Some(Op::Delete),
        (false, false) => None,
    }
}

fn read_cells<'r>(
    row: &'r Row<'_>,
    first: usize,
    cells: &mut [CellValue<'r>; ATTRIBUTE_COUNT],
) -> Result<(), StoreError> {
    for (position, slot) in cells.iter_mut().enumerate() {
        *slot = cell(row.get_ref(first + position)?);
    }
    Ok(())
}

/// The extras of a row as a JSON object: the column before them is NULL if there are none.
fn extra_json(row: &Row<'_>, first: usize) -> Result<Option<String>, StoreError> {
    if row.get_ref(first)? == ValueRef::Null {
        return Ok(None);
    }
    let mut cells = [CellValue::Null; EXTRA_COUNT];
    for (index, slot) in cells.iter_mut().enumerate() {
        *slot = cell(row.get_ref(first + 1 + index)?);
    }
    Ok(Some(extras_to_json(cells).to_string()))
}

fn optional_text<'r>(row: &'r Row<'_>, column: usize) -> Result<Option<&'r str>, StoreError> {
    let text = row.get_ref(column)?.as_str_or_null();
    text.map_err(|error| StoreError::InvalidData {
        what: format!("a change record whose reason is no text ({error})"),
    })
}

fn text<'r>(row: &'r Row<'_>, column: usize) -> Result<&'r str, StoreError> {
    let text = row.get_ref(column)?.as_str();
    text.map_err(|error| StoreError::InvalidData { what: format!("a change record without text ({error})") })
}

/// The last known row of a deleted ticket.
struct LastRow {
    values: Vec<AttributeValue>,
    /// A JSON object.
    extra: Option<String>,
    /// A JSON array.
    custom_fields: String,
}

/// Parses `changes.last_row`. Of a ticket whose row was lost only the id is known.
fn parse_last_row(id: i64, json: Option<&str>) -> Result<LastRow, StoreError> {
    let Some(json) = json else {
        let mut row = vec![AttributeValue::Null; ATTRIBUTE_COUNT];
        row[UID] = AttributeValue::Integer(id);
        return Ok(LastRow { values: row, extra: None, custom_fields: NO_CUSTOM_FIELDS.to_owned() });
    };
    let object: Map<String, Json> = serde_json::from_str(json).map_err(|error| StoreError::InvalidData {
        what: format!("a change record whose last row is not JSON ({error})"),
    })?;
    let value = |name| match object.get(name) {
        None | Some(Json::Null) => AttributeValue::Null,
        Some(Json::Bool(boolean)) => AttributeValue::Integer(i64::from(*boolean)),
        Some(Json::Number(number)) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => AttributeValue::Integer(number),
            (None, Some(number)) => AttributeValue::Real(number),
            (None, None) => AttributeValue::Null,
        },
        Some(Json::String(text)) => AttributeValue::Text(text.clone()),
        Some(other) => AttributeValue::Text(other.to_string()),
    };
    Ok(LastRow {
        values: ATTRIBUTES.iter().map(|attribute| value(attribute.name)).collect(),
        extra: object.get(EXTRA_KEY).map(Json::to_string),
        custom_fields: object
            .get(CUSTOM_FIELDS_KEY)
            .map_or_else(|| NO_CUSTOM_FIELDS.to_owned(), Json::to_string),
    })
}
