//! Charts as SVG, drawn from the table behind them. A screen reader gets the table instead.

use chrono::NaiveDate;
use maud::{Markup, html};

use super::data_table::DataTable;

/// The width of a chart in its own units.
const WIDTH: f64 = 460.0;

/// The height of a chart with a vertical axis.
const HEIGHT: f64 = 200.0;

/// Around the area that is drawn in.
const LEFT: f64 = 46.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 26.0;

/// The width of names before horizontal bars, and of the figure behind them.
const NAMES: f64 = 150.0;
const FIGURES: f64 = 52.0;

/// The height of a horizontal bar with its distance.
const BAR: f64 = 22.0;

/// So many characters of a name are shown beside a bar; the table has all.
const NAME_MAX: usize = 20;

/// So many dates are below an axis.
const DATES: usize = 5;

/// Steps of an axis.
const STEPS: u32 = 4;

/// A figure with caption, note, chart, and the table behind it. The legend names what the colors of the chart are.
pub(super) fn figure(
    title: &str,
    note: &str,
    table: &DataTable,
    legend: &[&str],
    chart: &Markup,
    empty: &str,
) -> Markup {
    html! {
        figure {
            figcaption { h3 { (title) } @if !note.is_empty() { p class="note" { (note) } } }
            @if table.rows().is_empty() {
                p class="empty" { (empty) }
            } @else {
                @if !legend.is_empty() { (colors(legend)) }
                (chart)
                (table.details(title))
            }
        }
    }
}

fn colors(columns: &[&str]) -> Markup {
    html! {
        ul class="legend" aria-hidden="true" {
            @for (index, column) in columns.iter().enumerate() {
                li { span class=(format!("swatch s{index}")) {} (column) }
            }
        }
    }
}

fn svg(height: f64, content: &Markup) -> Markup {
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {height}")) aria-hidden="true" focusable="false" { (content) }
    }
}

/// The end of an axis that holds a value, so that its steps are round.
fn axis_end(greatest: f64) -> f64 {
    let step = (greatest / f64::from(STEPS)).max(1.0);
    let magnitude = 10_f64.powf(step.log10().floor());
    let round = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|it| it * magnitude).find(|it| step <= *it);
    // Half a ticket is none.
    round.unwrap_or(step).ceil() * f64::from(STEPS)
}

/// Where a value is on the vertical axis.
fn y(value: f64, end: f64) -> f64 {
    TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - value / end)
}

fn axes(table: &DataTable, end: f64, x: impl Fn(usize) -> f64) -> Markup {
    let every = table.rows().len().div_ceil(DATES).max(1);
    html! {
        @for step in 0..=STEPS {
            @let value = end * f64::from(step) / f64::from(STEPS);
            line class="grid" x1=(LEFT) x2=(WIDTH - RIGHT) y1=(y(value, end)) y2=(y(value, end)) {}
            text class="axis end" x=(LEFT - 6.0) y=(y(value, end) + 4.0) { (table.text(0, value)) }
        }
        @for (index, (name, _)) in table.rows().iter().enumerate().step_by(every) {
            text class="axis middle" x=(x(index)) y=(HEIGHT - 8.0) { (short_date(name, table.rows().len())) }
        }
    }
}

fn greatest(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, f64::max)
}

/// The first column as a line over time.
#[expect(clippy::cast_precision_loss)]
pub(super) fn line(table: &DataTable) -> Markup {
    let values: Vec<f64> =
        table.rows().iter().map(|(_, figures)| figures[0].unwrap_or(0.0).max(0.0)).collect();
    let end = axis_end(greatest(values.iter().copied()));
    let step = (WIDTH - LEFT - RIGHT) / values.len().max(1) as f64;
    let x = |index: usize| LEFT + step * (index as f64 + 0.5);
    let points: Vec<_> = values
        .iter()
        .enumerate()
        .map(|(index, value)| format!("{:.1},{:.1}", x(index), y(*value, end)))
        .collect();
    let last = x(values.len().saturating_sub(1));
    let area = format!("{:.1},{} {} {last:.1},{}", x(0), HEIGHT - BOTTOM, points.join(" "), HEIGHT - BOTTOM);
    svg(
        HEIGHT,
        &html! {
            (axes(table, end, x))
            polygon class="area" points=(area) {}
            polyline class="line" points=(points.join(" ")) {}
            @for (index, ((name, _), value)) in table.rows().iter().zip(&values).enumerate() {
                rect class="hover" x=(x(index) - step / 2.0) y=(TOP) width=(step) height=(HEIGHT - TOP - BOTTOM) {
                    title { (name) ": " (table.text(0, *value)) }
                }
            }
        },
    )
}

