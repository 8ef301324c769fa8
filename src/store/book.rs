//! Who has been handed what: consumers and packages. Nothing else writes them.

use rusqlite::OptionalExtension as _;

use super::{Snapshot, StoreError, Writing};
use crate::config::Consumer;
use crate::ticket::Stamp;

/// How far a consumer has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Up to which change its packages reach.
    pub exported_seq: i64,
    /// Up to which it has said that it took them.
    pub acked_seq: i64,
    /// `manifest_sha256` of its last package.
    pub last_manifest: Option<String>,
}

/// A package that is complete on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The range, its lower end not in it.
    pub from_seq: i64,
    /// The upper end, in it.
    pub to_seq: i64,
    /// Name of the data file.
    pub data_file: String,
    /// Name of the manifest.
    pub manifest_file: String,
    /// Rows in the data file.
    pub rows: u64,
    /// Its bytes.
    pub bytes: u64,
    /// Its hash.
    pub sha256: String,
    /// The manifest's hash.
    pub manifest_sha256: String,
}

impl Snapshot<'_> {
    /// How far a consumer has come; one that nobody has heard of stands at 0.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn position(&self, consumer: &Consumer) -> Result<Position, StoreError> {
        let position = self
            .connection
            .query_row(
                "SELECT exported_seq, acked_seq, (SELECT manifest_sha256 FROM packages
                 WHERE consumer = name AND to_seq = exported_seq) FROM consumers WHERE name = ?1",
                [consumer.as_str()],
                |row| {
                    Ok(Position {
                        exported_seq: row.get(0)?,
                        acked_seq: row.get(1)?,
                        last_manifest: row.get(2)?,
                    })
                },
            )
            .optional()?;
        Ok(position.unwrap_or_default())
    }

    /// All consumers and how many changes wait for each.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn waiting(&self) -> Result<Vec<(String, Position, i64)>, StoreError> {
        let newest = self.greatest_seq()?;
        let mut statement =
            self.connection.prepare("SELECT name, exported_seq, acked_seq FROM consumers ORDER BY name")?;
        let rows = statement.query_map([], |row| {
            let exported_seq: i64 = row.get(1)?;
            let position = Position { exported_seq, acked_seq: row.get(2)?, last_manifest: None };
            Ok((row.get(0)?, position, newest - exported_seq))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

impl Writing<'_> {
    /// Enters a package and moves its consumer to its end.
    ///
    /// # Errors
    /// [`StoreError`]; a package that does not begin where the last one ended is refused.
    pub fn enter(
        &self,
        consumer: &Consumer,
        package: &Delivered,
        acknowledged: bool,
        now: Stamp,
    ) -> Result<(), StoreError> {
        let at = self.snapshot().position(consumer)?.exported_seq;
        if at != package.from_seq {
            let what = format!(
                "consumer {} at change {at}, and a package from {}",
                consumer.as_str(),
                package.from_seq
            );
            return Err(StoreError::Nonsense { what });
        }
        self.connection.execute(
            "INSERT INTO consumers (name, exported_seq, acked_seq) VALUES (?1, ?2, CASE ?3 WHEN 1 THEN ?2 ELSE 0 END)
             ON CONFLICT (name) DO UPDATE SET exported_seq = excluded.exported_seq,
                 acked_seq = CASE ?3 WHEN 1 THEN excluded.exported_seq ELSE acked_seq END",
            (consumer.as_str(), package.to_seq, acknowledged),
        )?;
        self.connection.execute(
            "INSERT INTO packages (consumer, from_seq, to_seq, data_file, manifest_file, \"rows\", bytes, sha256,
                 manifest_sha256, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            (
                consumer.as_str(),
                package.from_seq,
                package.to_seq,
                &package.data_file,
                &package.manifest_file,
                package.rows.cast_signed(),
                package.bytes.cast_signed(),
                &package.sha256,
                &package.manifest_sha256,
                now.to_string(),
            ),
        )?;
        Ok(())
    }
}
