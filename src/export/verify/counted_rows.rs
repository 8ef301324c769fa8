//! Counts the rows of a data file, and what the rows of a delta say happened.

use crate::export::manifest::ManifestCounts;
use crate::export::name::SeqRange;
use crate::ticket::{OP_COLUMN, Op, SEQ_COLUMN};

/// The rows of a data file so far.
#[derive(Debug)]
pub(super) struct CountedRows {
    /// Range of a delta, whose rows tell what happened.
    range: Option<SeqRange>,
    /// Number of rows that there should be.
    expected: u64,
    pub(super) rows: u64,
    counts: ManifestCounts,
}

impl CountedRows {
    pub(super) fn new(range: Option<SeqRange>, expected: u64) -> CountedRows {
        CountedRows { range, expected, rows: 0, counts: ManifestCounts { c: 0, u: 0, d: 0 } }
    }

    /// Takes the number of rows from what a file says about itself; what happened is then not known.
    pub(super) fn set_total(&mut self, rows: u64) {
        self.rows = rows;
        self.range = None;
    }

    /// What the rows of a delta say happened, if each was read.
    pub(super) fn counts(&self) -> Option<ManifestCounts> {
        self.range.map(|_| self.counts)
    }

    /// Whether each row must tell what happened, and at which change.
    pub(super) fn needs_changes(&self) -> bool {
        self.range.is_some()
    }

    /// Counts a row with its values of `_op` and `_seq`.
    pub(super) fn add_row(&mut self, op: Option<&[u8]>, seq: Option<i64>) -> Result<(), String> {
        self.rows += 1;
        let row = self.rows;
        if self.expected < row {
            // Nothing more can be learned, and the rest of a compressed file may be endless.
            return Err(format!("it has more rows than the {} in the manifest", self.expected));
        }
        let Some(range) = self.range else { return Ok(()) };
        let ops = [
            (Op::Create, &mut self.counts.c),
            (Op::Update, &mut self.counts.u),
            (Op::Delete, &mut self.counts.d),
        ];
        let Some((_, count)) = ops.into_iter().find(|(known, _)| op == Some(known.as_str().as_bytes()))
        else {
            return Err(format!("`{OP_COLUMN}` of row {row} is none of c, u and d"));
        };
        *count += 1;
        match seq {
            Some(seq) if range.from < seq && seq <= range.to => Ok(()),
            Some(seq) => Err(format!("`{SEQ_COLUMN}` of row {row} is {seq}, outside of its range")),
            None => Err(format!("`{SEQ_COLUMN}` of row {row} is not a number")),
        }
    }
}