/// The columns side by side, over time.
#[expect(clippy::cast_precision_loss)]
pub(super) fn columns(table: &DataTable) -> Markup {
    let all = table.rows().iter().flat_map(|(_, figures)| figures.iter().flatten().copied());
    let end = axis_end(greatest(all));
    let step = (WIDTH - LEFT - RIGHT) / table.rows().len().max(1) as f64;
    let width = step * 0.8 / table.width() as f64;
    let middle = |index: usize| LEFT + step * (index as f64 + 0.5);
    svg(
        HEIGHT,
        &html! {
            (axes(table, end, middle))
            @for (index, (name, figures)) in table.rows().iter().enumerate() {
                @for (column, value) in figures.iter().enumerate() {
                    @let value = value.unwrap_or(0.0);
                    rect class=(format!("s{column}")) x=(LEFT + step * (index as f64 + 0.1) + width * column as f64)
                        y=(y(value, end)) width=(width) height=(HEIGHT - BOTTOM - y(value, end)) {
                        title { (name) ", " (table.column(column)) ": " (table.text(0, value)) }
                    }
                }
            }
        },
    )
}

/// Each row as a bar of its columns.
#[expect(clippy::cast_precision_loss)]
pub(super) fn bars(table: &DataTable) -> Markup {
    let sum = |figures: &[Option<f64>]| figures.iter().flatten().sum::<f64>();
    let end = greatest(table.rows().iter().map(|(_, figures)| sum(figures))).max(1e-9);
    let scale = (WIDTH - NAMES - FIGURES) / end;
    svg(
        BAR * table.rows().len() as f64,
        &html! {
            @for (index, (name, figures)) in table.rows().iter().enumerate() {
                @let top = BAR * index as f64;
                text class="name end" x=(NAMES - 8.0) y=(top + 15.0) { (shortened(name)) }
                @for (column, value) in figures.iter().enumerate() {
                    @let value = value.unwrap_or(0.0);
                    @let before = sum(&figures[..column]);
                    rect class=(format!("s{column}")) x=(NAMES + before * scale) y=(top + 3.0) width=(value * scale)
                        height=(BAR - 6.0) {
                        title { (name) ", " (table.column(column)) ": " (table.text(0, value)) }
                    }
                }
                text class="figure" x=(NAMES + sum(figures) * scale + 6.0) y=(top + 15.0) {
                    (if figures.iter().all(Option::is_none) { "not known".into() } else { table.text(0, sum(figures)) })
                }
            }
        },
    )
}

/// Rows and columns as a field of shades.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
pub(super) fn heat(table: &DataTable) -> Markup {
    const LABELS: f64 = 36.0;
    const ROW: f64 = 20.0;
    let end =
        greatest(table.rows().iter().flat_map(|(_, figures)| figures.iter().flatten().copied())).max(1.0);
    let width = (WIDTH - LABELS) / table.width().max(1) as f64;
    svg(
        ROW * table.rows().len() as f64 + 20.0,
        &html! {
            @for (index, (name, figures)) in table.rows().iter().enumerate() {
                text class="axis end" x=(LABELS - 8.0) y=(ROW * index as f64 + 14.0) { (name.get(..3).unwrap_or(name)) }
                @for (column, value) in figures.iter().enumerate() {
                    @let value = value.unwrap_or(0.0);
                    @let shade = (value / end * 5.0).ceil() as i64;
                    rect class=(format!("h{shade}")) x=(LABELS + width * column as f64 + 1.0) y=(ROW * index as f64 + 1.0)
                        width=(width - 2.0) height=(ROW - 2.0) {
                        title { (name) " " (table.column(column)) ": " (table.text(0, value)) }
                    }
                }
            }
            @for (column, name) in table.column_names().iter().enumerate().step_by(3) {
                text class="axis middle" x=(LABELS + width * (column as f64 + 0.5)) y=(ROW * table.rows().len() as f64 + 15.0) {
                    (name)
                }
            }
        },
    )
}

/// A date below an axis, with the year where the axis has many days.
fn short_date(date: &str, count: usize) -> String {
    const DAYS_OF_A_YEAR: usize = 300;
    let Ok(parsed) = date.parse::<NaiveDate>() else { return date.to_owned() };
    parsed.format(if DAYS_OF_A_YEAR < count { "%b %Y" } else { "%b %-d" }).to_string()
}

fn shortened(name: &str) -> String {
    if name.chars().count() <= NAME_MAX {
        return name.to_owned();
    }
    name.chars().take(NAME_MAX - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axis_ends_in_round_steps_above_the_greatest_value() {
        for (greatest, end) in
            [(0.0, 4.0), (3.0, 4.0), (5.0, 8.0), (10.0, 12.0), (97.0, 100.0), (1_234.0, 2_000.0)]
        {
            assert!((axis_end(greatest) - end).abs() < 1e-9, "{greatest}: {}", axis_end(greatest));
        }
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        assert_eq!(shortened("short"), "short");
        assert_eq!(shortened(&"ä".repeat(40)).chars().count(), NAME_MAX);
    }
}
