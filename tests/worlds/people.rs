//! The people at the desk: what they do on the server while the agent reads from it.

use chrono::{DateTime, TimeDelta, Utc};
use fastrand::Rng;
use halo_simulator::{Edit, Server};
use halosync::ticket::Timestamp;
use serde_json::json;

use crate::coverage::Happening;
use crate::ledger::{Deed, Ledger};
use crate::plan::{Hardship, stands};

/// When they act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Nobody is reading. The next following walk will ask from this bound, where there is a mark.
    Between { bound: Option<Timestamp> },
    /// A walk is under way.
    InMidWalk,
}

const CLOSED: i64 = 9;
const SUMMARIES: [&str; 3] = ["Printer on fire", "VPN down again", "New starter on Monday"];

/// One of the things that people do.
pub(crate) fn act(
    ledger: &mut Ledger,
    server: &mut Server,
    now: DateTime<Utc>,
    moment: Moment,
    chance: &mut Rng,
) {
    let (listed, away) = (ledger.listed(), ledger.away());
    let mut saw = Vec::new();
    let Some(one) = chance.choice(&listed).copied() else {
        return create(ledger, server, now, chance, moment);
    };
    let other = *chance.choice(&listed).expect("one at least");
    let gone = chance.choice(&away).copied();
    let walking = moment == Moment::InMidWalk;
    let may_leave = !walking || stands(Hardship::LeavingInMidWalk);
    let may_return = !walking || stands(Hardship::ReturningInMidWalk);
    let may_enter = !walking || stands(Hardship::EnteringInMidWalk);
    let merge_stamps = server.knobs().merge_stamps.is_on();
    let delete_stamps = server.knobs().delete_stamps.is_on();
    let sla_stamps = server.knobs().sla_stamps.is_on();
    match chance.u32(..100) {
        0..24 if may_enter => {
            let edit = edit(chance);
            let words = format!("edits {one}: {edit:?}");
            saw.push(Happening::Edited);
            ledger.witness(server, now, |server| {
                server.edit(one, edit, now);
                Deed::new(vec![one], true, words)
            });
        }
        24..32 if may_enter => {
            let share = chance.usize(1..=listed.len());
            let mut to = listed;
            chance.shuffle(&mut to);
            to.truncate(share);
            saw.push(Happening::BulkEdited);
            ledger.witness(server, now, |server| {
                for id in &to {
                    server.edit(*id, Edit::Agent(CLOSED), now);
                }
                let words = format!("edits {} at once: {to:?}", to.len());
                Deed::new(to, true, words)
            });
        }
        32..42 if may_enter => create(ledger, server, now, chance, moment),
        42..58 if may_leave => {
            saw.push(if walking { Happening::LeftInMidWalk } else { Happening::LeftBetweenPasses });
            ledger.witness(server, now, |server| {
                server.delete(one, now);
                Deed::new(vec![one], delete_stamps, format!("deletes {one}"))
            });
            ledger.note(one, |life| life.deleted = true);
        }
        58..64 if may_leave => {
            saw.push(if walking { Happening::LeftInMidWalk } else { Happening::LeftBetweenPasses });
            ledger.witness(server, now, |server| {
                server.hide(&[one, other]);
                Deed::new(vec![], false, format!("hides {one}, {other}"))
            });
            for id in [one, other] {
                ledger.note(id, |life| life.hidden = true);
            }
        }
        64..72 if may_return => {
            let Some(id) = gone else { return };
            saw.push(if walking { Happening::ReturnedInMidWalk } else { Happening::Returned });
            ledger.witness(server, now, |server| {
                server.restore(id, now);
                server.unhide(&[id]);
                Deed::new(vec![id], delete_stamps, format!("restores and reveals {id}"))
            });
            ledger.note(id, |life| (life.deleted, life.hidden) = (false, false));
        }
        72..79 if may_leave && may_enter => {
            saw.push(Happening::Merged);
            ledger.witness(server, now, |server| {
                server.merge(one, other, now);
                Deed::new(vec![one], merge_stamps, format!("merges {one} into {other}"))
            });
            ledger.note(one, |life| life.merged = true);
        }
        79..84 if may_return => {
            let id = gone.unwrap_or(one);
            return unmerge(ledger, server, now, id);
        }
        84..88 => {
            saw.push(Happening::SilentChange);
            ledger.witness(server, now, |server| {
                server.recount_sla(one, now);
                Deed::new(vec![one], sla_stamps, format!("recounts the SLA of {one}"))
            });
        }
        88..95 if may_enter => return commit_late(ledger, server, now, moment, one, chance),
        95..96 => return rename(ledger, server, now, chance),
        96..98 => {
            saw.push(Happening::TokensRevoked);
            server.revoke_tokens();
            ledger.tell(now, || "all tokens are revoked".into());
        }
        _ => step_clock_back(ledger, server, now, chance),
    }
    for happening in saw {
        ledger.coverage.saw(happening);
    }
}

