//! What must hold, judged by the server, the ledger and the database file alone.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use halo_simulator::{DeletedGet, HiddenGet, Server};
use halosync::ticket::{AttributeValue, Timestamp};

use crate::copy::{Copy, Move, Walk};
use crate::coverage::Happening;
use crate::ledger::{Ledger, Life, Seq, stamp, ticket_type};
use crate::log;
use crate::mapping::{self, Fields};
use crate::wire::Seen;

/// Why the mark may move.
const REASONS: &[&str] = &["created", "verified", "clock_stepped", "reset", "scope_changed"];

/// A fact that should be otherwise.
pub(crate) type Verdict = Result<(), String>;

/// How things stood when a pass began.
pub(crate) struct Before {
    pub(crate) run: i64,
    pub(crate) mark: Option<Timestamp>,
    pub(crate) seq: Seq,
}

/// The first answer with a list that a pass received: the last event before it, and the server's time on it.
#[derive(Clone, Copy)]
struct First {
    seq: Seq,
    date: DateTime<Utc>,
}

/// The judge of one world.
pub(crate) struct Oracle {
    overlap: TimeDelta,
    /// How many pages may be fetched ahead.
    ahead: usize,
    firsts: BTreeMap<i64, First>,
    /// When each walk began: one that is taken up again began in an earlier pass.
    begun: BTreeMap<i64, First>,
    /// The server's time on the last list that a pass received: a pass may walk more than once.
    lasts: BTreeMap<i64, DateTime<Utc>>,
}

impl Oracle {
    pub(crate) fn new(overlap: TimeDelta, ahead: usize) -> Oracle {
        Oracle { overlap, ahead, firsts: BTreeMap::new(), begun: BTreeMap::new(), lasts: BTreeMap::new() }
    }

    /// Judges after a pass, however it ended.
    pub(crate) fn after_pass(
        &mut self,
        copy: &Copy,
        (ledger, server, now): (&mut Ledger, &mut Server, DateTime<Utc>),
        seen: &Seen,
        before: &Before,
    ) -> Verdict {
        let run = copy.last_run();
        if run == before.run {
            return Ok(());
        }
        if let Some(first) = seen.first()
            && let Some(date) = first.received
        {
            self.firsts.insert(run, First { seq: first.seq, date });
        }
        let (walks, moves) = (copy.walks(), copy.moves());
        for walk in walks.iter().filter(|walk| walk.run_id == run) {
            if let Some(first) = self.firsts.get(&run) {
                self.begun.entry(walk.scan_id).or_insert(*first);
            }
        }
        if let Some(last) = seen.lists.iter().filter_map(|list| list.received).max() {
            self.lasts.insert(run, last);
        }
        let mine: Vec<&Walk> = walks.iter().filter(|walk| walk.run_id == run).collect();
        let full = mine.iter().any(|walk| walk.full && walk.is_counted());
        let counted = full || mine.iter().any(|walk| !walk.full && walk.is_counted());
        self.judge_moves(&moves, &walks, run)?;
        let (mark, journalled) = (copy.mark(), moves.last().and_then(|step| step.to));
        if mark != journalled {
            return Err(format!("the mark stands at {mark:?}, and the journal says {journalled:?}"));
        }
        if counted
            && copy.is_complete(run)
            && let (Some(mark), Some(first)) = (mark, self.firsts.get(&run))
            && moves.last().is_some_and(|step| step.run_id != Some(run))
            && first.date < mark.minus(self.overlap).instant()
        {
            return Err(format!("the server's time is {}, and the mark stays at {mark}", first.date));
        }
        for _ in copy.went_back(run) {
            ledger.coverage.saw(Happening::WentBack);
        }
        let scope = copy.scope();
        // What was stored before may have become of another type since; the fill after it brings it back.
        let shifted = moves.iter().any(|step| step.run_id == Some(run) && step.reason == "scope_changed");
        tombstones(copy, (ledger, server, now), run, before.seq, &scope.0, shifted)?;
        let left = copy.tombstones(run).iter().filter(|(_, reason)| reason != "out_of_scope").count();
        if 20 < left && !seen.accepts_deletes() && copy.tickets().len() + left < 20 * left {
            return Err(format!("{left} tickets left at once in pass {run}, and nobody said that they may"));
        }
        if scope.1
            && copy.is_filled()
            && let Some(id) = copy.forgotten().first()
        {
            return Err(format!("the custom fields of ticket {id} are not known, and nobody owes them"));
        }
        if shifted {
            // What was promised was promised of another scope.
            for id in ledger.listed() {
                ledger.note(id, |life| life.due = false);
            }
        }

        let promised = counted || moves.iter().any(|it| it.run_id == Some(run) && it.reason == "verified");
        let blind = seen.is_blind(ledger, full && !copy.reads_two_lists(), self.ahead);
        if blind {
            ledger.coverage.saw(Happening::Blind);
        }
        if promised {
            ledger.coverage.saw(if full {
                Happening::FullWalkCounted
            } else {
                Happening::FollowingWalkCounted
            });
            let of_walk = |walk: &&Walk| self.begun.get(&walk.scan_id);
            let first = if full {
                mine.iter().find(|walk| walk.full && walk.is_counted()).and_then(of_walk)
            } else {
                self.firsts.get(&run)
            };
            let asked = mine.iter().filter_map(|walk| walk.updated_from).min();
            let should = before.mark.map(|mark| mark.minus(self.overlap));
            let bound = if full { None } else { asked.min(should).or(asked) };
            promise(ledger, server, now, first.map_or(0, |first| first.seq), bound, &scope.0);
        }
        kept(copy, ledger, server, now, run, promised && blind)
    }

