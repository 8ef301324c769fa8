//! Random activity on the server: what people change while the client reads from it.

use chrono::{DateTime, TimeDelta, Utc};
use fastrand::Rng;
use halo_simulator::{Edit, ParameterSupport, ReferenceKey, RowExtras, Server};
use halosync::ticket::Timestamp;
use serde_json::json;

use crate::coverage::CoverageEvent;
use crate::reference_lists::{ListOutage, SERVER_LISTS};
use crate::reference_model::{ReferenceModel, ServerChange};
use crate::scenario::{Condition, is_enabled};

/// When something changes on the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timing {
    /// No run is reading. `lower_bound` is where the next incremental scan starts, if there is a watermark.
    BetweenRuns { lower_bound: Option<Timestamp> },
    /// A scan is in progress.
    DuringScan,
}

const CLOSED: i64 = 9;
const SUMMARIES: [&str; 3] = ["Printer on fire", "VPN down again", "New starter on Monday"];

/// Makes one random change of the kind that people make who work on tickets.
#[expect(clippy::too_many_lines, reason = "one arm for each kind of change")]
pub(crate) fn change_tickets(
    model: &mut ReferenceModel,
    server: &mut Server,
    now: DateTime<Utc>,
    timing: Timing,
    rng: &mut Rng,
) {
    let (listed, removed) = (model.listed_ids(), model.removed_ids());
    let mut events = Vec::new();
    let Some(one) = rng.choice(&listed).copied() else {
        return create(model, server, now, rng, timing);
    };
    let other = *rng.choice(&listed).expect("at least one ticket");
    let gone = rng.choice(&removed).copied();
    let scanning = timing == Timing::DuringScan;
    let may_disappear = !scanning || is_enabled(Condition::TicketsDisappearDuringScan);
    let may_return = !scanning || is_enabled(Condition::TicketsReturnDuringScan);
    let may_enter = !scanning || is_enabled(Condition::TicketsEnterDuringScan);
    let merge_stamps = server.knobs().merge_stamps.is_on();
    let delete_stamps = server.knobs().delete_stamps.is_on();
    let sla_stamps = server.knobs().sla_stamps.is_on();
    match rng.u32(..100) {
        0..24 if may_enter => {
            let edit = draw_edit(rng);
            let description = format!("edits {one}: {edit:?}");
            events.push(CoverageEvent::TicketEdited);
            model.apply(server, now, |server| {
                server.edit(one, edit, now);
                ServerChange::new(vec![one], true, description)
            });
        }
        24..32 if may_enter => {
            let count = rng.usize(1..=listed.len());
            let mut tickets = listed;
            rng.shuffle(&mut tickets);
            tickets.truncate(count);
            events.push(CoverageEvent::TicketsBulkEdited);
            model.apply(server, now, |server| {
                for id in &tickets {
                    server.edit(*id, Edit::Agent(CLOSED), now);
                }
                let description = format!("edits {} tickets at once: {tickets:?}", tickets.len());
                ServerChange::new(tickets, true, description)
            });
        }
        32..42 if may_enter => create(model, server, now, rng, timing),
        42..58 if may_disappear => {
            events.push(if scanning {
                CoverageEvent::DisappearedDuringScan
            } else {
                CoverageEvent::DisappearedBetweenRuns
            });
            model.apply(server, now, |server| {
                server.delete(one, now);
                ServerChange::new(vec![one], delete_stamps, format!("deletes {one}"))
            });
            model.update(one, |ticket| ticket.deleted = true);
        }
        58..64 if may_disappear => {
            events.push(if scanning {
                CoverageEvent::DisappearedDuringScan
            } else {
                CoverageEvent::DisappearedBetweenRuns
            });
            model.apply(server, now, |server| {
                server.hide(&[one, other]);
                ServerChange::new(vec![], false, format!("hides {one}, {other}"))
            });
            for id in [one, other] {
                model.update(id, |ticket| ticket.hidden = true);
            }
        }
        64..72 if may_return => {
            let Some(id) = gone else { return };
            events.push(if scanning {
                CoverageEvent::ReturnedDuringScan
            } else {
                CoverageEvent::ReturnedBetweenRuns
            });
            model.apply(server, now, |server| {
                server.restore(id, now);
                server.unhide(&[id]);
                ServerChange::new(vec![id], delete_stamps, format!("restores and unhides {id}"))
            });
            model.update(id, |ticket| (ticket.deleted, ticket.hidden) = (false, false));
        }
        72..79 if may_disappear && may_enter => {
            events.push(CoverageEvent::Merged);
            model.apply(server, now, |server| {
                server.merge(one, other, now);
                ServerChange::new(vec![one], merge_stamps, format!("merges {one} into {other}"))
            });
            model.update(one, |ticket| ticket.merged = true);
        }
        79..84 if may_return => {
            let id = gone.unwrap_or(one);
            return unmerge(model, server, now, id);
        }
        84..88 => {
            events.push(CoverageEvent::SlaRecalculated);
            model.apply(server, now, |server| {
                server.recount_sla(one, now);
                ServerChange::new(vec![one], sla_stamps, format!("recalculates the SLA of {one}"))
            });
        }
        88..95 if may_enter => return commit_late(model, server, now, timing, one, rng),
        95..96 => return rename(model, server, now, rng),
        96..98 => {
            events.push(CoverageEvent::TokensRevoked);
            server.revoke_tokens();
            model.log(now, || "revokes all tokens".into());
        }
        _ => step_clock_back(model, server, now, rng),
    }
    for event in events {
        model.coverage.record(event);
    }
}

