//! Moves the watermark back by hand, so that the next pass asks again for what was updated since.
//!
//! Back only: forward it goes by itself, when a walk was counted. No row is touched; what comes again
//! unchanged leaves no trace in the log.

use super::{AppError, LoadedConfig, configured_scope, now, store_options};
use crate::store::{Lock, Store, StoreError, TxEnd};
use crate::sync;
use crate::ticket::Timestamp;
use crate::watermark::{Watermark, WatermarkState};

/// A move that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatermarkReset {
    /// Where the watermark was.
    pub from: Timestamp,
    /// Where it is now.
    pub to: Timestamp,
    /// From when on the next following walk asks, at the latest.
    pub next_scan_from: Timestamp,
}

/// Why the watermark cannot be moved as wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResetError {
    /// The copy was never complete.
    #[error("there is no watermark to move yet: the copy was never complete")]
    NoWatermark,
    /// Nothing can be complete up to a time that is not here yet.
    #[error("{0} lies in the future")]
    Future(Timestamp),
    /// That would promise rows that nobody has seen.
    #[error("{to} is later than the watermark, which is at {watermark}")]
    Forward {
        /// The time wanted.
        to: Timestamp,
        /// Where the watermark is.
        watermark: Timestamp,
    },
}

/// Where the watermark is, if it may be moved to `to`.
fn check_reset(
    watermark: Option<&Watermark>,
    to: Timestamp,
    now: Timestamp,
) -> Result<Timestamp, ResetError> {
    if now < to {
        return Err(ResetError::Future(to));
    }
    match watermark {
        Some(Watermark {
            state: WatermarkState::Incremental, covered_until: Some(covered_until), ..
        }) if to <= *covered_until => Ok(*covered_until),
        Some(Watermark {
            state: WatermarkState::Incremental, covered_until: Some(covered_until), ..
        }) => Err(ResetError::Forward { to, watermark: *covered_until }),
        _ => Err(ResetError::NoWatermark),
    }
}

/// Moves the watermark back to `to`; the journal gets the reason as `reset: <reason>`.
///
/// # Errors
/// [`AgentError`]; nothing was changed then.
pub fn reset(loaded: &LoadedConfig, to: Timestamp, reason: &str) -> Result<WatermarkReset, AppError> {
    let config = &loaded.config;
    let path = &config.store.path;
    if !path.exists() {
        return Err(StoreError::Missing(path.clone()).into());
    }
    Store::check_folder(path)?;
    let _lock = Lock::acquire_writer(path)?;
    // An empty file is no database yet, and is not made one here.
    drop(Store::open_read_only(path, config.store.busy_timeout)?);
    let at = now();
    let mut previous = None;
    let mut store = Store::open_checked(path, &store_options(config), |tx| {
        sync::check_same_server(tx, &configured_scope(config))?;
        previous = Some(check_reset(tx.watermark()?.as_ref(), to, at)?);
        Ok::<_, AppError>(())
    })?;
    let from = previous.ok_or(ResetError::NoWatermark)?;
    store.write(TxEnd::Commit, |tx| tx.reset_watermark(to, reason, at))?;
    store.close()?;
    Ok(WatermarkReset { from, to, next_scan_from: to.minus(config.sync.overlap) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::{MAPPING_VERSION, Scope};
    use chrono::DateTime;

    fn at(second: i64) -> Timestamp {
        Timestamp::new(DateTime::from_timestamp(1_790_000_000 + second, 0).unwrap()).unwrap()
    }

    #[test]
    fn reset_moves_the_watermark_back_never_forward() {
        let scope = Scope {
            server: "https://halo.example".into(),
            tenant: String::new(),
            ticket_types: vec![],
            custom_fields: false,
            mapping: MAPPING_VERSION,
        };
        let initial = Watermark::new(scope);
        let incremental =
            Watermark { state: WatermarkState::Incremental, covered_until: Some(at(0)), ..initial.clone() };
        let (now, watermark) = (at(60), at(0));
        for (name, stored, to, expected) in [
            ("back", Some(&incremental), at(-1), Ok(watermark)),
            ("to where it is", Some(&incremental), watermark, Ok(watermark)),
            ("forward", Some(&incremental), at(1), Err(ResetError::Forward { to: at(1), watermark })),
            ("into the future", Some(&incremental), at(61), Err(ResetError::Future(at(61)))),
            ("while filling", Some(&initial), at(-1), Err(ResetError::NoWatermark)),
            ("of nothing", None, at(-1), Err(ResetError::NoWatermark)),
        ] {
            assert_eq!(check_reset(stored, to, now), expected, "{name}");
        }
    }
}