    /// The moves of the mark.
    fn judge_moves(&self, moves: &[Move], walks: &[Walk], run: i64) -> Verdict {
        let mut at: Option<Timestamp> = None;
        for step in moves {
            let Move { from, to, reason, .. } = step;
            if *from != at {
                return Err(format!("the journal has a gap: the mark stood at {at:?}, and {step:?} follows"));
            }
            if !REASONS.contains(&reason.as_str()) {
                return Err(format!("the mark moved for no known reason: {step:?}"));
            }
            let may_fall = matches!(reason.as_str(), "clock_stepped" | "reset" | "scope_changed");
            if to < from && !may_fall {
                return Err(format!("the mark fell: {step:?}"));
            }
            let behind = from.zip(*to).is_some_and(|(from, to)| to < from.minus(self.overlap));
            if reason == "clock_stepped" && !behind {
                return Err(format!("the mark was set back by no more than the overlap: {step:?}"));
            }
            at = *to;
        }
        for step in moves.iter().filter(|step| step.run_id == Some(run)) {
            if !matches!(step.reason.as_str(), "verified" | "clock_stepped") {
                continue;
            }
            if !walks.iter().any(|walk| walk.run_id == run && walk.is_counted()) {
                return Err(format!("the mark moved in pass {run}, and no walk of it was counted: {step:?}"));
            }
            let latest = self.lasts.range(..=run).map(|(_, last)| *last).max();
            let latest = latest.ok_or("the mark moved in a pass that received no list")?;
            if step.to.is_some_and(|to| latest < to.instant()) {
                return Err(format!(
                    "the mark is later than {latest}, the latest answer of its pass: {step:?}"
                ));
            }
        }
        full_after_a_step(moves, walks)
    }

    /// Judges the end: nothing goes wrong any more, and a full walk was left in peace.
    pub(crate) fn at_the_end(
        copy: &Copy,
        ledger: &mut Ledger,
        server: &Server,
        now: DateTime<Utc>,
        knobs: Forbids,
    ) -> Verdict {
        let integrity = copy.integrity();
        if integrity != "ok" {
            return Err(format!("the file is damaged: {integrity}"));
        }
        log::undo(copy)?;
        let (tickets, absences) = (copy.tickets(), copy.absences());
        let (types, custom_fields) = copy.scope();
        let (fields, debts, none) = (copy.fields(), copy.debts(), Fields::new());
        if !(custom_fields || fields.is_empty() && debts.is_empty()) {
            return Err("custom fields are here or owed, and they are not to be copied".into());
        }
        for id in ledger.listed() {
            let row = ledger.row(id, server, now);
            if !is_in(&types, &row) {
                if tickets.contains_key(&id) {
                    return Err(format!("ticket {id} is here in the end, and of no type that is copied"));
                }
                continue;
            }
            let Some(ticket) = tickets.get(&id) else {
                return Err(format!("ticket {id} is missing in the end; {:?}", ledger.lives[&id]));
            };
            let differences = mapping::differences(ticket, &row);
            if !differences.is_empty() {
                return Err(format!("ticket {id} differs in the end: {}", differences.join(", ")));
            }
            if custom_fields {
                if debts.contains(&id) {
                    return Err(format!("the custom fields of ticket {id} are still owed in the end"));
                }
                let should_be = mapping::expected_fields(&server.custom_fields(id).expect("a ticket"));
                let differences = mapping::field_differences(fields.get(&id).unwrap_or(&none), &should_be);
                if !differences.is_empty() {
                    return Err(format!("ticket {id} differs in the end: {}", differences.join(", ")));
                }
            }
        }
        let is_listed = |id: &i64| ledger.lives.get(id).is_some_and(|life| life.listed);
        if let Some((id, word)) = absences.iter().find(|(id, _)| is_listed(id)) {
            return Err(format!("ticket {id} is listed, and absent in the end: {word}"));
        }
        for id in tickets.keys() {
            let life = ledger.lives.get(id).cloned().unwrap_or_default();
            let may_stay = knobs.forbids(&life) && absences.contains_key(id);
            if !life.listed && !may_stay {
                return Err(format!("ticket {id} is here in the end, and it is gone: {life:?}"));
            }
        }
        Ok(())
    }
}