/// Makes one random change of the kind that administrators make now and then.
pub(crate) fn administrate(
    model: &mut ReferenceModel,
    server: &mut Server,
    now: DateTime<Utc>,
    timing: Timing,
    rng: &mut Rng,
) {
    let mut listed = model.listed_ids();
    let Some(one) = rng.choice(&listed).copied() else { return };
    let scanning = timing == Timing::DuringScan;
    let new_field = 900 + rng.i64(0..4);
    let event = match rng.u32(..100) {
        0..45 => {
            let late = if model.new_fields.contains(&new_field) { new_field } else { 122 };
            let field = [120, 121, 126, late][rng.usize(..4)];
            let text = ["", "CC-1", "a \"quoted\" one", "two\nlines"][rng.usize(..4)];
            let value = [json!(text), json!(rng.i64(0..9)), json!(rng.bool()), json!([1, rng.i64(0..4)])];
            let value = value[rng.usize(..4)].clone();
            model.apply(server, now, |server| {
                let description = format!("sets custom field {field} of {one} to {value}");
                server.edit(one, Edit::CustomField { field, value, display: text.to_owned() }, now);
                ServerChange::new(vec![one], true, description)
            });
            CoverageEvent::CustomFieldEdited
        }
        45..60 => {
            model.new_fields.insert(new_field);
            server.define_field(new_field, &format!("CFlate{new_field}"), "Late");
            model.log(now, || format!("defines custom field {new_field}"));
            CoverageEvent::CustomFieldDefined
        }
        60..80 => {
            let ticket_type = [1, 3, 4][rng.usize(..3)];
            model.apply(server, now, |server| {
                server.edit(one, Edit::TicketType(ticket_type), now);
                let description = format!("changes the ticket type of {one} to {ticket_type}");
                ServerChange { tickets: vec![one], moves_last_update: true, type_changed: true, description }
            });
            CoverageEvent::TicketTypeChanged
        }
        80..86 => {
            rng.shuffle(&mut listed);
            listed.truncate(listed.len() / 2);
            model.apply(server, now, |server| {
                server.hide(&listed);
                let description = format!("hides {} tickets at once", listed.len());
                ServerChange { description, ..ServerChange::default() }
            });
            for id in listed {
                model.update(id, |ticket| ticket.hidden = true);
            }
            CoverageEvent::PermissionsCut
        }
        86..92 => {
            let removed = model.removed_ids();
            model.apply(server, now, |server| {
                server.unhide(&removed);
                ServerChange {
                    tickets: removed.clone(),
                    description: "unhides all tickets".into(),
                    ..ServerChange::default()
                }
            });
            for id in removed {
                model.update(id, |ticket| ticket.hidden = false);
            }
            return;
        }
        92..97 => return model.back_up(server, now),
        // A server does not respond while it is being restored.
        _ if scanning || !may_restore(server) || !model.restore_backup(server, now) => return,
        _ => CoverageEvent::BackupRestored,
    };
    model.coverage.record(event);
}

/// Whether a client notices everything that restoring the server changes.
fn may_restore(server: &mut Server) -> bool {
    server.knobs().include_custom_fields == ParameterSupport::Honored
        || is_enabled(Condition::FetchedFieldsGoBack)
}

