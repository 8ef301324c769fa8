//! Stored facts about the server, and when something about it was last refreshed.

use std::str::FromStr;

use strum::{EnumString, IntoStaticStr};

use super::tx::{parse_timestamp, parse_word};
use super::{ReadTx, StoreError, WriteTx};
use crate::ticket::{ExtraSet, Timestamp};

/// What is known about the server, or refreshed from it (`server_probes.probe`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, EnumString, serde::Serialize)]
#[strum(serialize_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// How the server applies the lower bound of `last_update`.
    DateFilter,
    /// Which lists together contain every ticket.
    ListCoverage,
    /// When it was last asked which statuses are closed.
    ClosedStatuses,
    /// Whether the list contains custom fields.
    CustomFields,
    /// When the definitions of custom fields were last refreshed, and where they come from.
    FieldList,
    /// A flag: whether a full scan has requested every known custom field (`done`), or still has to (`due`).
    FieldScan,
    /// Which extras the rows of the list carry.
    ListExtras,
    /// By how many seconds the clocks of the server's nodes differ, as far as a step backwards showed it.
    ClockDifference,
    /// Where tokens are requested, as the server says; the details are the address.
    TokenUrl,
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

    /// Which extras the rows of the list carry, as far as scans showed it.
    pub fn carried_extras(&self) -> Result<ExtraSet, StoreError> {
        self.probe(Probe::ListExtras)?.map_or_else(|| Ok(ExtraSet::default()), |probe| probe.parse_result())
    }

    /// Which of the extras any stored ticket has a value of.
    pub fn stored_extras(&self) -> Result<ExtraSet, StoreError> {
        let mut stored = Vec::new();
        for column in ExtraSet::ALL.columns() {
            let sql = format!("SELECT EXISTS (SELECT 1 FROM ticket_extra WHERE {column} IS NOT NULL)");
            if self.connection.query_row(&sql, [], |row| row.get(0))? {
                stored.push(column);
            }
        }
        parse_word("column of ticket_extra", &stored.join(","))
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

    /// Records which extras a scan saw that the list carries. An extra that no row of a `whole` list carried although values of
    /// it are stored is carried no longer; those are returned.
    pub fn update_carried_extras(
        &self,
        shown: ExtraSet,
        whole: bool,
        now: Timestamp,
    ) -> Result<ExtraSet, StoreError> {
        let read_tx = self.as_read_tx();
        let carried = read_tx.carried_extras()?;
        let mut hidden = ExtraSet::default();
        if whole && !carried.without(shown).is_empty() {
            hidden = carried.without(shown).intersection(read_tx.stored_extras()?);
        }
        let now_carried = carried.union(shown).without(hidden);
        if now_carried != carried {
            self.record_probe(Probe::ListExtras, &now_carried.to_string(), None, now)?;
        }
        Ok(hidden)
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
