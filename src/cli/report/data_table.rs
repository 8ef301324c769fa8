//! Figures in rows: what a chart draws, and the table behind it.

use indicatif::HumanCount;
use maud::{Markup, html};

use crate::app::duration_to_text;

/// What the figures are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Numbers of tickets.
    Tickets,
    /// Hours of the clock.
    Hours,
}

impl Unit {
    /// A figure for people.
    pub(super) fn to_text(self, value: f64) -> String {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        match self {
            Unit::Tickets if value < 0.0 => format!("-{}", HumanCount(-value.round() as u64)),
            Unit::Tickets => HumanCount(value.round() as u64).to_string(),
            Unit::Hours => duration_to_text((value * 3_600.0).round() as u64),
        }
    }
}

/// Figures in rows.
pub(super) struct DataTable {
    /// What the first column names.
    pub(super) subject: &'static str,
    /// The columns of figures.
    pub(super) columns: Vec<&'static str>,
    /// What each row is about, and its figures; `None` is not known.
    pub(super) rows: Vec<(String, Vec<Option<f64>>)>,
    /// What the figures are.
    pub(super) unit: Unit,
}

impl DataTable {
    #[expect(clippy::cast_precision_loss)]
    pub(super) fn of_counts<const N: usize>(
        subject: &'static str,
        columns: [&'static str; N],
        rows: impl IntoIterator<Item = (String, [u64; N])>,
    ) -> DataTable {
        let rows = rows.into_iter().map(|(name, counts)| (name, counts.map(|it| Some(it as f64)).to_vec()));
        DataTable { subject, columns: columns.to_vec(), rows: rows.collect(), unit: Unit::Tickets }
    }

    /// The table, closed at first, with a button that copies it.
    pub(super) fn details(&self, caption: &str) -> Markup {
        html! {
            details {
                summary { "Table" }
                div class="scroll" tabindex="0" role="region" aria-label=(caption) {
                    table {
                        caption { (caption) }
                        thead { tr {
                            th scope="col" { (self.subject) }
                            @for column in &self.columns { th scope="col" class="number" { (column) } }
                        } }
                        tbody {
                            @for (name, figures) in &self.rows {
                                tr {
                                    th scope="row" { (name) }
                                    @for figure in figures {
                                        td class="number" { (figure.map_or("not known".into(), |it| self.unit.to_text(it))) }
                                    }
                                }
                            }
                        }
                    }
                }
                button type="button" class="copy" { "Copy table" }
            }
        }
    }
}
