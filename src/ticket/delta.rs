//! What a range of changes comes to: one row for every ticket, whatever happened to it in between.

use std::ops::AddAssign;

use super::change::Op;
use super::value::CellValue;

/// What a range of changes comes to for one ticket.
#[derive(Clone, Debug)]
pub struct DeltaRow<'a> {
    /// The number of its newest record in the range.
    pub seq: i64,
    /// What happened between the two ends.
    pub op: Op,
    /// When that newest record was made, by the local clock.
    pub observed_at: &'a str,
    /// The row at the end of the range; for a deletion the last known one.
    pub cells: &'a [CellValue<'a>],
    /// Its custom fields as one JSON object, where they are copied.
    pub custom_fields: Option<&'a str>,
}

impl<'a> DeltaRow<'a> {
    /// Its cells, in the order of [`super::delta_columns`].
    pub fn all_cells(&self) -> impl Iterator<Item = CellValue<'a>> {
        let first = [
            CellValue::Integer(self.seq),
            CellValue::Text(self.op.as_str()),
            CellValue::Text(self.observed_at),
        ];
        first.into_iter().chain(self.cells.iter().copied()).chain(self.custom_fields.map(CellValue::Json))
    }
}

/// How many tickets a range creates, updates and deletes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChangeCounts {
    /// Absent before, present after.
    pub created: u64,
    /// Present before and after.
    pub updated: u64,
    /// Present before, absent after.
    pub deleted: u64,
}

impl ChangeCounts {
    /// One more of this.
    pub fn add(&mut self, op: Op) {
        match op {
            Op::Create => self.created += 1,
            Op::Update => self.updated += 1,
            Op::Delete => self.deleted += 1,
        }
    }

    /// All of them.
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
