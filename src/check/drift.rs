//! What the server does differently than before: new fields, late changes. Pure, but for reading what was stored of it.

use chrono::TimeDelta;

use super::CheckOutcome;
use crate::app::{self, count};
use crate::config::Config;
use crate::store::{Lateness, ReadTx, StoreError, UnmappedField};
use crate::sync::{fields_to_text, lateness_to_text, lateness_warning, overlap_line, seconds_to_text};

/// So many fields are named.
const NAMED_MAX: usize = 20;

/// What runs have seen.
pub(super) struct SeenDrift {
    /// How many fields are known that are not stored; `None` where nobody looked.
    known_fields: Option<u64>,
    /// Those that the server sends for at most seven days.
    new_fields: Vec<UnmappedField>,
    /// The greatest lateness of the last thirty days.
    lateness: Option<Lateness>,
    overlap: TimeDelta,
}

impl SeenDrift {
    pub(super) fn read(tx: &ReadTx<'_>, config: &Config) -> Result<SeenDrift, StoreError> {
        let now = app::now();
        let mut new_fields = tx.unmapped_fields_since(now.minus(app::NEW_FIELDS_FOR))?;
        new_fields.retain(|field| !field.in_first_search);
        Ok(SeenDrift {
            known_fields: tx.unmapped_field_count()?,
            new_fields,
            lateness: tx.greatest_lateness(now.minus(app::LATENESS_FOR))?,
            overlap: config.sync.overlap,
        })
    }

    /// Names the new fields. That the server sends more than before is no fault.
    pub(super) fn new_fields(&self) -> CheckOutcome {
        let Some(known) = self.known_fields else {
            return CheckOutcome::Ok("not known yet: the first runs look for them".into());
        };
        let known = format!("{} of the server not stored", count(known, "field"));
        CheckOutcome::Ok(if self.new_fields.is_empty() {
            format!("none in the last 7 days; {known}")
        } else {
            format!("{}; {known}", fields_to_text(&self.new_fields, NAMED_MAX))
        })
    }

    /// Compares the greatest lateness with the overlap.
    pub(super) fn lateness(&self) -> CheckOutcome {
        let Some(Lateness { late_by, measured_at }) = self.lateness else {
            return CheckOutcome::Ok("no change was late in the last 30 days".into());
        };
        let overlap = seconds_to_text(self.overlap);
        let found = format!(
            "up to {} late in the last 30 days, the most delayed found {}; `overlap` is {overlap}",
            lateness_to_text(late_by),
            measured_at.to_second(),
        );
        if lateness_warning(late_by, self.overlap).is_none() {
            return CheckOutcome::Ok(found);
        }
        let line = overlap_line(late_by);
        CheckOutcome::warning(
            found,
            format!("set `{line}` in `[sync]`: only a full scan finds what is later than the overlap"),
        )
    }
}