/// Backs up the server, restores it, or brings back what was deleted or hidden.
pub(crate) fn restore(model: &mut ReferenceModel, server: &mut Server, now: DateTime<Utc>, rng: &mut Rng) {
    let count = rng.u32(1..5);
    let delete_stamps = server.knobs().delete_stamps.is_on();
    match rng.u32(..100) {
        0..40 => model.back_up(server, now),
        40..70 => {
            if may_restore(server) && model.restore_backup(server, now) {
                model.coverage.record(CoverageEvent::BackupRestored);
            }
        }
        _ => {
            let mut returned = Vec::new();
            let reveals = rng.bool();
            model.apply(server, now, |server| {
                returned = if reveals { server.reveal_some(count) } else { server.restore_some(count, now) };
                let description = format!("{} {returned:?}", if reveals { "reveals" } else { "restores" });
                ServerChange::new(returned.clone(), !reveals && delete_stamps, description)
            });
            for id in &returned {
                model.update(*id, |ticket| {
                    if reveals {
                        ticket.hidden = false;
                    } else {
                        ticket.deleted = false;
                    }
                });
            }
            model.coverage.record(CoverageEvent::SomeTicketsRestored);
        }
    }
}

fn unmerge(model: &mut ReferenceModel, server: &mut Server, now: DateTime<Utc>, id: i64) {
    model.coverage.record(CoverageEvent::Unmerged);
    let merge_stamps = server.knobs().merge_stamps.is_on();
    model.apply(server, now, |server| {
        server.unmerge(id, now);
        ServerChange::new(vec![id], merge_stamps, format!("unmerges {id}"))
    });
    model.update(id, |ticket| ticket.deleted &= !std::mem::take(&mut ticket.merged));
}

fn draw_edit(rng: &mut Rng) -> Edit {
    match rng.u32(..5) {
        0 => Edit::Touch,
        1 => Edit::Status([1, 2, CLOSED][rng.usize(..3)]),
        2 => Edit::Agent(rng.i64(1..9)),
        3 => Edit::Details(format!("Seen {} times.", rng.u32(2..1_000))),
        _ => Edit::Summary(SUMMARIES[rng.usize(..3)].to_owned()),
    }
}

fn create(
    model: &mut ReferenceModel,
    server: &mut Server,
    now: DateTime<Utc>,
    rng: &mut Rng,
    timing: Timing,
) {
    if timing == Timing::DuringScan && !is_enabled(Condition::TicketsEnterDuringScan) {
        return;
    }
    let count = rng.u32(1..4);
    model.coverage.record(CoverageEvent::TicketsCreated);
    model.apply(server, now, |server| {
        let tickets = server.create(count, now);
        ServerChange {
            description: format!("creates {tickets:?}"),
            tickets,
            moves_last_update: true,
            ..ServerChange::default()
        }
    });
}

/// Makes a change whose timestamp is taken long before it becomes visible: as far back as the next scan will read, and
/// often exactly at its lower bound, where `>` instead of `>=` would lose it.
fn commit_late(
    model: &mut ReferenceModel,
    server: &mut Server,
    now: DateTime<Utc>,
    timing: Timing,
    id: i64,
    rng: &mut Rng,
) {
    let Timing::BetweenRuns { lower_bound: Some(lower_bound) } = timing else { return };
    let clock = now + model.clock_offset;
    let longest = (clock - lower_bound.instant()).num_milliseconds();
    let own = crate::reference_model::last_update(&model.expected_row(id, server, now));
    if longest < 0 || own >= Some(lower_bound) {
        return;
    }
    let exact = rng.u32(..3) != 0;
    let delay = if exact { longest } else { rng.i64(0..=longest) };
    model.coverage.record(if exact { CoverageEvent::CommitOnLowerBound } else { CoverageEvent::LateCommit });
    let usual = server.knobs().commit_delay_ms;
    server.knobs().commit_delay_ms = u32::try_from(delay).unwrap_or(u32::MAX);
    model.apply(server, now, |server| {
        server.edit(id, Edit::Summary(format!("Late by {delay} ms")), now);
        ServerChange::new(vec![id], true, format!("edits {id}, {delay} ms late"))
    });
    server.knobs().commit_delay_ms = usual;
}

