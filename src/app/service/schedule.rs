//! When the next run starts. Pure.

use std::time::Duration;

/// The interval of runs, from the settings.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunSchedule {
    /// The time from the start of a run to the start of the next.
    pub(super) interval: Duration,
    /// The share of the interval by which a delay varies in both directions.
    pub(super) jitter: f64,
}

/// The delay after the first failure; each further one doubles it, up to the interval.
const FIRST_RETRY_DELAY: Duration = Duration::from_secs(10);

impl RunSchedule {
    /// The delay after a run that took `took` and was the last of `failures` failed runs in a row. `random` is a
    /// number in `0.0..1.0`.
    ///
    /// Runs start on a grid of intervals; starts that were missed meanwhile are not made up for.
    pub(super) fn delay_after(&self, took: Duration, failures: u32, random: f64) -> Duration {
        let spread = self.jitter * (2.0 * random - 1.0);
        let (delay, span) = match failures {
            0 => {
                let since_tick = took.as_nanos() % self.interval.as_nanos().max(1);
                let since_tick = Duration::from_nanos(u64::try_from(since_tick).unwrap_or(u64::MAX));
                (self.interval.saturating_sub(since_tick), self.interval)
            }
            failures => {
                let doubled = FIRST_RETRY_DELAY.saturating_mul(1 << (failures - 1).min(20));
                let delay = doubled.min(self.interval);
                (delay, delay)
            }
        };
        Duration::try_from_secs_f64(delay.as_secs_f64() + span.as_secs_f64() * spread).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const SCHEDULE: RunSchedule = RunSchedule { interval: Duration::from_mins(5), jitter: 0.1 };

    #[rstest]
    #[case::a_quick_run(0.0, 300.0)]
    #[case::a_run_of_a_minute(60.0, 240.0)]
    #[case::a_missed_start_is_not_made_up_for(301.0, 299.0)]
    #[case::ten_missed_starts(3_000.0, 300.0)]
    #[case::ten_hours_of_missed_starts(36_010.0, 290.0)]
    fn runs_start_on_the_interval_grid(#[case] took: f64, #[case] delay: f64) {
        let found = SCHEDULE.delay_after(Duration::from_secs_f64(took), 0, 0.5);
        assert!((found.as_secs_f64() - delay).abs() < 1e-6, "{found:?} after {took} s");
    }

    #[test]
    fn failed_runs_are_retried_with_backoff_up_to_the_interval() {
        let delays: Vec<_> =
            (1..=8).map(|failures| SCHEDULE.delay_after(Duration::ZERO, failures, 0.5).as_secs()).collect();
        assert_eq!(delays, [10, 20, 40, 80, 160, 300, 300, 300]);
        assert_eq!(SCHEDULE.delay_after(Duration::ZERO, u32::MAX, 0.5).as_secs(), 300);
        let quick = RunSchedule { interval: Duration::from_secs(2), jitter: 0.0 };
        assert_eq!(quick.delay_after(Duration::ZERO, 1, 0.5), Duration::from_secs(2));
    }

    #[test]
    fn delays_vary_by_at_most_the_jitter() {
        for (random, regular, after_failure) in [(0.0, 270.0, 9.0), (0.5, 300.0, 10.0), (1.0, 330.0, 11.0)] {
            let delay = |failures| SCHEDULE.delay_after(Duration::ZERO, failures, random).as_secs_f64();
            assert!((delay(0) - regular).abs() < 1e-6, "{} for {random}", delay(0));
            assert!((delay(1) - after_failure).abs() < 1e-6, "{} for {random}", delay(1));
        }
        // A start that is nearer than the jitter is now.
        assert_eq!(SCHEDULE.delay_after(Duration::from_secs(290), 0, 0.0), Duration::ZERO);
    }
}
