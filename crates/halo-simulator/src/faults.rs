//! Faults: what can go wrong with a request, and when it does.
//!
//! A fault is written `ENDPOINT[@[WHEN][xTIMES]]:EFFECT[=VALUE]`, see [`Fault::read`]. Counting begins when the fault is
//! injected, so `list@1:…` means the next list request.

use std::fmt;
use std::fmt::Write;

use crate::effect::{EFFECTS, Effect};
use crate::endpoint::ApiEndpoint;
use crate::rng::SeededRng;

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerFault {
    /// The place it happens at, `None` for all.
    pub endpoint: Option<ApiEndpoint>,
    /// Which requests there it hits.
    pub trigger: Trigger,
    /// How often it happens at most, `None` without end.
    pub times: Option<u32>,
    /// What happens.
    pub effect: Effect,
}

/// Which requests a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// All of them.
    Always,
    /// Those with these numbers, counted from 1 and from the injection, both included.
    Requests(u32, u32),
    /// Every so many-th.
    Every(u32),
    /// Those that ask for this page.
    Page(u32),
    /// Each with this probability in per cent, by the seed.
    Probability(u32),
}

/// Why a text is no fault; the message names the words that are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultSpecError(String);

impl fmt::Display for FaultSpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FaultSpecError {}

impl ServerFault {
    /// A fault that hits every request to `endpoint`.
    #[must_use]
    pub fn at(endpoint: ApiEndpoint, effect: Effect) -> ServerFault {
        ServerFault { endpoint: Some(endpoint), trigger: Trigger::Always, times: None, effect }
    }

    /// The same fault, hitting only those requests.
    #[must_use]
    pub fn when(self, trigger: Trigger) -> ServerFault {
        ServerFault { trigger, ..self }
    }

    /// The same fault, happening at most so often.
    #[must_use]
    pub fn at_most(self, times: u32) -> ServerFault {
        ServerFault { times: Some(times), ..self }
    }

    /// Reads `ENDPOINT[@[WHEN][xTIMES]]:EFFECT[=VALUE]`, for example `list@3:status=503`, `list@page2x1:cut`,
    /// `any@chance5:reset`, `token@..2:status=500`.
    ///
    /// # Errors
    /// When a word is not known; the message names those that are.
    pub fn parse(text: &str) -> Result<ServerFault, FaultSpecError> {
        let (target, effect) = text.split_once(':').ok_or_else(|| {
            FaultSpecError(format!("`{text}` is not of the form ENDPOINT[@[WHEN][xTIMES]]:EFFECT[=VALUE]"))
        })?;
        let (endpoint, when) =
            target.split_once('@').map_or((target, None), |(endpoint, when)| (endpoint, Some(when)));
        let (trigger, times) = when.map_or(Ok((Trigger::Always, None)), parse_trigger)?;
        Ok(ServerFault { endpoint: parse_endpoint(endpoint)?, trigger, times, effect: parse_effect(effect)? })
    }

    /// The table of effects as Markdown; `docs/simulator.md` holds it, a test keeps the two equal.
    #[must_use]
    pub fn markdown() -> String {
        let mut text = String::from("| effect | value | what happens |\n|---|---|---|\n");
        for spec in EFFECTS {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "| `{}` | {} | {} |", spec.name, spec.value, spec.description);
        }
        text
    }
}

fn parse_endpoint(text: &str) -> Result<Option<ApiEndpoint>, FaultSpecError> {
    if text.eq_ignore_ascii_case("any") {
        return Ok(None);
    }
    let known = ApiEndpoint::NAMES.iter().find(|(_, name)| name.eq_ignore_ascii_case(text));
    known.map(|(endpoint, _)| Some(*endpoint)).ok_or_else(|| {
        let names: Vec<_> = ApiEndpoint::NAMES.iter().map(|(_, name)| *name).collect();
        FaultSpecError(format!("no endpoint is called `{text}`; there are any, {}", names.join(", ")))
    })
}