/// Renames a client or a status, which changes no `last_update`.
fn rename(model: &mut ReferenceModel, server: &mut Server, now: DateTime<Utc>, rng: &mut Rng) {
    model.coverage.record(CoverageEvent::Renamed);
    let number = rng.u32(..1_000);
    if rng.bool() {
        let client = rng.i64(12..20);
        model.apply(server, now, |server| {
            server.rename_client(client, &format!("Client {number}"));
            ServerChange { description: format!("renames client {client}"), ..ServerChange::default() }
        });
    } else {
        let name = format!("Status {number}");
        if let Some(known) = model.status_names.get_mut(&2) {
            known.clone_from(&name);
        }
        model.apply(server, now, |server| {
            server.rename_status(2, &name);
            ServerChange { description: "renames status 2".into(), ..ServerChange::default() }
        });
    }
    model.mark_all_changed(now);
}

fn step_clock_back(model: &mut ReferenceModel, server: &mut Server, now: DateTime<Utc>, rng: &mut Rng) {
    let seconds = [5, 100, 900, 7_200, 100_000][rng.usize(..5)];
    if !is_enabled(Condition::ClockStepsBack) {
        return;
    }
    model.coverage.record(CoverageEvent::ClockSteppedBack);
    model.clock_offset -= TimeDelta::seconds(rng.i64(1..=seconds));
    let offset = model.clock_offset;
    server.set_clock_offset(offset);
    model.log(now, || format!("sets the server's clock back, to an offset of {} s", offset.num_seconds()));
}

/// Renames, adds, removes, disables or enables one of the objects that tickets name by a number.
pub(crate) fn change_reference(
    model: &mut ReferenceModel,
    server: &mut Server,
    now: DateTime<Utc>,
    rng: &mut Rng,
) {
    let id = rng.i64(1..30);
    let key = match rng.u32(..20) {
        0..6 => ReferenceKey::Agent(id),
        6..9 => ReferenceKey::Team(id),
        9..13 => ReferenceKey::Priority { sla: rng.i64(1..4), priority: rng.i64(1..6) },
        13..15 => ReferenceKey::Sla(rng.i64(1..5)),
        15 => ReferenceKey::Category(id),
        16 => ReferenceKey::Client(id),
        17 => ReferenceKey::Site(10 * id),
        _ => ReferenceKey::User(1_000 * id + rng.i64(..4)),
    };
    let name = format!(" {key:?}, {}", rng.u32(..1_000));
    let description = format!("{key:?}");
    let action = rng.u32(..100);
    model.coverage.record(CoverageEvent::ReferenceChanged);
    model.apply(server, now, |server| {
        let verb = match action {
            0..30 => {
                server.rename_reference(key, &name);
                "renames"
            }
            30..50 => {
                server.add_reference(key, &name);
                "adds"
            }
            50..75 => {
                server.remove_reference(key);
                "removes"
            }
            _ => {
                server.set_reference_inactive(key, action < 90);
                "disables or enables"
            }
        };
        ServerChange { description: format!("{verb} {description}"), ..ServerChange::default() }
    });
    // Rows have the names of these.
    if action < 50
        && matches!(
            key,
            ReferenceKey::Team(_) | ReferenceKey::Client(_) | ReferenceKey::Site(_) | ReferenceKey::User(_)
        )
    {
        model.mark_all_changed(now);
    }
}

/// Changes what list rows carry beside the attributes.
pub(crate) fn change_profile(
    model: &mut ReferenceModel,
    server: &mut Server,
    now: DateTime<Utc>,
    rng: &mut Rng,
) {
    let mut drawn = || rng.u32(..3) != 0;
    let profile =
        RowExtras { dateclosed: drawn(), responsedate: drawn(), dateassigned: drawn(), parent_id: drawn() };
    model.set_profile(profile, server, now);
}

/// Makes one reference list something else for a while, or ends that.
pub(crate) fn change_outages(model: &mut ReferenceModel, now: DateTime<Utc>, rng: &mut Rng) {
    let list = &SERVER_LISTS[rng.usize(..SERVER_LISTS.len())];
    let outage = ListOutage::ALL[rng.usize(..ListOutage::ALL.len())];
    if model.outages.remove(list.table).is_some() || rng.u32(..3) == 0 {
        model.outages.clear();
        model.log(now, || "all reference lists are what they should be".into());
    } else {
        model.outages.insert(list.table, outage);
        model.log(now, || format!("the list of {} is {outage:?} from now on", list.table));
    }
}
