//! Figures in rows: what a chart draws, and the table behind it.

use indicatif::HumanCount;
use maud::{Markup, html};

use crate::app::{FigureUnit, duration_to_text};

/// A figure for people.
pub(super) fn figure_to_text(unit: FigureUnit, value: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    match unit {
        FigureUnit::Tickets if value < 0.0 => format!("-{}", HumanCount(-value.round() as u64)),
        FigureUnit::Tickets => HumanCount(value.round() as u64).to_string(),
        FigureUnit::Hours => duration_to_text((value * 3_600.0).round() as u64),
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
    pub(super) unit: FigureUnit,
}

impl DataTable {
    #[expect(clippy::cast_precision_loss)]
    pub(super) fn of_counts<const N: usize>(
        subject: &'static str,
        columns: [&'static str; N],
        rows: impl IntoIterator<Item = (String, [u64; N])>,
    ) -> DataTable {
        let rows = rows.into_iter().map(|(name, counts)| (name, counts.map(|it| Some(it as f64)).to_vec()));
        DataTable { subject, columns: columns.to_vec(), rows: rows.collect(), unit: FigureUnit::Tickets }
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
                                        td class="number" { (figure.map_or("not known".into(), |it| figure_to_text(self.unit, it))) }
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
