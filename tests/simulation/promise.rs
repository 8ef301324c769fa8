//! The promise of a run, which exit status 0 gives to people. Pure.
//!
//! A run is complete exactly if every ticket that stood in the list all the while is stored as the server had it. Three
//! things are excepted:
//!
//! - a value that cannot be read: the last good one is stored, and `rejects` names ticket and attribute;
//! - as many tickets as `accept_shortfall` allows, which are missing, outdated, pending, or rows without an id;
//! - the one known limit: a ticket that disappeared and another one that entered between the same two responses.
//!
//! *All the while* is from the first response of the scan to the end of the run, and *the list* is what that scan asked
//! for: all tickets of the scope, or those that were updated since its lower bound.
//!
//! Only in a run that nothing disturbs can be told that it must be complete. In every other run, something that the model
//! does not see may have kept it from that.

/// A ticket that stood in the list all the while, in one version and with the same defects.
#[derive(Clone, Debug)]
pub(crate) struct ShownTicket {
    pub(crate) id: i64,
    /// What is wrong with it as it is stored, apart from rejected values; `None` if it is stored as the server had it.
    pub(crate) problem: Option<String>,
    /// Whether its row had no usable id.
    pub(crate) is_without_id: bool,
    /// Whether its row could not be parsed.
    pub(crate) is_unreadable: bool,
}

impl ShownTicket {
    /// Whether the run lacks it, as far as it can know: also where the stored version happens to be the present one.
    fn is_lacking(&self) -> bool {
        self.problem.is_some() || self.is_without_id || self.is_unreadable
    }
}

/// What is known about a run that came to its end.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunFacts {
    /// Whether it ended with exit status 0.
    pub(crate) is_complete: bool,
    pub(crate) accept_shortfall: usize,
    pub(crate) shown: Vec<ShownTicket>,
    /// Whether one ticket disappeared and another one entered between the same two responses.
    pub(crate) is_exchange_undetectable: bool,
    /// Whether it read everything, and nothing happened meanwhile.
    pub(crate) is_undisturbed: bool,
    /// Pending tickets that are not in the list, but that the server may still have: it refuses to show them alone, or only
    /// their type, which cannot be read, tells that they are not in the scope.
    pub(crate) beyond_list: usize,
}

impl RunFacts {
    /// Checks the promise. `Err` says how it is broken.
    pub(crate) fn check(&self) -> Result<(), String> {
        let lacking: Vec<_> = self.shown.iter().filter(|ticket| ticket.is_lacking()).collect();
        let lacks = lacking.len() + self.beyond_list;
        if self.is_complete && self.accept_shortfall < lacks && !self.is_exchange_undetectable {
            return Err(format!(
                "it is complete, but lacks {lacks} tickets, of those listed all the while {lacking:?}"
            ));
        }
        if !self.is_complete && self.is_undisturbed && lacks <= self.accept_shortfall {
            return Err(format!(
                "it is not complete, although it lacks no more than {lacks} tickets: {lacking:?}"
            ));
        }
        Ok(())
    }

    /// Whether the run is complete only because its shortfall is accepted.
    pub(crate) fn is_shortfall_accepted(&self) -> bool {
        self.is_complete && self.shown.iter().any(ShownTicket::is_lacking)
    }
}

#[test]
fn promise_holds_in_both_directions() {
    let stored = ShownTicket { id: 1, problem: None, is_without_id: false, is_unreadable: false };
    let missing = ShownTicket { id: 2, problem: Some("it is missing".into()), ..stored.clone() };
    let without_id = ShownTicket { id: 3, is_without_id: true, ..stored.clone() };
    let unreadable = ShownTicket { id: 4, is_unreadable: true, ..stored.clone() };
    let all = || vec![missing.clone(), without_id.clone(), unreadable.clone()];
    for (shown, accept_shortfall, complete, incomplete) in [
        (vec![stored.clone()], 0, true, false),
        (vec![stored.clone(), missing.clone()], 0, false, true),
        (vec![stored.clone(), missing.clone()], 1, true, false),
        (vec![without_id.clone()], 0, false, true),
        (vec![unreadable.clone()], 0, false, true),
        (all(), 2, false, true),
        (all(), 3, true, false),
    ] {
        for (is_complete, holds) in [(true, complete), (false, incomplete)] {
            let shown = shown.clone();
            let facts = RunFacts {
                is_complete,
                accept_shortfall,
                shown,
                is_undisturbed: true,
                ..RunFacts::default()
            };
            assert_eq!(facts.check().is_ok(), holds, "{facts:?}");
        }
    }
    let disturbed = RunFacts { shown: vec![stored], ..RunFacts::default() };
    assert_eq!(disturbed.check(), Ok(()), "a fault may have kept it from being complete");
    let refused = RunFacts { beyond_list: 1, is_undisturbed: true, ..RunFacts::default() };
    assert_eq!(refused.check(), Ok(()), "a pending ticket that the server refuses to show");
}
