//! Defects of single rows: a value of a wrong type, a row without an id, a row that cannot be parsed. They come and go
//! without a new `last_update`, between runs and while a scan reads.

use chrono::{DateTime, Utc};
use fastrand::Rng;
use halo_simulator::{RowDefect, Server, TextDefect, ValueForm};

use crate::coverage::CoverageEvent;
use crate::reference_model::ReferenceModel;
use crate::scenario::Hazards;

/// So many rows may have defects at the same time: more than `accept_shortfall` ever accepts.
const DEFECTIVE_MAX: usize = 4;

/// Fields of list rows whose values may have a wrong type: of each kind, some that people edit and some that never change.
const FIELDS: [&str; 9] = [
    "agent_id",
    "client_id",
    "client_name",
    "dateoccurred",
    "estimate",
    "fixbydate",
    "flagged",
    "summary",
    "user_id",
];

/// Damages or repairs the row of one ticket.
pub(crate) fn change(
    model: &mut ReferenceModel,
    server: &mut Server,
    now: DateTime<Utc>,
    hazards: Hazards,
    rng: &mut Rng,
) {
    let (defective, listed) = (model.defective_ids(), model.listed_ids());
    let repairs = DEFECTIVE_MAX <= defective.len() || rng.u32(..100) < 40;
    let one = if repairs { rng.choice(&defective) } else { rng.choice(&listed) };
    let Some(id) = one.copied() else { return };
    let defects = if repairs { Vec::new() } else { draw(hazards, rng) };
    if !repairs {
        model.coverage.record(CoverageEvent::RowDamaged);
    }
    model.set_defects(id, defects, server, now);
}

/// Repairs all rows.
pub(crate) fn repair_all(model: &mut ReferenceModel, server: &mut Server, now: DateTime<Utc>) {
    for id in model.defective_ids() {
        model.set_defects(id, Vec::new(), server, now);
    }
}

fn draw(hazards: Hazards, rng: &mut Rng) -> Vec<RowDefect> {
    let value = |form, field: &str| RowDefect::Value { form, path: vec![field.to_owned()] };
    let mut kinds = Vec::new();
    if hazards.rejected_values {
        let count = rng.usize(1..=2);
        let fields = rng.choose_multiple(FIELDS, count).into_iter();
        kinds.push(
            fields.map(|field| value([ValueForm::Object, ValueForm::Array][rng.usize(..2)], field)).collect(),
        );
    }
    if hazards.rows_without_id {
        let forms = [ValueForm::Missing, ValueForm::Null, ValueForm::Object, ValueForm::Nonsense];
        kinds.push(vec![value(forms[rng.usize(..4)], "id")]);
    }
    if hazards.unreadable_rows {
        kinds.push(vec![RowDefect::Text([TextDefect::Broken, TextDefect::Cut][rng.usize(..2)])]);
    }
    kinds.swap_remove(rng.usize(..kinds.len()))
}