fn parse_trigger(text: &str) -> Result<(Trigger, Option<u32>), FaultSpecError> {
    let invalid = || {
        FaultSpecError(format!(
            "`{text}` is no moment; write N, N..M, N.., ..M, everyN, pageN or chanceN, and xN for at most N times"
        ))
    };
    let number = |digits: &str| digits.parse::<u32>().ok().filter(|&number| number > 0).ok_or_else(invalid);
    let (condition, times) = match text.rsplit_once('x') {
        Some((condition, times)) => (condition, Some(number(times)?)),
        None => (text, None),
    };
    let trigger = if condition.is_empty() {
        Trigger::Always
    } else if let Some(every) = condition.strip_prefix("every") {
        Trigger::Every(number(every)?)
    } else if let Some(page) = condition.strip_prefix("page") {
        Trigger::Page(number(page)?)
    } else if let Some(chance) = condition.strip_prefix("chance") {
        Trigger::Probability(number(chance.trim_end_matches('%'))?)
    } else if let Some((from, to)) = condition.split_once("..") {
        let from = if from.is_empty() { 1 } else { number(from)? };
        Trigger::Requests(from, if to.is_empty() { u32::MAX } else { number(to)? })
    } else {
        let request = number(condition)?;
        Trigger::Requests(request, request)
    };
    Ok((trigger, times))
}

fn parse_effect(text: &str) -> Result<Effect, FaultSpecError> {
    let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
    let spec = EFFECTS.iter().find(|word| word.name.eq_ignore_ascii_case(name)).ok_or_else(|| {
        let names: Vec<_> = EFFECTS.iter().map(|spec| spec.name).collect();
        FaultSpecError(format!("no effect is called `{name}`; there are {}", names.join(", ")))
    })?;
    (spec.parse)(value).ok_or_else(|| {
        FaultSpecError(format!(
            "`{}` is not a value of {}; it takes {}",
            value.unwrap_or(""),
            spec.name,
            spec.value
        ))
    })
}

/// The faults that are waiting, each with what it has seen so far.
#[derive(Debug)]
pub(crate) struct FaultInjector {
    active: Vec<ActiveFault>,
    chance: SeededRng,
}

#[derive(Debug)]
struct ActiveFault {
    fault: ServerFault,
    requests_seen: u32,
    times_applied: u32,
}

impl FaultInjector {
    pub(crate) fn new(faults: Vec<ServerFault>, seed: u64) -> FaultInjector {
        let mut injector = FaultInjector { active: Vec::new(), chance: SeededRng::from_seed(seed ^ 0xFA17) };
        for fault in faults {
            injector.add(fault);
        }
        injector
    }

    pub(crate) fn add(&mut self, fault: ServerFault) {
        self.active.push(ActiveFault { fault, requests_seen: 0, times_applied: 0 });
    }

    pub(crate) fn clear(&mut self) {
        self.active.clear();
    }

    /// What hits this request.
    pub(crate) fn matching(&mut self, endpoint: ApiEndpoint, page: Option<u32>) -> Vec<Effect> {
        let mut effects = Vec::new();
        for active in &mut self.active {
            let ActiveFault { fault, requests_seen, times_applied } = active;
            if fault.endpoint.is_some_and(|at| at != endpoint) {
                continue;
            }
            *requests_seen = requests_seen.saturating_add(1);
            let hits = match fault.trigger {
                Trigger::Always => true,
                Trigger::Requests(from, to) => (from..=to).contains(requests_seen),
                Trigger::Every(step) => *requests_seen % step == 0,
                Trigger::Page(wanted) => page == Some(wanted),
                Trigger::Probability(percent) => self.chance.per_mille(u64::from(percent) * 10),
            };
            if hits && fault.times.is_none_or(|times| *times_applied < times) {
                *times_applied = times_applied.saturating_add(1);
                effects.push(fault.effect.clone());
            }
        }
        effects
    }
}
