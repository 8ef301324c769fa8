//! The probe of the date filter: whether the server honors it, whether it is inclusive, and in which time zone it reads the
//! bound (`halo-api.md` §2.4). Which bound to ask for next is a pure decision.

use chrono::TimeDelta;

use super::context::RunContext;
use super::{SyncError, probe_results, probes};
use crate::halo::ListQuery;
use crate::store::Probe;
use crate::ticket::Timestamp;
use crate::watermark::{DateFilterBehavior, MAX_ZONE_DIFFERENCE};

/// Pages searched for one ticket, at most.
const PAGES_MAX: u32 = 10;

/// The lower bound of a probing request, relative to the `last_update` of a known ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProbeBound {
    /// The same time.
    At,
    /// Just after it.
    After,
    /// After it in every time zone.
    FarAfter,
    /// Just before it.
    Before,
    /// Before it in every time zone.
    FarBefore,
}

impl ProbeBound {
    /// Offset from the `last_update` of the ticket. At least one second: a server that truncates to whole seconds would not
    /// see a smaller difference.
    const fn offset(self) -> TimeDelta {
        match self {
            ProbeBound::At => TimeDelta::zero(),
            ProbeBound::After => TimeDelta::seconds(1),
            ProbeBound::FarAfter => MAX_ZONE_DIFFERENCE,
            ProbeBound::Before => TimeDelta::seconds(-1),
            ProbeBound::FarBefore => TimeDelta::hours(-MAX_ZONE_DIFFERENCE.num_hours()),
        }
    }
}

/// Whether the known ticket is in the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProbeAnswer {
    /// It is, with the same `last_update`.
    Listed,
    /// It is not.
    NotListed,
    /// It has changed since, or the answer is too long to tell.
    Inconclusive,
}

/// What to ask next, or what it all says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProbeStep {
    /// Ask with this bound.
    Ask(ProbeBound),
    /// That is how the filter works.
    Decided(DateFilterBehavior),
}

/// Decides after the answers so far, in the order in which they were asked for.
fn next_probe_step(answers: &[ProbeAnswer]) -> ProbeStep {
    use ProbeAnswer::{Inconclusive, Listed, NotListed};
    match answers {
        [] => ProbeStep::Ask(ProbeBound::At),
        [Listed] => ProbeStep::Ask(ProbeBound::After),
        [Listed, NotListed] => ProbeStep::Decided(DateFilterBehavior::Inclusive),
        [Listed, Listed] => ProbeStep::Ask(ProbeBound::FarAfter),
        [Listed, Listed, NotListed] => ProbeStep::Decided(DateFilterBehavior::Early),
        [Listed, Listed, Listed] => ProbeStep::Decided(DateFilterBehavior::Ignored),
        [NotListed] => ProbeStep::Ask(ProbeBound::Before),
        [NotListed, Listed] => ProbeStep::Decided(DateFilterBehavior::Exclusive),
        [NotListed, NotListed] => ProbeStep::Ask(ProbeBound::FarBefore),
        [NotListed, NotListed, Listed] => ProbeStep::Decided(DateFilterBehavior::Late),
        [.., Inconclusive | NotListed | Listed] => ProbeStep::Decided(DateFilterBehavior::Unknown),
    }
}

/// Finds out how the date filter works, with a ticket whose `last_update` is known.
pub(super) async fn probe(
    context: &RunContext,
    id: i64,
    last_update: Timestamp,
) -> Result<DateFilterBehavior, SyncError> {
    let mut answers = Vec::new();
    let filter = loop {
        match next_probe_step(&answers) {
            ProbeStep::Ask(bound) => answers.push(probe_with_bound(context, id, last_update, bound).await?),
            ProbeStep::Decided(filter) => break filter,
        }
    };
    let details = format!("{} requests about ticket {id}, updated {last_update}", answers.len());
    probe_results::record(context, Probe::DateFilter, filter.as_str(), Some(details)).await?;
    let result = filter.as_str();
    tracing::info!(result, "the date filter of the server: {result}");
    Ok(filter)
}

async fn probe_with_bound(
    context: &RunContext,
    id: i64,
    last_update: Timestamp,
    bound: ProbeBound,
) -> Result<ProbeAnswer, SyncError> {
    let from = last_update.plus(bound.offset());
    let (mut received, size) = (0, context.settings.page_size);
    let lists = probes::list_coverage(context)?.filters(&context.settings.scope.ticket_types, Some(from));
    for query in &lists.into_iter().map(ListQuery::from).collect::<Vec<_>>() {
        for number in 1..=PAGES_MAX {
            let page = context.halo.fetch_page(query, number, size).await?;
            if page.meta.is_aged() {
                return Ok(ProbeAnswer::Inconclusive);
            }
            let list = page.list;
            if let Some(ticket) = list.tickets.iter().find(|ticket| ticket.id() == id) {
                let same = ticket.last_update() == Some(last_update);
                return Ok(if same { ProbeAnswer::Listed } else { ProbeAnswer::Inconclusive });
            }
            received += list.rows_received as u64;
            if list.rows_received == 0 || list.record_count.is_some_and(|count| count <= received) {
                break;
            }
            if number == PAGES_MAX {
                return Ok(ProbeAnswer::Inconclusive);
            }
        }
        received = 0;
    }
    Ok(ProbeAnswer::NotListed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that shows what was updated at or after its own reading of the bound.
    fn run_probe(answer_for: impl Fn(TimeDelta) -> ProbeAnswer) -> (DateFilterBehavior, usize) {
        let mut answers = Vec::new();
        loop {
            match next_probe_step(&answers) {
                ProbeStep::Ask(bound) => answers.push(answer_for(bound.offset())),
                ProbeStep::Decided(filter) => return (filter, answers.len()),
            }
        }
    }

    #[test]
    fn date_filter_is_recognized_by_its_answers_in_every_time_zone() {
        let answer = |listed| if listed { ProbeAnswer::Listed } else { ProbeAnswer::NotListed };
        for minutes in (-12 * 60..=14 * 60).step_by(15) {
            let shift = TimeDelta::minutes(minutes);
            let expected = match minutes {
                0 => DateFilterBehavior::Inclusive,
                ..0 => DateFilterBehavior::Early,
                _ => DateFilterBehavior::Late,
            };
            let (found, requests) = run_probe(|offset| answer(offset + shift <= TimeDelta::zero()));
            assert_eq!(found, expected, "{minutes} minutes");
            assert!(requests <= 3);
        }
        assert_eq!(
            run_probe(|offset| answer(offset < TimeDelta::zero())),
            (DateFilterBehavior::Exclusive, 2)
        );
        assert_eq!(run_probe(|_| ProbeAnswer::Listed), (DateFilterBehavior::Ignored, 3));
        assert_eq!(run_probe(|_| ProbeAnswer::NotListed), (DateFilterBehavior::Unknown, 3));
        assert_eq!(run_probe(|_| ProbeAnswer::Inconclusive), (DateFilterBehavior::Unknown, 1));
    }
}
