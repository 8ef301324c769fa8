//! The few figures above all others; pure.

use indicatif::HumanCount;

use super::ticket_counter::{TicketCounter, median};

/// What a figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FigureUnit {
    /// Tickets.
    Tickets,
    /// Elapsed hours.
    Hours,
}

/// A figure, and the same of the period before.
#[derive(Clone, Debug, PartialEq)]
pub struct Headline {
    /// What it is.
    pub label: &'static str,
    /// Its unit.
    pub unit: FigureUnit,
    /// Its value; `None` where the copy cannot know it.
    pub value: Option<f64>,
    /// Its value in the period before, or when that ended; `None` as above.
    pub before: Option<f64>,
    /// Whether it counts what is there at a time, and not what happened in the period.
    pub is_level: bool,
    /// What must be known to read it.
    pub note: Option<String>,
}

#[expect(clippy::cast_precision_loss)]
pub(super) fn headlines(counter: &TicketCounter) -> Vec<Headline> {
    let tickets = |label, (value, before): (Option<u64>, Option<u64>), note| Headline {
        label,
        unit: FigureUnit::Tickets,
        value: value.map(|it| it as f64),
        before: before.map(|it| it as f64),
        is_level: false,
        note,
    };
    let undated = counter.without_creation;
    let unclosed = counter.closed_without_date;
    let no_closing_times = counter.has_no_closing_times();
    // A comparison would be one of what is known, and not of what happened.
    let comparable = undated == 0 && unclosed == 0;
    let open = counter.open.open;
    let [opened_earlier, opened] = counter.opened;
    let [closed_earlier, closed] = counter.closed_in;
    let open_before = (open + closed).checked_sub(opened).filter(|_| comparable);
    let dated = undated < counter.tickets || counter.tickets == 0;
    let count_note = |count: u64, one: &str, many: &str| match count {
        0 => None,
        1 => Some(format!("one {one}")),
        _ => Some(format!("{} {many}", HumanCount(count))),
    };
    let closed_note = if no_closing_times {
        Some("the copy has no closing times".into())
    } else {
        count_note(unclosed, "more has no closing time", "more have no closing time")
    };
    let no_due = 0 < open && counter.open_without_fix_by == open;
    let overdue_note = if no_due {
        "the copy has no due dates".into()
    } else {
        count_note(
            counter.open_without_fix_by,
            "open ticket has no due date",
            "open tickets have no due date",
        )
        .unwrap_or_else(|| "now; what was overdue earlier is not known".into())
    };
    let median_of = |label, values: &[Vec<f32>; 2], is_unknown: bool, unknown: &str, none: &str, of: &str| {
        let [before, value] = values.each_ref().map(|hours| median(hours));
        let note = match value {
            Some(_) => of,
            None if is_unknown => unknown,
            None => none,
        };
        Headline {
            label,
            unit: FigureUnit::Hours,
            value,
            before: before.filter(|_| comparable),
            is_level: false,
            note: Some(note.into()),
        }
    };
    vec![
        Headline { is_level: true, ..tickets("Open", (Some(open), open_before), None) },
        tickets(
            "Opened",
            (dated.then_some(opened), dated.then_some(opened_earlier)),
            count_note(undated, "ticket has no creation date", "tickets have no creation date"),
        ),
        tickets(
            "Closed",
            ((!no_closing_times).then_some(closed), (unclosed == 0).then_some(closed_earlier)),
            closed_note,
        ),
        tickets("Overdue", ((!no_due).then_some(counter.open.overdue), None), Some(overdue_note)),
        median_of(
            "Median time to close",
            &counter.closing_hours,
            no_closing_times,
            "the copy has no closing times",
            "no ticket was closed in the period",
            "of tickets closed in the period",
        ),
        median_of(
            "Median first response",
            &counter.response_hours,
            counter.responded == 0,
            "the copy has no times of first responses",
            "no ticket was first responded to in the period",
            "of tickets first responded to in the period",
        ),
    ]
}