/// One of the things that people do who keep the server: a few of them now and then.
pub(crate) fn act_widely(
    ledger: &mut Ledger,
    server: &mut Server,
    now: DateTime<Utc>,
    moment: Moment,
    chance: &mut Rng,
) {
    let mut listed = ledger.listed();
    let Some(one) = chance.choice(&listed).copied() else { return };
    let walking = moment == Moment::InMidWalk;
    let late_field = 900 + chance.i64(0..4);
    let happening = match chance.u32(..100) {
        0..45 => {
            let late = if ledger.late_fields.contains(&late_field) { late_field } else { 122 };
            let field = [120, 121, 126, late][chance.usize(..4)];
            let text = ["", "CC-1", "a \"quoted\" one", "two\nlines"][chance.usize(..4)];
            let value =
                [json!(text), json!(chance.i64(0..9)), json!(chance.bool()), json!([1, chance.i64(0..4)])];
            let value = value[chance.usize(..4)].clone();
            ledger.witness(server, now, |server| {
                let words = format!("types {value} into field {field} of {one}");
                server.edit(one, Edit::CustomField { field, value, display: text.to_owned() }, now);
                Deed::new(vec![one], true, words)
            });
            Happening::FieldTyped
        }
        45..60 => {
            ledger.late_fields.insert(late_field);
            server.define_field(late_field, &format!("CFlate{late_field}"), "Late");
            ledger.tell(now, || format!("field {late_field} is defined"));
            Happening::FieldDefined
        }
        60..80 => {
            let kind = [1, 3, 4][chance.usize(..3)];
            ledger.witness(server, now, |server| {
                server.edit(one, Edit::TicketType(kind), now);
                let words = format!("makes {one} one of type {kind}");
                Deed { to: vec![one], stamped: true, retyped: true, words }
            });
            Happening::Retyped
        }
        80..86 => {
            chance.shuffle(&mut listed);
            listed.truncate(listed.len() / 2);
            ledger.witness(server, now, |server| {
                server.hide(&listed);
                Deed { words: format!("hides {} at once", listed.len()), ..Deed::default() }
            });
            for id in listed {
                ledger.note(id, |life| life.hidden = true);
            }
            Happening::PermissionCut
        }
        86..92 => {
            let away = ledger.away();
            ledger.witness(server, now, |server| {
                server.unhide(&away);
                Deed { to: away.clone(), words: "reveals all".into(), ..Deed::default() }
            });
            for id in away {
                ledger.note(id, |life| life.hidden = false);
            }
            return;
        }
        92..97 => return ledger.back_up(server, now),
        // A server that is being restored answers nobody.
        _ if walking || !ledger.restore_backup(server, now) => return,
        _ => Happening::Restored,
    };
    ledger.coverage.saw(happening);
}

fn unmerge(ledger: &mut Ledger, server: &mut Server, now: DateTime<Utc>, id: i64) {
    ledger.coverage.saw(Happening::Unmerged);
    let stamped = server.knobs().merge_stamps.is_on();
    ledger.witness(server, now, |server| {
        server.unmerge(id, now);
        Deed::new(vec![id], stamped, format!("unmerges {id}"))
    });
    ledger.note(id, |life| life.deleted &= !std::mem::take(&mut life.merged));
}

