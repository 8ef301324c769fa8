//! Faults: failures that are injected into requests.
//!
//! A fault is specified as `ENDPOINT[@[WHEN][xTIMES]]:EFFECT[=VALUE]`, see [`ServerFault::parse`]. Requests are counted
//! from the injection, so `list@1:…` means the next list request.

use std::fmt;
use std::fmt::Write;

use crate::effect::{EFFECTS, Effect};
use crate::endpoint::ApiEndpoint;
use crate::rng::SeededRng;

/// A failure to inject.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerFault {
    /// The endpoint; `None` for all.
    pub endpoint: Option<ApiEndpoint>,
    /// Which requests to the endpoint are affected.
    pub trigger: Trigger,
    /// The maximum number of affected requests; `None` for no limit.
    pub times: Option<u32>,
    /// What happens to an affected request.
    pub effect: Effect,
}

/// Which requests a fault affects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// All requests.
    Always,
    /// Requests from the first number to the second, inclusive, counted from 1 since the injection.
    Requests(u32, u32),
    /// Every n-th request.
    Every(u32),
    /// Requests for this page.
    Page(u32),
    /// Requests over every n-th connection.
    Connection(u32),
    /// Each request with this probability in percent, drawn from the seed.
    Probability(u32),
}

/// An error in a fault specification; the message lists the known words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultSpecError(String);

impl fmt::Display for FaultSpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FaultSpecError {}

impl ServerFault {
    /// Creates a fault that affects every request to `endpoint`.
    #[must_use]
    pub fn at(endpoint: ApiEndpoint, effect: Effect) -> ServerFault {
        ServerFault { endpoint: Some(endpoint), trigger: Trigger::Always, times: None, effect }
    }

    /// Limits the fault to some requests.
    #[must_use]
    pub fn when(self, trigger: Trigger) -> ServerFault {
        ServerFault { trigger, ..self }
    }

    /// Limits the number of affected requests.
    #[must_use]
    pub fn at_most(self, times: u32) -> ServerFault {
        ServerFault { times: Some(times), ..self }
    }

    /// Parses `ENDPOINT[@[WHEN][xTIMES]]:EFFECT[=VALUE]`, for example `list@3:status=503`, `list@page2x1:cut`,
    /// `any@chance5:reset`, `token@..2:status=500`.
    ///
    /// # Errors
    /// If a word or value is unknown; the message lists the known ones.
    pub fn parse(text: &str) -> Result<ServerFault, FaultSpecError> {
        let (target, effect) = text.split_once(':').ok_or_else(|| {
            FaultSpecError(format!("`{text}` is not of the form ENDPOINT[@[WHEN][xTIMES]]:EFFECT[=VALUE]"))
        })?;
        let (endpoint, when) =
            target.split_once('@').map_or((target, None), |(endpoint, when)| (endpoint, Some(when)));
        let (trigger, times) = when.map_or(Ok((Trigger::Always, None)), parse_trigger)?;
        Ok(ServerFault { endpoint: parse_endpoint(endpoint)?, trigger, times, effect: parse_effect(effect)? })
    }

    /// Returns the table of effects as Markdown; a test compares it with `docs/simulator.md`.
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
        FaultSpecError(format!("unknown endpoint `{text}`; known endpoints: any, {}", names.join(", ")))
    })
}

fn parse_trigger(text: &str) -> Result<(Trigger, Option<u32>), FaultSpecError> {
    let invalid = || {
        FaultSpecError(format!(
            "invalid condition `{text}`; use N, N..M, N.., ..M, everyN, pageN, connN or chanceN, and xN for at most N times"
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
    } else if let Some(every) = condition.strip_prefix("conn") {
        Trigger::Connection(number(every)?)
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
    let spec = EFFECTS.iter().find(|spec| spec.name.eq_ignore_ascii_case(name)).ok_or_else(|| {
        let names: Vec<_> = EFFECTS.iter().map(|spec| spec.name).collect();
        FaultSpecError(format!("unknown effect `{name}`; known effects: {}", names.join(", ")))
    })?;
    (spec.parse)(value).ok_or_else(|| {
        FaultSpecError(format!(
            "invalid value `{}` for effect `{}`; allowed: {}",
            value.unwrap_or(""),
            spec.name,
            spec.value
        ))
    })
}

/// The injected faults with their counters.
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

    /// Counts a request and returns the effects of the faults that affect it. The number of the connection is 0 without
    /// one.
    pub(crate) fn matching(
        &mut self,
        endpoint: ApiEndpoint,
        page: Option<u32>,
        connection: u64,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        for active in &mut self.active {
            let ActiveFault { fault, requests_seen, times_applied } = active;
            if fault.endpoint.is_some_and(|at| at != endpoint) {
                continue;
            }
            *requests_seen = requests_seen.saturating_add(1);
            let affected = match fault.trigger {
                Trigger::Always => true,
                Trigger::Requests(from, to) => (from..=to).contains(requests_seen),
                Trigger::Every(step) => *requests_seen % step == 0,
                Trigger::Page(wanted) => page == Some(wanted),
                Trigger::Connection(step) => connection > 0 && connection.is_multiple_of(u64::from(step)),
                Trigger::Probability(percent) => self.chance.per_mille(u64::from(percent) * 10),
            };
            if affected && fault.times.is_none_or(|times| *times_applied < times) {
                *times_applied = times_applied.saturating_add(1);
                effects.push(fault.effect.clone());
            }
        }
        effects
    }
}
