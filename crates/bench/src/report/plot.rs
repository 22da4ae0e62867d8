//! Plots as inline SVG.

use std::fmt::Write;

use super::text::{figure, times};
use super::{GroupResult, RowResult};
use crate::engine::Variant;

const WIDTH: f64 = 860.0;
const LABEL: f64 = 150.0;
const BAR: f64 = 17.0;
const FIGURES: f64 = 150.0;

/// An engine's colour, the same in all plots.
#[must_use]
pub(super) fn colour(variant: Variant) -> &'static str {
    match variant {
        Variant::Lightning => "#d97706",
        Variant::LightningPlain => "#fbbf24",
        Variant::LightningSystem => "#92400e",
        Variant::Rocksdb => "#2563eb",
        Variant::RocksdbSystem => "#93c5fd",
        Variant::Lmdb => "#059669",
        Variant::LmdbTxn => "#6ee7b7",
        Variant::Redb => "#dc2626",
        Variant::Fjall => "#7c3aed",
        Variant::Sqlcipher => "#6b7280",
    }
}

/// One row as bars, on a logarithmic scale over the row's own range.
#[must_use]
pub(super) fn bars(row: &RowResult) -> String {
    let shown: Vec<(Variant, f64)> =
        row.results.keys().filter_map(|&variant| Some((variant, row.reading(variant)?.value))).collect();
    let (mut low, mut high) = (f64::MAX, f64::MIN);
    for (_, value) in &shown {
        (low, high) = (low.min(*value), high.max(*value));
    }
    let (low, high) = ((low / 2.0).max(1e-9).ln(), high.max(1e-9).ln());
    let height = shown.len() as f64 * BAR + 4.0;
    let mut svg =
        format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">", escape(&row.title));
    for (index, (variant, value)) in shown.iter().enumerate() {
        let (y, room) = (index as f64 * BAR, WIDTH - LABEL - FIGURES);
        let length = room * (value.max(1e-9).ln() - low) / (high - low).max(1e-9);
        let (text_y, label_x, figure_x) = (y + BAR - 4.0, LABEL - 6.0, LABEL + length + 6.0);
        let ratio = row.ratio(Variant::Lightning, *variant).filter(|_| *variant != Variant::Lightning);
        let ratio = ratio.map(|ratio| format!(" ({})", times(ratio))).unwrap_or_default();
        let _ = write!(
            svg,
            "<text x=\"{label_x}\" y=\"{text_y}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{LABEL}\" y=\"{:.1}\" width=\"{length:.1}\" height=\"{}\" fill=\"{}\"/>\
             <text x=\"{figure_x:.1}\" y=\"{text_y}\">{}{ratio}</text>",
            variant.title(),
            y + 2.0,
            BAR - 3.0,
            colour(*variant),
            figure(row.unit, *value)
        );
    }
    svg + "</svg>"
}

const LINES_HEIGHT: f64 = 180.0;

/// Operations a second over time, a line for each engine; nothing if no engine ran long enough for a line.
#[must_use]
pub(super) fn lines(row: &RowResult) -> String {
    let series = row.results.keys().filter_map(|&variant| Some((variant, &row.reading(variant)?.series)));
    let series: Vec<_> = series.filter(|(_, values)| values.len() > 1).collect();
    let longest = series.iter().map(|(_, values)| values.len()).max().unwrap_or(0);
    let high = series.iter().flat_map(|(_, values)| values.iter().copied()).fold(0.0, f64::max);
    if longest < 2 || high <= 0.0 {
        return String::new();
    }
    let (room, base) = (WIDTH - LABEL - 10.0, LINES_HEIGHT - 20.0);
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {LINES_HEIGHT}\" role=\"img\">");
    let _ = write!(
        svg,
        "<text x=\"{0}\" y=\"14\" text-anchor=\"end\">{1}</text><text x=\"{0}\" y=\"{base}\" text-anchor=\"end\">0</text>\
         <text x=\"{2}\" y=\"{3}\" text-anchor=\"end\">{4:.1} s</text>\
         <path d=\"M{LABEL} 4V{base}H{2}\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"0.5\"/>",
        LABEL - 6.0,
        figure(row.unit, high),
        WIDTH - 10.0,
        LINES_HEIGHT - 4.0,
        longest as f64 / 10.0
    );
    for (variant, values) in series {
        let points: Vec<String> = values
            .iter()
            .enumerate()
            .map(|(index, value)| {
                let x = LABEL + room * index as f64 / (longest - 1) as f64;
                format!("{x:.1},{:.1}", base - (base - 6.0) * value / high)
            })
            .collect();
        let _ = write!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\"><title>{}</title></polyline>",
            points.join(" "),
            colour(variant),
            variant.title()
        );
    }
    svg + "</svg>"
}

/// Whether a group's rows run long enough for lines over time to tell something.
#[must_use]
pub(super) fn has_lines(group: &GroupResult) -> bool {
    matches!(group.group, crate::matrix::Group::Write | crate::matrix::Group::Mixed)
}

/// Text for HTML.
#[must_use]
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
