//! Figures in rows: what a chart draws, and the table behind it.

use indicatif::HumanCount;
use maud::{Markup, html};

use crate::app::{FigureUnit, duration_to_text};
use crate::cli::printable;

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
    subject: &'static str,
    /// The columns of figures, each with its unit.
    columns: Vec<(&'static str, FigureUnit)>,
    /// What each row is about, and its figures; `None` is not known.
    rows: Vec<(String, Vec<Option<f64>>)>,
}

impl DataTable {
    /// A table; the names of rows come from the server, and are made safe to show.
    pub(super) fn new(
        subject: &'static str,
        columns: Vec<(&'static str, FigureUnit)>,
        rows: impl IntoIterator<Item = (String, Vec<Option<f64>>)>,
    ) -> DataTable {
        let rows = rows.into_iter().map(|(name, figures)| (printable(&name), figures)).collect();
        DataTable { subject, columns, rows }
    }

    /// A table of numbers of tickets.
    #[expect(clippy::cast_precision_loss)]
    pub(super) fn of_counts<const N: usize, C: Into<Option<u64>>>(
        subject: &'static str,
        columns: [&'static str; N],
        rows: impl IntoIterator<Item = (String, [C; N])>,
    ) -> DataTable {
        let figure = |count: C| count.into().map(|it| it as f64);
        let rows = rows.into_iter().map(|(name, counts)| (name, counts.map(figure).to_vec()));
        DataTable::new(subject, columns.map(|name| (name, FigureUnit::Tickets)).to_vec(), rows)
    }

    /// Some of its columns, such as a chart draws.
    pub(super) fn with_columns(&self, wanted: &[usize]) -> DataTable {
        let rows = self.rows.iter().map(|(name, figures)| {
            (name.clone(), wanted.iter().map(|index| figures.get(*index).copied().flatten()).collect())
        });
        let columns = wanted.iter().filter_map(|index| self.columns.get(*index).copied());
        DataTable { subject: self.subject, columns: columns.collect(), rows: rows.collect() }
    }

    /// Its first rows, such as a chart draws.
    pub(super) fn first_rows(&self, count: usize) -> DataTable {
        let rows = self.rows.iter().take(count).cloned().collect();
        DataTable { subject: self.subject, columns: self.columns.clone(), rows }
    }

    /// The rows: a name, and a figure for each column.
    pub(super) fn rows(&self) -> &[(String, Vec<Option<f64>>)] {
        &self.rows
    }

    /// The names of the columns.
    pub(super) fn column_names(&self) -> Vec<&'static str> {
        self.columns.iter().map(|(name, _)| *name).collect()
    }

    /// How many columns of figures it has.
    pub(super) fn width(&self) -> usize {
        self.columns.len()
    }

    /// The name of a column.
    pub(super) fn column(&self, index: usize) -> &'static str {
        self.columns[index].0
    }

    /// A figure of a column for people.
    pub(super) fn text(&self, column: usize, value: f64) -> String {
        figure_to_text(self.columns[column].1, value)
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
                            @for (column, unit) in &self.columns {
                                @let copied = match unit { FigureUnit::Tickets => (*column).to_owned(), FigureUnit::Hours => format!("{column} (hours)") };
                                th scope="col" class="number" data-value=(copied) { (column) }
                            }
                        } }
                        tbody {
                            @for (name, figures) in &self.rows {
                                tr {
                                    th scope="row" { (name) }
                                    @for (column, figure) in figures.iter().enumerate() {
                                        @let copied = figure.map_or(String::new(), |it| it.to_string());
                                        td class="number" data-value=(copied) {
                                            (figure.map_or("not known".into(), |it| self.text(column, it)))
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
                button type="button" class="copy" { "Copy table" }
                span role="status" class="note" {}
            }
        }
    }
}
