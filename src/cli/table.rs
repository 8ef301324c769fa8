//! Tables without borders, on a terminal as wide as it is, elsewhere never wrapped.

use std::io::IsTerminal as _;
use std::os::fd::AsFd;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table};

/// The width of a terminal that does not say it, in columns.
const DEFAULT_WIDTH: u16 = 80;

/// Space before a table and between its columns.
const GAP: u16 = 2;

/// The width of the terminal on stdout; `None` where that is none.
pub(super) fn terminal_width() -> Option<u16> {
    let stdout = std::io::stdout();
    stdout.is_terminal().then(|| width_of(&stdout))
}

/// The width of a terminal, in columns.
pub(super) fn width_of(terminal: impl AsFd) -> u16 {
    let size = rustix::termios::tcgetwinsize(terminal).ok();
    size.map(|size| size.ws_col).filter(|width| 0 < *width).unwrap_or(DEFAULT_WIDTH)
}

/// A column of a table.
#[derive(Clone, Copy)]
pub(super) enum ColumnKind {
    /// Text, aligned left.
    Text,
    /// A number, aligned right.
    Number,
}

/// Formats rows under a header. The last column wraps where `width` is too small.
pub(super) fn table<const N: usize>(
    columns: [(&str, ColumnKind); N],
    rows: Vec<[String; N]>,
    width: Option<u16>,
) -> String {
    let mut table = Table::new();
    table.set_header(columns.map(|(title, _)| title));
    table.add_rows(rows);
    for (number, (column, (_, kind))) in table.column_iter_mut().zip(columns).enumerate() {
        column.set_padding((GAP, 0));
        // Dates and numbers in two lines cannot be read; a terminal that is too narrow wraps the row.
        if number + 1 < N {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
        column.set_cell_alignment(match kind {
            ColumnKind::Text => CellAlignment::Left,
            ColumnKind::Number => CellAlignment::Right,
        });
    }
    to_text(table, width)
}

/// Formats rows of a name and a value, in columns `names` wide at least. Long values wrap beside their names.
pub(super) fn pairs(rows: &[(String, String)], names: usize, width: Option<u16>) -> String {
    let mut table = Table::new();
    table.add_rows(rows.iter().map(|(name, value)| [format!("{name:<names$}"), value.clone()]));
    for column in table.column_iter_mut() {
        column.set_padding((GAP, 0));
    }
    if let Some(names) = table.column_mut(0) {
        names.set_constraint(ColumnConstraint::ContentWidth);
    }
    to_text(table, width)
}

/// Formats a paragraph whose further lines begin below the text after `lead`, if there is one. Commands in backticks stay in one line.
pub(super) fn paragraph(lead: &str, text: &str, width: Option<u16>) -> String {
    let mut table = Table::new();
    let cells = [lead.to_owned(), unbreakable_commands(text)];
    table.add_row(cells.into_iter().filter(|it| !it.is_empty()));
    for (column, gap) in table.column_iter_mut().zip([0, 1]) {
        column.set_padding((gap, 0));
    }
    if let Some(lead) = table.column_mut(0).filter(|_| !lead.is_empty()) {
        lead.set_constraint(ColumnConstraint::ContentWidth);
    }
    to_text(table, width).replace(UNBREAKABLE_SPACE, " ")
}

const UNBREAKABLE_SPACE: &str = "\u{a0}";

fn unbreakable_commands(text: &str) -> String {
    let parts = text.split('`').enumerate();
    let parts =
        parts.map(
            |(position, part)| {
                if position % 2 == 1 { part.replace(' ', UNBREAKABLE_SPACE) } else { part.to_owned() }
            },
        );
    parts.collect::<Vec<_>>().join("`")
}

fn to_text(mut table: Table, width: Option<u16>) -> String {
    table.load_style(NOTHING);
    match width {
        Some(width) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    // Empty lines and padding mean nothing to a program.
    table.trim_fmt() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned_and_wrap_only_on_a_terminal() {
        let columns = [("NAME", ColumnKind::Text), ("ROWS", ColumnKind::Number), ("WHY", ColumnKind::Text)];
        let rows = || {
            vec![
                ["short".to_owned(), "1,000".to_owned(), "a reason of several words".to_owned()],
                ["a longer name".to_owned(), "7".to_owned(), String::new()],
            ]
        };
        let plain = "  NAME            ROWS  WHY\n  short          1,000  a reason of several words\n  a longer name      7\n";
        assert_eq!(table(columns, rows(), None), plain);
        assert_eq!(table(columns, rows(), Some(80)), plain);
        let narrow = table(columns, rows(), Some(40));
        assert!(narrow.lines().all(|line| line.chars().count() <= 40), "{narrow}");
        assert!(narrow.contains("  a longer name      7\n"), "{narrow}");
    }

    #[test]
    fn values_wrap_beside_their_names() {
        let rows = [("Name".to_owned(), "a value of many words that is long".to_owned())];
        assert_eq!(pairs(&rows, 6, None), "  Name    a value of many words that is long\n");
        assert_eq!(pairs(&rows, 6, Some(30)), "  Name    a value of many\n          words that is long\n");
        assert_eq!(paragraph("OK —", "all is well", Some(13)), "OK — all is\n     well\n");
        assert_eq!(paragraph("OK —", "all is well", None), "OK — all is well\n");
        assert_eq!(paragraph("", "all is well", Some(8)), "all is\nwell\n");
        assert_eq!(
            paragraph("OK —", "run `halosync sync` now", Some(20)),
            "OK — run\n     `halosync sync`\n     now\n"
        );
    }
}
