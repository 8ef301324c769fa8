//! What must hold, judged by the server, the ledger and the database file alone.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use halosync::simulator::{DeletedGet, HiddenGet, Server};
use halosync::ticket::{Stamp, Value};

use crate::copy::{Copy, Move, Walk};
use crate::coverage::Happening;
use crate::ledger::{Ledger, Life, Seq, stamp};
use crate::log;
use crate::mapping;
use crate::wire::Seen;

/// Why the mark may move.
const REASONS: &[&str] = &["created", "counted", "clock_stepped", "reset", "scope_changed"];

/// A fact that should be otherwise.
pub(crate) type Verdict = Result<(), String>;

/// How things stood when a pass began.
pub(crate) struct Before {
    pub(crate) run: i64,
    pub(crate) mark: Option<Stamp>,
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
                self.begun.entry(walk.walk_id).or_insert(*first);
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
        tombstones(copy, ledger, server, run, before.seq)?;

        let promised = counted || moves.iter().any(|it| it.run_id == Some(run) && it.reason == "counted");
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
            let of_walk = |walk: &&Walk| self.begun.get(&walk.walk_id);
            let first = if full {
                mine.iter().find(|walk| walk.full && walk.is_counted()).and_then(of_walk)
            } else {
                self.firsts.get(&run)
            };
            let asked = mine.iter().filter_map(|walk| walk.asked_from).min();
            let should = before.mark.map(|mark| mark.minus(self.overlap));
            let bound = if full { None } else { asked.min(should).or(asked) };
            promise(ledger, server, now, first.map_or(0, |first| first.seq), bound);
        }
        kept(copy, ledger, server, now, run, promised && blind)
    }

    /// The moves of the mark.
    fn judge_moves(&self, moves: &[Move], walks: &[Walk], run: i64) -> Verdict {
        let mut at: Option<Stamp> = None;
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
            if !matches!(step.reason.as_str(), "counted" | "clock_stepped") {
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
        for id in ledger.listed() {
            let row = ledger.row(id, server, now);
            let Some(ticket) = tickets.get(&id) else {
                return Err(format!("ticket {id} is missing in the end; {:?}", ledger.lives[&id]));
            };
            let differences = mapping::differences(ticket, &row);
            if !differences.is_empty() {
                return Err(format!("ticket {id} differs in the end: {}", differences.join(", ")));
            }
        }
        for id in tickets.keys() {
            let life = ledger.lives.get(id).cloned().unwrap_or_default();
            let may_stay = knobs.forbids(&life) && absences.contains(id);
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
fn tombstones(copy: &Copy, ledger: &mut Ledger, server: &mut Server, run: i64, since: Seq) -> Verdict {
    let forbids = Forbids::of(server);
    for (id, reason) in copy.tombstones(run) {
        ledger.coverage.saw(Happening::Tombstone);
        let life = ledger.lives.get(&id).cloned().unwrap_or_default();
        if life.listed && life.entered_at <= since {
            return Err(format!(
                "ticket {id} was removed ({reason}) in pass {run}, and was listed all the time"
            ));
        }
        if !life.listed && life.changed_at <= since && forbids.forbids(&life) {
            return Err(format!(
                "ticket {id} was removed ({reason}) in pass {run}, and the server only forbids it"
            ));
        }
    }
    Ok(())
}

/// Enters what a counted walk promises: every version that stood in its list from its first answer on.
fn promise(ledger: &mut Ledger, server: &Server, now: DateTime<Utc>, since: Seq, bound: Option<Stamp>) {
    for id in ledger.listed() {
        let life = &ledger.lives[&id];
        if life.due || since < life.changed_at.max(life.entered_at) {
            continue;
        }
        let row = ledger.row(id, server, now);
        let owed = bound
            .is_none_or(|bound| stamp(&row).is_some_and(|stamp| bound <= stamp) && !ledger.went_back(id));
        ledger.note(id, |life| life.due = owed);
    }
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

fn differences(is: &[Value], should_be: &[Value]) -> Vec<String> {
    let mut all = mapping::differences(is, should_be);
    all.retain(|difference| !difference.starts_with("STATUS is "));
    all
}
