//! Which exported files may still hold values of an erased ticket.

use std::path::PathBuf;

use super::upsert::ERASED;
use super::{ReadTx, StoreError};

/// In which states of the tickets an erased ticket had values, by its change records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldValues {
    /// Its change records, the oldest first.
    records: Vec<RecordKind>,
    /// The number of the last change record of any ticket that aged out; 0 where none did.
    complete_after: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RecordKind {
    seq: i64,
    is_deletion: bool,
    is_erasure: bool,
}

/// A package that may hold values of an erased ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldingPackage {
    /// Its consumer.
    pub consumer: String,
    /// The folder of its consumer.
    pub folder: PathBuf,
    /// The change record before the first one in it.
    pub from_seq: i64,
    /// The last change record in it.
    pub to_seq: i64,
    /// The name of its data file.
    pub data_file: String,
    /// Whether it was published; otherwise a killed export left it.
    pub is_published: bool,
}

impl HeldValues {
    /// The newest record up to a change.
    fn last_until(&self, seq: i64) -> Option<RecordKind> {
        self.records.iter().rfind(|record| record.seq <= seq).copied()
    }

    /// Whether a package of the changes after `from`, up to `to`, may hold values. Where records have aged out: yes.
    fn are_in_package(&self, from: i64, to: i64) -> bool {
        let last = self.last_until(to);
        if from == to || last.is_some_and(|last| last.is_erasure) {
            return false;
        }
        // From 0 the rows are the tickets themselves; a later package has the last row of a deleted ticket too.
        from < self.complete_after
            || last.is_some_and(|last| if from == 0 { !last.is_deletion } else { from < last.seq })
    }

    /// Whether a snapshot as of a change may hold values, that of a deleted ticket in `deleted_tickets`.
    #[must_use]
    pub fn are_in_snapshot(&self, seq: i64) -> bool {
        self.last_until(seq).map_or(seq <= self.complete_after, |last| !last.is_erasure)
    }
}

impl ReadTx<'_> {
    /// In which states of the tickets an erased ticket had values.
    pub fn held_values(&self, id: i64) -> Result<HeldValues, StoreError> {
        let sql = "SELECT seq, op = 'd', op = 'd' AND reason IS ?2 FROM changes WHERE UID = ?1 ORDER BY seq";
        let mut statement = self.connection.prepare(sql)?;
        let records = statement.query_map((id, ERASED), |row| {
            Ok(RecordKind { seq: row.get(0)?, is_deletion: row.get(1)?, is_erasure: row.get(2)? })
        })?;
        let records = records.collect::<Result<_, _>>()?;
        Ok(HeldValues { records, complete_after: self.complete_after()?.unwrap_or(0) })
    }

    /// The packages that may hold values, published or not, by consumer.
    pub fn holding_packages(&self, values: &HeldValues) -> Result<Vec<HoldingPackage>, StoreError> {
        let mut statement = self.connection.prepare(
            "SELECT consumer, folder, from_seq, to_seq, data_file, state = 'published'
             FROM packages JOIN consumers ON consumers.name = packages.consumer ORDER BY consumer, to_seq, from_seq",
        )?;
        let packages = statement.query_map([], |row| {
            Ok(HoldingPackage {
                consumer: row.get(0)?,
                folder: PathBuf::from(row.get::<_, String>(1)?),
                from_seq: row.get(2)?,
                to_seq: row.get(3)?,
                data_file: row.get(4)?,
                is_published: row.get(5)?,
            })
        })?;
        let mut packages: Vec<_> = packages.collect::<Result<_, _>>()?;
        packages.retain(|package| values.are_in_package(package.from_seq, package.to_seq));
        Ok(packages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(records: &[(i64, &str)], complete_after: i64) -> HeldValues {
        let record = |(seq, kind): &(i64, &str)| RecordKind {
            seq: *seq,
            is_deletion: matches!(*kind, "d" | "erased"),
            is_erasure: *kind == "erased",
        };
        HeldValues { records: records.iter().map(record).collect(), complete_after }
    }

    #[test]
    fn packages_with_a_record_before_the_erasure_hold_values() {
        let plain = [(10, "c"), (20, "u"), (30, "erased")];
        let deleted = [(10, "c"), (20, "d"), (30, "erased")];
        let twice = [(10, "c"), (20, "erased"), (30, "c"), (40, "erased")];
        for (records, complete_after, range, expected) in [
            (&plain[..], 0, (0, 9), false),
            (&plain, 0, (0, 10), true),
            (&plain, 0, (0, 25), true),
            (&plain, 0, (0, 30), false),
            (&plain, 0, (10, 19), false),
            (&plain, 0, (10, 20), true),
            (&plain, 0, (15, 35), false),
            (&plain, 0, (20, 20), false),
            (&plain, 0, (30, 40), false),
            (&deleted, 0, (0, 25), false),
            (&deleted, 0, (10, 25), true),
            (&twice, 0, (25, 35), true),
            (&twice, 0, (35, 45), false),
            (&[(30, "erased")], 0, (0, 29), false),
            (&[(30, "erased")], 9, (0, 29), true),
            (&[(30, "erased")], 9, (5, 12), true),
            (&[(30, "erased")], 9, (9, 12), false),
            (&[], 9, (5, 9), true),
        ] {
            let values = values(records, complete_after);
            assert_eq!(values.are_in_package(range.0, range.1), expected, "{values:?}: {range:?}");
        }
    }

    #[test]
    fn snapshots_from_the_first_record_to_the_erasure_hold_values() {
        for (records, complete_after, seq, expected) in [
            (&[(10, "c"), (30, "erased")][..], 0, 9, false),
            (&[(10, "c"), (30, "erased")], 0, 10, true),
            (&[(10, "c"), (30, "erased")], 0, 30, false),
            (&[(10, "c"), (20, "d"), (30, "erased")], 0, 25, true),
            (&[(30, "erased")], 9, 9, true),
            (&[(30, "erased")], 9, 12, false),
        ] {
            let values = values(records, complete_after);
            assert_eq!(values.are_in_snapshot(seq), expected, "{values:?}: {seq}");
        }
    }
}