/// After the server's clock stepped back, a full walk comes before any following one, unless it was a full one that
/// noticed.
fn full_after_a_step(moves: &[Move], walks: &[Walk]) -> Verdict {
    let stepped = moves.iter().rev().find(|step| step.reason == "clock_stepped").and_then(|step| step.run_id);
    let Some(stepped) = stepped else { return Ok(()) };
    let is_enough = |walk: &Walk| walk.full && walk.is_counted();
    if walks.iter().any(|walk| walk.run_id == stepped && is_enough(walk)) {
        return Ok(());
    }
    let mut later = walks.iter().filter(|walk| stepped < walk.run_id).take_while(|walk| !is_enough(walk));
    match later.find(|walk| !walk.full) {
        Some(walk) => Err(format!("after the server's clock stepped back, {walk:?} comes before a full one")),
        None => Ok(()),
    }
}

/// Which tickets are refused with 403 when asked for by number.
#[derive(Clone, Copy)]
pub(crate) struct Forbids {
    hidden: bool,
    deleted: bool,
}

impl Forbids {
    pub(crate) fn of(server: &mut Server) -> Forbids {
        let knobs = server.knobs();
        Forbids {
            hidden: knobs.hidden_get == HiddenGet::Forbidden,
            deleted: knobs.deleted_get == DeletedGet::Forbidden,
        }
    }

    fn forbids(self, life: &Life) -> bool {
        if life.hidden { self.hidden } else { life.deleted && self.deleted }
    }
}

/// A ticket that was there all the time, or that the server only refuses to show, was not removed.
fn tombstones(
    copy: &Copy,
    (ledger, server, now): (&mut Ledger, &mut Server, DateTime<Utc>),
    run: i64,
    since: Seq,
    types: &[i64],
    shifted: bool,
) -> Verdict {
    let forbids = Forbids::of(server);
    for (id, reason) in copy.tombstones(run) {
        ledger.coverage.saw(Happening::Tombstone);
        let life = ledger.lives.get(&id).cloned().unwrap_or_default();
        // Of another type than is copied, whether it may be seen or not.
        let other = |ledger: &mut Ledger| {
            server.row(id, now).is_none() || !is_in(types, &ledger.row(id, server, now))
        };
        if reason == "out_of_scope" && (shifted || since < life.changed_at || other(ledger)) {
            continue;
        }
        if life.listed && life.entered_at <= since {
            return Err(format!(
                "ticket {id} was removed ({reason}) in pass {run}, and was listed all the time"
            ));
        }
        // What is kept of a ticket that could be seen once is the server's word, and may be of another day.
        let of_another_day = server.knobs().detail_cache_s != 0 && reason != "vanished";
        if !life.listed && life.changed_at <= since && forbids.forbids(&life) && !of_another_day {
            return Err(format!(
                "ticket {id} was removed ({reason}) in pass {run}, and the server only forbids it"
            ));
        }
    }
    Ok(())
}

/// Enters what a counted walk promises: every version that stood in its list from its first answer on.
fn promise(
    ledger: &mut Ledger,
    server: &mut Server,
    now: DateTime<Utc>,
    since: Seq,
    bound: Option<Timestamp>,
    types: &[i64],
) {
    // An answer from a cache does not confirm that a ticket went back, until the cache is over.
    let cached = 0 < server.knobs().detail_cache_s;
    for id in ledger.listed() {
        let life = &ledger.lives[&id];
        if life.due || since < life.changed_at.max(life.entered_at) {
            continue;
        }
        let row = ledger.row(id, server, now);
        let forward = !ledger.went_back(id);
        let shown = match bound {
            None => forward || !cached,
            Some(bound) => forward && stamp(&row).is_some_and(|stamp| bound <= stamp),
        };
        let owed = shown && is_in(types, &row);
        ledger.note(id, |life| life.due = owed);
    }
}

/// Whether a ticket is of a type that is copied; no types are all.
fn is_in(types: &[i64], row: &[AttributeValue]) -> bool {
    types.is_empty() || ticket_type(row).is_some_and(|it| types.contains(&it))
}

/// Every promise was kept: the version that was due is stored.
fn kept(
    copy: &Copy,
    ledger: &mut Ledger,
    server: &Server,
    now: DateTime<Utc>,
    run: i64,
    excused: bool,
) -> Verdict {
    let tickets = copy.tickets();
    for id in ledger.listed() {
        if !ledger.lives[&id].due {
            continue;
        }
        let row = ledger.row(id, server, now);
        let wrong = match tickets.get(&id) {
            None => "it is missing".to_owned(),
            // The names of statuses are asked for once a day.
            Some(ticket) => match differences(ticket, &row).as_slice() {
                [] => continue,
                all => all.join(", "),
            },
        };
        if excused {
            ledger.coverage.saw(Happening::Excused);
            ledger.note(id, |life| life.due = false);
            continue;
        }
        let life = &ledger.lives[&id];
        return Err(format!(
            "ticket {id} is promised after pass {run}, and {wrong} (last update {}, {life:?})",
            stamp(&row).map_or("none".into(), |stamp| stamp.to_string())
        ));
    }
    Ok(())
}

fn differences(is: &[AttributeValue], should_be: &[AttributeValue]) -> Vec<String> {
    let mut all = mapping::differences(is, should_be);
    all.retain(|difference| !difference.starts_with("STATUS is "));
    all
}
