//! The table on the terminal, and how figures are written everywhere.

use comfy_table::{CellAlignment, Table, presets};

use super::{Report, RowResult};
use crate::engine::Variant;
use crate::matrix::Unit;

/// All groups as tables: figures, and how many times better lightning_db is.
#[must_use]
pub fn table(report: &Report) -> String {
    let mut text = String::new();
    for group in &report.groups {
        let variants: Vec<Variant> =
            report.variants().into_iter().filter(|variant| group.settings.contains_key(variant)).collect();
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY);
        let titles = variants.iter().map(|variant| variant.title().to_owned());
        table.set_header(std::iter::once(String::new()).chain(titles));
        for row in &group.rows {
            let cells = variants.iter().map(|&variant| cell(row, variant));
            table.add_row(std::iter::once(row.title.clone()).chain(cells));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        text += &format!(
            "\n{}: {} keys, values of {} bytes, cache {} MiB\n{table}\n",
            group.group.title(),
            grouped(group.keys),
            group.value_bytes,
            group.cache_bytes >> 20
        );
    }
    text
}

fn cell(row: &RowResult, variant: Variant) -> String {
    let Some(reading) = row.reading(variant) else { return "-".to_owned() };
    let shown = figure(row.unit, reading.value);
    match row.ratio(Variant::Lightning, variant).filter(|_| variant != Variant::Lightning) {
        Some(ratio) => format!("{shown}\n({})", times(ratio)),
        None => shown,
    }
}

/// A row's figure with its unit.
#[must_use]
pub(super) fn figure(unit: Unit, value: f64) -> String {
    match unit {
        Unit::PerSecond if value >= 1e6 => format!("{:.2} M/s", value / 1e6),
        Unit::PerSecond if value >= 1e4 => format!("{:.0} k/s", value / 1e3),
        Unit::PerSecond if value >= 1e3 => format!("{:.1} k/s", value / 1e3),
        Unit::PerSecond => format!("{value:.0} /s"),
        Unit::Milliseconds if value >= 100.0 => format!("{value:.0} ms"),
        Unit::Milliseconds if value >= 0.1 => format!("{value:.1} ms"),
        Unit::Milliseconds => format!("{:.2} µs", 1e3 * value),
    }
}

/// A ratio, as many digits as mean something.
#[must_use]
pub(super) fn times(ratio: f64) -> String {
    if ratio >= 100.0 {
        format!("{ratio:.0}×")
    } else if ratio >= 10.0 {
        format!("{ratio:.1}×")
    } else {
        format!("{ratio:.2}×")
    }
}

/// A time of nanoseconds, in the unit that suits it.
#[must_use]
pub(super) fn duration(nanoseconds: f64) -> String {
    match nanoseconds {
        ns if ns >= 1e9 => format!("{:.2} s", ns / 1e9),
        ns if ns >= 1e6 => format!("{:.1} ms", ns / 1e6),
        ns if ns >= 1e3 => format!("{:.1} µs", ns / 1e3),
        ns => format!("{ns:.0} ns"),
    }
}

/// `1,234,567`
#[must_use]
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
