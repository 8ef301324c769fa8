//! When the next pass begins.
//!
//! Pure: how long the last one took, how many failed and chance come in, a wait goes out.

use std::time::Duration;

/// The rhythm of the settings.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunSchedule {
    /// From the beginning of a pass to that of the next.
    pub(super) interval: Duration,
    /// By what share of it a wait may be shorter or longer.
    pub(super) jitter: f64,
}

/// The first wait after a failure; each further one is twice as long, up to the interval.
const FIRST_RETRY_DELAY: Duration = Duration::from_secs(10);

impl RunSchedule {
    /// How long to wait when a pass has ended that took that long and was the last of so many `failures`
    /// in a row. `chance` is a number in `0.0..1.0`.
    ///
    /// Ticks that went by meanwhile are not made up for: the next one on the grid counts.
    pub(super) fn delay_after(&self, took: Duration, failures: u32, random: f64) -> Duration {
        let spread = self.jitter * (2.0 * random - 1.0);
        let (wait, span) = match failures {
            0 => {
                let since_tick = took.as_nanos() % self.interval.as_nanos().max(1);
                let since_tick = Duration::from_nanos(u64::try_from(since_tick).unwrap_or(u64::MAX));
                (self.interval.saturating_sub(since_tick), self.interval)
            }
            failures => {
                let doubled = FIRST_RETRY_DELAY.saturating_mul(1 << (failures - 1).min(20));
                let wait = doubled.min(self.interval);
                (wait, wait)
            }
        };
        Duration::try_from_secs_f64(wait.as_secs_f64() + span.as_secs_f64() * spread).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const SCHEDULE: RunSchedule = RunSchedule { interval: Duration::from_mins(5), jitter: 0.1 };

    #[rstest]
    #[case::a_quick_pass(0.0, 300.0)]
    #[case::a_pass_of_a_minute(60.0, 240.0)]
    #[case::a_missed_tick_is_not_made_up_for(301.0, 299.0)]
    #[case::nor_are_many_of_them(3_000.0, 300.0)]
    #[case::a_night_of_them(36_010.0, 290.0)]
    fn runs_start_on_the_interval_grid(#[case] took: f64, #[case] waits: f64) {
        let wait = SCHEDULE.delay_after(Duration::from_secs_f64(took), 0, 0.5);
        assert!((wait.as_secs_f64() - waits).abs() < 1e-6, "{wait:?} after {took} s");
    }

    #[test]
    fn failed_runs_are_retried_with_backoff_up_to_the_interval() {
        let waits: Vec<_> =
            (1..=8).map(|failures| SCHEDULE.delay_after(Duration::ZERO, failures, 0.5).as_secs()).collect();
        assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300, 300]);
        assert_eq!(SCHEDULE.delay_after(Duration::ZERO, u32::MAX, 0.5).as_secs(), 300);
        let quick = RunSchedule { interval: Duration::from_secs(2), jitter: 0.0 };
        assert_eq!(quick.delay_after(Duration::ZERO, 1, 0.5), Duration::from_secs(2));
    }

    #[test]
    fn delays_vary_by_at_most_the_jitter() {
        for (random, regular, after_failure) in [(0.0, 270.0, 9.0), (0.5, 300.0, 10.0), (1.0, 330.0, 11.0)] {
            let wait = |failures| SCHEDULE.delay_after(Duration::ZERO, failures, random).as_secs_f64();
            assert!((wait(0) - regular).abs() < 1e-6, "{} for chance {random}", wait(0));
            assert!((wait(1) - after_failure).abs() < 1e-6, "{} for chance {random}", wait(1));
        }
        // A tick that is nearer than the jitter is now.
        assert_eq!(SCHEDULE.delay_after(Duration::from_secs(290), 0, 0.0), Duration::ZERO);
    }
}
