//! Faults: what can go wrong with a request, and when it does.
//!
//! A fault is written `ENDPOINT[@[WHEN][xTIMES]]:EFFECT[=VALUE]`, see [`Fault::read`]. Counting begins when the fault is
//! injected, so `list@1:…` means the next list request.

use std::fmt;
use std::fmt::Write;

use super::chance::Chance;
use super::effect::{EFFECTS, Effect};
use super::endpoint::Endpoint;

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// The place it happens at, `None` for all.
    pub endpoint: Option<Endpoint>,
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
    Chance(u32),
}

/// Why a text is no fault; the message names the words that are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultError(String);

impl fmt::Display for FaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FaultError {}

impl Fault {
    /// A fault that hits every request to `endpoint`.
    #[must_use]
    pub fn at(endpoint: Endpoint, effect: Effect) -> Fault {
        Fault { endpoint: Some(endpoint), trigger: Trigger::Always, times: None, effect }
    }

    /// The same fault, hitting only those requests.
    #[must_use]
    pub fn when(self, trigger: Trigger) -> Fault {
        Fault { trigger, ..self }
    }

    /// The same fault, happening at most so often.
    #[must_use]
    pub fn at_most(self, times: u32) -> Fault {
        Fault { times: Some(times), ..self }
    }

    /// Reads `ENDPOINT[@[WHEN][xTIMES]]:EFFECT[=VALUE]`, for example `list@3:status=503`, `list@page2x1:cut`,
    /// `any@chance5:reset`, `token@..2:status=500`.
    ///
    /// # Errors
    /// When a word is not known; the message names those that are.
    pub fn read(text: &str) -> Result<Fault, FaultError> {
        let (place, effect) = text.split_once(':').ok_or_else(|| {
            FaultError(format!("`{text}` is not of the form ENDPOINT[@[WHEN][xTIMES]]:EFFECT[=VALUE]"))
        })?;
        let (endpoint, when) =
            place.split_once('@').map_or((place, None), |(endpoint, when)| (endpoint, Some(when)));
        let (trigger, times) = when.map_or(Ok((Trigger::Always, None)), read_when)?;
        Ok(Fault { endpoint: read_endpoint(endpoint)?, trigger, times, effect: read_effect(effect)? })
    }

    /// The table of effects as Markdown; `docs/simulator.md` holds it, a test keeps the two equal.
    #[must_use]
    pub fn markdown() -> String {
        let mut text = String::from("| effect | value | what happens |\n|---|---|---|\n");
        for word in EFFECTS {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "| `{}` | {} | {} |", word.name, word.value, word.about);
        }
        text
    }
}

fn read_endpoint(text: &str) -> Result<Option<Endpoint>, FaultError> {
    if text.eq_ignore_ascii_case("any") {
        return Ok(None);
    }
    let known = Endpoint::NAMES.iter().find(|(_, name)| name.eq_ignore_ascii_case(text));
    known.map(|(endpoint, _)| Some(*endpoint)).ok_or_else(|| {
        let names: Vec<_> = Endpoint::NAMES.iter().map(|(_, name)| *name).collect();
        FaultError(format!("no endpoint is called `{text}`; there are any, {}", names.join(", ")))
    })
}

fn read_when(text: &str) -> Result<(Trigger, Option<u32>), FaultError> {
    let wrong = || {
        FaultError(format!(
            "`{text}` is no moment; write N, N..M, N.., ..M, everyN, pageN or chanceN, and xN for at most N times"
        ))
    };
    let number = |digits: &str| digits.parse::<u32>().ok().filter(|&number| number > 0).ok_or_else(wrong);
    let (moment, times) = match text.rsplit_once('x') {
        Some((moment, times)) => (moment, Some(number(times)?)),
        None => (text, None),
    };
    let trigger = if moment.is_empty() {
        Trigger::Always
    } else if let Some(every) = moment.strip_prefix("every") {
        Trigger::Every(number(every)?)
    } else if let Some(page) = moment.strip_prefix("page") {
        Trigger::Page(number(page)?)
    } else if let Some(chance) = moment.strip_prefix("chance") {
        Trigger::Chance(number(chance.trim_end_matches('%'))?)
    } else if let Some((from, to)) = moment.split_once("..") {
        let from = if from.is_empty() { 1 } else { number(from)? };
        Trigger::Requests(from, if to.is_empty() { u32::MAX } else { number(to)? })
    } else {
        let only = number(moment)?;
        Trigger::Requests(only, only)
    };
    Ok((trigger, times))
}

fn read_effect(text: &str) -> Result<Effect, FaultError> {
    let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
    let word = EFFECTS.iter().find(|word| word.name.eq_ignore_ascii_case(name)).ok_or_else(|| {
        let names: Vec<_> = EFFECTS.iter().map(|word| word.name).collect();
        FaultError(format!("no effect is called `{name}`; there are {}", names.join(", ")))
    })?;
    (word.read)(value).ok_or_else(|| {
        FaultError(format!(
            "`{}` is not a value of {}; it takes {}",
            value.unwrap_or(""),
            word.name,
            word.value
        ))
    })
}

/// The faults that are waiting, each with what it has seen so far.
#[derive(Debug)]
pub(super) struct Faults {
    waiting: Vec<Waiting>,
    chance: Chance,
}

#[derive(Debug)]
struct Waiting {
    fault: Fault,
    seen: u32,
    done: u32,
}

impl Faults {
    pub(super) fn new(faults: Vec<Fault>, seed: u64) -> Faults {
        let mut waiting = Faults { waiting: Vec::new(), chance: Chance::seeded(seed ^ 0xFA17) };
        for fault in faults {
            waiting.add(fault);
        }
        waiting
    }

    pub(super) fn add(&mut self, fault: Fault) {
        self.waiting.push(Waiting { fault, seen: 0, done: 0 });
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// What hits this request.
    pub(super) fn strike(&mut self, endpoint: Endpoint, page: Option<u32>) -> Vec<Effect> {
        let mut effects = Vec::new();
        for waiting in &mut self.waiting {
            let Waiting { fault, seen, done } = waiting;
            if fault.endpoint.is_some_and(|at| at != endpoint) {
                continue;
            }
            *seen = seen.saturating_add(1);
            let hits = match fault.trigger {
                Trigger::Always => true,
                Trigger::Requests(from, to) => (from..=to).contains(seen),
                Trigger::Every(step) => *seen % step == 0,
                Trigger::Page(wanted) => page == Some(wanted),
                Trigger::Chance(percent) => self.chance.per_mille(u64::from(percent) * 10),
            };
            if hits && fault.times.is_none_or(|times| *done < times) {
                *done = done.saturating_add(1);
                effects.push(fault.effect.clone());
            }
        }
        effects
    }
}
