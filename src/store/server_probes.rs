//! Stored facts about the server, and when something about it was last refreshed.

use std::str::FromStr;

use strum::{EnumString, IntoStaticStr};

use super::tx::{parse_timestamp, parse_word};
use super::{ReadTx, StoreError, WriteTx};
use crate::ticket::Timestamp;

/// What is known about the server, or refreshed from it (`server_probes.probe`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, EnumString, serde::Serialize)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// How the server applies the lower bound of `last_update`.
    DateFilter,
    /// Which lists together contain every ticket.
    ListCoverage,
    /// When the names of statuses were last refreshed, and whether the server lists them.
    StatusNames,
    /// The same for the names of ticket types.
    TypeNames,
    /// Whether the list contains custom fields.
    CustomFields,
    /// When the definitions of custom fields were last refreshed, and where they come from.
    FieldList,
    /// A flag: whether a full scan has requested every known custom field (`done`), or still has to (`due`).
    FieldScan,
    /// Numbers of statuses that were looked up in vain since the last refresh, separated by commas.
    UnknownStatuses,
    /// The same of ticket types.
    UnknownTypes,
    /// By how many seconds the clocks of the server's nodes differ, as far as a step backwards showed it.
    ClockDifference,
}

impl Probe {
    /// The word in `server_probes.probe`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A row of `server_probes`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ServerProbe {
    /// What it is about.
    pub probe: Probe,
    /// The result; each probe has its own set of words.
    pub result: String,
    /// How the result was found.
    pub details: Option<String>,
    /// When it was found or refreshed, by the local clock.
    pub probed_at: Timestamp,
}

impl ServerProbe {
    /// Parses the result as one of the words of this probe.
    ///
    /// # Errors
    /// [`StoreError::InvalidData`] if the word is unknown.
    pub fn parse_result<T: FromStr>(&self) -> Result<T, StoreError> {
        parse_word(&format!("result of the probe {}", self.probe.as_str()), &self.result)
    }
}

impl ReadTx<'_> {
    /// The last result of a probe.
    pub fn probe(&self, probe: Probe) -> Result<Option<ServerProbe>, StoreError> {
        Ok(self.probes()?.into_iter().find(|it| it.probe == probe))
    }

    /// The last results of all probes, by name.
    pub fn probes(&self) -> Result<Vec<ServerProbe>, StoreError> {
        let sql = "SELECT probe, result, details, probed_at FROM server_probes ORDER BY probe";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        let mut probes = Vec::new();
        while let Some(row) = rows.next()? {
            probes.push(ServerProbe {
                probe: parse_word("server_probes.probe", &row.get::<_, String>(0)?)?,
                result: row.get(1)?,
                details: row.get(2)?,
                probed_at: parse_timestamp(&row.get::<_, String>(3)?)?,
            });
        }
        Ok(probes)
    }
}

impl WriteTx<'_> {
    /// Stores the result of a probe.
    pub fn record_probe(
        &self,
        probe: Probe,
        result: &str,
        details: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.connection.execute(
            "INSERT OR REPLACE INTO server_probes (probe, result, details, probed_at) VALUES (?1, ?2, ?3, ?4)",
            (probe.as_str(), result, details, now.to_string()),
        )?;
        Ok(())
    }

    /// Deletes the result of a probe.
    pub fn delete_probe(&self, probe: Probe) -> Result<(), StoreError> {
        self.connection.execute("DELETE FROM server_probes WHERE probe = ?1", [probe.as_str()])?;
        Ok(())
    }

    /// Replaces the result of a probe, if there is one and it differs.
    pub fn update_probe_result(&self, probe: Probe, result: &str, now: Timestamp) -> Result<(), StoreError> {
        self.connection.execute(
            "UPDATE server_probes SET result = ?2, details = NULL, probed_at = ?3
             WHERE probe = ?1 AND result <> ?2",
            (probe.as_str(), result, now.to_string()),
        )?;
        Ok(())
    }
}
