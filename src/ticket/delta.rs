//! The net effect of a range of changes: one row per ticket.

use std::ops::AddAssign;

use super::change::Op;
use super::value::CellValue;

/// The net effect of a range of changes on one ticket.
#[derive(Clone, Debug)]
pub struct DeltaRow<'a> {
    /// Sequence number of the ticket's newest record in the range.
    pub seq: i64,
    /// What happened between the two ends of the range.
    pub op: Op,
    /// When that record was written, by the local clock.
    pub observed_at: &'a str,
    /// Why that record was written, where it says so; of a deletion, why the ticket was removed.
    pub reason: Option<&'a str>,
    /// Row at the end of the range; for a deletion, the last known row.
    pub cells: &'a [CellValue<'a>],
    /// What the list carries beside the attributes as a JSON object, if it ever carried anything of this ticket.
    pub extra: Option<&'a str>,
    /// Custom fields as a JSON array, if they are synchronized.
    pub custom_fields: Option<&'a str>,
}

impl<'a> DeltaRow<'a> {
    /// Iterates over all cells, in the order of [`super::delta_columns`].
    pub fn all_cells(&self) -> impl Iterator<Item = CellValue<'a>> {
        let first = [
            CellValue::Integer(self.seq),
            CellValue::Text(self.op.as_str()),
            CellValue::Text(self.observed_at),
            self.reason.map_or(CellValue::Null, CellValue::Text),
        ];
        let json = [self.extra, self.custom_fields].map(|it| it.map_or(CellValue::Null, CellValue::Json));
        first.into_iter().chain(self.cells.iter().copied()).chain(json)
    }
}

/// Number of tickets that a range creates, updates and deletes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ChangeCounts {
    /// Absent before, present after.
    pub created: u64,
    /// Present before and after.
    pub updated: u64,
    /// Present before, absent after.
    pub deleted: u64,
}

impl ChangeCounts {
    /// Counts one more ticket.
    pub fn add(&mut self, op: Op) {
        match op {
            Op::Create => self.created += 1,
            Op::Update => self.updated += 1,
            Op::Delete => self.deleted += 1,
        }
    }

    /// Returns the sum of the three.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.created + self.updated + self.deleted
    }
}

impl AddAssign for ChangeCounts {
    fn add_assign(&mut self, other: ChangeCounts) {
        self.created += other.created;
        self.updated += other.updated;
        self.deleted += other.deleted;
    }
}
