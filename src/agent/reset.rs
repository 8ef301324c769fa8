//! Moves the watermark back by hand, so that the next pass asks again for what was updated since.
//!
//! Back only: forward it goes by itself, when a walk was counted. No row is touched; what comes again
//! unchanged leaves no trace in the log.

use super::{AgentError, Loaded, now, options, wanted_scope};
use crate::store::{Fate, Lock, Store, StoreError};
use crate::sync;
use crate::ticket::Stamp;
use crate::watermark::{State, Watermark};

/// A move that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reset {
    /// Where the watermark was.
    pub from: Stamp,
    /// Where it is now.
    pub to: Stamp,
    /// From when on the next following walk asks, at the latest.
    pub asks_from: Stamp,
}

/// Why the watermark cannot be moved as wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResetProblem {
    /// The copy was never complete.
    #[error("there is no watermark to move yet: the copy was never complete")]
    NoMark,
    /// Nothing can be complete up to a time that is not here yet.
    #[error("{0} lies in the future")]
    Future(Stamp),
    /// That would promise rows that nobody has seen.
    #[error("{to} is later than the watermark, which is at {mark}")]
    Forward {
        /// The time wanted.
        to: Stamp,
        /// Where the watermark is.
        mark: Stamp,
    },
}

/// Where the watermark is, if it may be moved to `to`.
fn may_move(mark: Option<&Watermark>, to: Stamp, now: Stamp) -> Result<Stamp, ResetProblem> {
    if now < to {
        return Err(ResetProblem::Future(to));
    }
    match mark {
        Some(Watermark { state: State::Following, covered_until: Some(mark), .. }) if to <= *mark => {
            Ok(*mark)
        }
        Some(Watermark { state: State::Following, covered_until: Some(mark), .. }) => {
            Err(ResetProblem::Forward { to, mark: *mark })
        }
        _ => Err(ResetProblem::NoMark),
    }
}

/// Moves the watermark back to `to`; the journal gets the reason as `reset: <reason>`.
///
/// # Errors
/// [`AgentError`]; nothing was changed then.
pub fn reset(loaded: &Loaded, to: Stamp, reason: &str) -> Result<Reset, AgentError> {
    let config = &loaded.config;
    let path = &config.store.path;
    if !path.exists() {
        return Err(StoreError::Missing(path.clone()).into());
    }
    Store::check_folder(path)?;
    let _lock = Lock::of_the_writer(path)?;
    // An empty file is no database yet, and is not made one here.
    drop(Store::open_read_only(path, config.store.busy_timeout)?);
    let at = now();
    let mut moved = None;
    let mut store = Store::open_where(path, &options(config), |snapshot| {
        sync::same_server(snapshot, &wanted_scope(config))?;
        moved = Some(may_move(snapshot.watermark()?.as_ref(), to, at)?);
        Ok::<_, AgentError>(())
    })?;
    let from = moved.ok_or(ResetProblem::NoMark)?;
    store.write(Fate::Commit, |writing| writing.reset_watermark(to, reason, at))?;
    store.close()?;
    Ok(Reset { from, to, asks_from: to.minus(config.sync.overlap) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::{MAPPING, Scope};
    use chrono::DateTime;

    fn at(second: i64) -> Stamp {
        Stamp::new(DateTime::from_timestamp(1_790_000_000 + second, 0).unwrap()).unwrap()
    }

    #[test]
    fn the_watermark_goes_back_by_hand_and_never_forward() {
        let scope = Scope {
            server: "https://halo.example".into(),
            tenant: String::new(),
            ticket_types: vec![],
            custom_fields: false,
            mapping: MAPPING,
        };
        let filling = Watermark::of_nothing(scope);
        let following = Watermark { state: State::Following, covered_until: Some(at(0)), ..filling.clone() };
        let (now, mark) = (at(60), at(0));
        for (name, stands, to, expected) in [
            ("back", Some(&following), at(-1), Ok(mark)),
            ("to where it is", Some(&following), mark, Ok(mark)),
            ("forward", Some(&following), at(1), Err(ResetProblem::Forward { to: at(1), mark })),
            ("into the future", Some(&following), at(61), Err(ResetProblem::Future(at(61)))),
            ("while filling", Some(&filling), at(-1), Err(ResetProblem::NoMark)),
            ("of nothing", None, at(-1), Err(ResetProblem::NoMark)),
        ] {
            assert_eq!(may_move(stands, to, now), expected, "{name}");
        }
    }
}
