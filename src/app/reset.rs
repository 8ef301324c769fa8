//! Moves the watermark back, so that the next run reads again what was updated since then.
//!
//! Only a complete run moves it forward. No row is touched, and rows that are received again unchanged leave
//! no change records.

use super::locked_store::open_existing;
use super::{AppError, LoadedConfig, ResetError, now};
use crate::store::{Lock, Store, StoreError, TxEnd};
use crate::ticket::Timestamp;
use crate::watermark::{Watermark, WatermarkState};

/// A watermark that was moved back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatermarkReset {
    /// Where the watermark was.
    pub from: Timestamp,
    /// Where it is now.
    pub to: Timestamp,
    /// The start of the next incremental scan, at the latest.
    pub next_scan_from: Timestamp,
}

/// Returns the present watermark if it may be moved to `to`.
fn check_reset(
    watermark: Option<&Watermark>,
    to: Timestamp,
    now: Timestamp,
) -> Result<Timestamp, ResetError> {
    if now < to {
        return Err(ResetError::Future(to));
    }
    let incremental = watermark.filter(|it| it.state == WatermarkState::Incremental);
    let watermark = incremental.and_then(|it| it.covered_until).ok_or(ResetError::NoWatermark)?;
    if watermark < to { Err(ResetError::Forward { to, watermark }) } else { Ok(watermark) }
}

/// Moves the watermark back to `to`; the journal gets the reason as `reset: <reason>`.
pub fn reset(loaded: &LoadedConfig, to: Timestamp, reason: &str) -> Result<WatermarkReset, AppError> {
    let config = &loaded.config;
    let path = &config.store.path;
    if !path.exists() {
        return Err(StoreError::Missing(path.clone()).into());
    }
    Store::check_folder(path)?;
    let _lock = Lock::acquire_writer(path)?;
    let at = now();
    let mut previous = None;
    let mut store = open_existing(config, |tx| {
        previous = Some(check_reset(tx.watermark()?.as_ref(), to, at)?);
        Ok(())
    })?;
    let from = previous.ok_or(ResetError::NoWatermark)?;
    store.write(TxEnd::Commit, |tx| tx.reset_watermark(to, reason, at))?;
    store.close()?;
    Ok(WatermarkReset { from, to, next_scan_from: to.minus(config.sync.overlap) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::Scope;
    use chrono::DateTime;

    fn at(second: i64) -> Timestamp {
        Timestamp::new(DateTime::from_timestamp(1_790_000_000 + second, 0).unwrap()).unwrap()
    }

    #[test]
    fn reset_moves_the_watermark_back_never_forward() {
        let scope = Scope::example();
        let initial = Watermark::new(scope);
        let incremental =
            Watermark { state: WatermarkState::Incremental, covered_until: Some(at(0)), ..initial.clone() };
        let (now, watermark) = (at(60), at(0));
        for (name, stored, to, expected) in [
            ("back", Some(&incremental), at(-1), Ok(watermark)),
            ("to the same time", Some(&incremental), watermark, Ok(watermark)),
            ("forward", Some(&incremental), at(1), Err(ResetError::Forward { to: at(1), watermark })),
            ("to the future", Some(&incremental), at(61), Err(ResetError::Future(at(61)))),
            ("during the initial load", Some(&initial), at(-1), Err(ResetError::NoWatermark)),
            ("without a watermark", None, at(-1), Err(ResetError::NoWatermark)),
        ] {
            assert_eq!(check_reset(stored, to, now), expected, "{name}");
        }
    }
}