fn edit(chance: &mut Rng) -> Edit {
    match chance.u32(..5) {
        0 => Edit::Touch,
        1 => Edit::Status([1, 2, CLOSED][chance.usize(..3)]),
        2 => Edit::Agent(chance.i64(1..9)),
        3 => Edit::Details(format!("Seen {} times.", chance.u32(2..1_000))),
        _ => Edit::Summary(SUMMARIES[chance.usize(..3)].to_owned()),
    }
}

fn create(ledger: &mut Ledger, server: &mut Server, now: DateTime<Utc>, chance: &mut Rng, moment: Moment) {
    if moment == Moment::InMidWalk && !stands(Hardship::EnteringInMidWalk) {
        return;
    }
    let how_many = chance.u32(1..4);
    ledger.coverage.saw(Happening::Created);
    ledger.witness(server, now, |server| {
        let to = server.create(how_many, now);
        Deed { words: format!("opens {to:?}"), to, stamped: true, ..Deed::default() }
    });
}

/// A change whose stamp was taken long before it can be read: as far back as the next walk will ask, and at times
/// exactly there, where `>` instead of `>=` would lose it.
fn commit_late(
    ledger: &mut Ledger,
    server: &mut Server,
    now: DateTime<Utc>,
    moment: Moment,
    id: i64,
    chance: &mut Rng,
) {
    let Moment::Between { bound: Some(bound) } = moment else { return };
    let clock = now + ledger.clock_offset;
    let longest = (clock - bound.instant()).num_milliseconds();
    let own = crate::ledger::stamp(&ledger.row(id, server, now));
    if longest < 0 || own >= Some(bound) {
        return;
    }
    let exact = chance.u32(..3) != 0;
    let delay = if exact { longest } else { chance.i64(0..=longest) };
    ledger.coverage.saw(if exact { Happening::CommitOnTheBound } else { Happening::LateCommit });
    let usual = server.knobs().commit_delay_ms;
    server.knobs().commit_delay_ms = u32::try_from(delay).unwrap_or(u32::MAX);
    ledger.witness(server, now, |server| {
        server.edit(id, Edit::Summary(format!("Late by {delay} ms")), now);
        Deed::new(vec![id], true, format!("edits {id}, {delay} ms late"))
    });
    server.knobs().commit_delay_ms = usual;
}

/// A client's or a status's new name: no stamp moves.
fn rename(ledger: &mut Ledger, server: &mut Server, now: DateTime<Utc>, chance: &mut Rng) {
    ledger.coverage.saw(Happening::Renamed);
    let number = chance.u32(..1_000);
    if chance.bool() {
        let client = chance.i64(12..20);
        ledger.witness(server, now, |server| {
            server.rename_client(client, &format!("Client {number}"));
            Deed { words: format!("renames client {client}"), ..Deed::default() }
        });
    } else {
        let name = format!("Status {number}");
        if let Some(known) = ledger.names.get_mut(&2) {
            known.clone_from(&name);
        }
        ledger.witness(server, now, |server| {
            server.rename_status(2, &name);
            Deed { words: "renames status 2".into(), ..Deed::default() }
        });
    }
    ledger.everything_changed();
}

fn step_clock_back(ledger: &mut Ledger, server: &mut Server, now: DateTime<Utc>, chance: &mut Rng) {
    let seconds = [5, 100, 900, 7_200, 100_000][chance.usize(..5)];
    if !stands(Hardship::ClockStepsBack) {
        return;
    }
    ledger.coverage.saw(Happening::ClockSteppedBack);
    ledger.clock_offset -= TimeDelta::seconds(chance.i64(1..=seconds));
    let offset = ledger.clock_offset;
    server.set_clock_offset(offset);
    ledger.tell(now, || format!("the server's clock steps back, to {} s", offset.num_seconds()));
}
