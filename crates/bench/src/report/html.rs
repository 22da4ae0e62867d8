//! The report as one HTML page that needs nothing else.

use std::fmt::Write;

use super::plot::{bars, colour, escape, has_lines, lines};
use super::targets::{TARGETS, short};
use super::text::{duration, grouped};
use super::{GroupResult, Report, RowResult};
use crate::measure::Outcome;

const STYLE: &str = "\
:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
svg{width:100%;font:12px system-ui,sans-serif;fill:currentColor}table{border-collapse:collapse;font-size:13px}\
td,th{padding:.15rem .6rem;border-bottom:1px solid #8884;text-align:left}h3{margin:1.2rem 0 .2rem}\
.met{color:#059669}.missed{color:#dc2626}.wide{overflow-x:auto}.key span{margin-right:1rem}.key i{display:inline-block;\
width:.8em;height:.8em;margin-right:.3em}";

/// The whole page.
#[must_use]
pub(super) fn page(report: &Report) -> String {
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>lightning_db: benchmarks</title><style>{STYLE}</style><h1>lightning_db beside its peers</h1>\
         <p><code>{}</code></p>",
        escape(&report.command)
    );
    let machine = &report.machine;
    let _ = write!(
        html,
        "<p>{} · {} threads · L3 {} · {} MiB · {} · {} · {} · load {} · medians of {} rounds. Bars are on a logarithmic \
         scale; in brackets: how many times better lightning_db, encrypted, is.</p><p class=\"key\">",
        escape(&machine.processor),
        machine.processors,
        machine.l3,
        machine.memory_mib,
        escape(&machine.kernel),
        escape(&machine.storage),
        escape(&machine.target),
        machine.load,
        report.rounds
    );
    for variant in report.variants() {
        let _ =
            write!(html, "<span><i style=\"background:{}\"></i>{}</span>", colour(variant), variant.title());
    }
    html += "</p>";
    html += &targets(report);
    for group in &report.groups {
        html += &section(group);
    }
    html += &settings(report);
    html + "</html>\n"
}

fn targets(report: &Report) -> String {
    let mut html = String::from("<h2>Targets</h2><table><tr><th>target<th>wanted<th>reached<th>");
    for target in TARGETS {
        let standing = target.standing(report);
        let (class, verdict) = match (standing.is_met, standing.reached) {
            (true, _) => ("met", "met".to_owned()),
            (false, Some(_)) => ("missed", format!("{:.0}%", 100.0 * standing.share)),
            (false, None) => ("", "not measured".to_owned()),
        };
        let reached = standing.reached.map(short).unwrap_or_default();
        let _ = write!(
            html,
            "<tr><td>{}<td>{}<td>{reached}<td class=\"{class}\">{verdict}",
            escape(target.what),
            standing.wanted
        );
    }
    html + "</table>"
}

fn section(group: &GroupResult) -> String {
    let mut html = format!(
        "<h2>{}</h2><p>{} keys, values of {} bytes, cache {} MiB</p>",
        escape(group.group.title()),
        grouped(group.keys),
        group.value_bytes,
        group.cache_bytes >> 20
    );
    for row in &group.rows {
        let _ = write!(html, "<h3>{}</h3>{}", escape(&row.title), bars(row));
        if has_lines(group) {
            html += &lines(row);
        }
        html += &details(row);
    }
    html
}

fn details(row: &RowResult) -> String {
    let mut html =
        String::from("<details><summary>Latencies and other figures</summary><div class=\"wide\"><table>");
    html += "<tr><th><th><th>P50<th>P99<th>P99.9<th>P99.99<th>longest<th>rounds<th>other figures";
    for (variant, outcome) in &row.results {
        let reading = match outcome {
            Outcome::Measured(reading) => reading,
            Outcome::Absent(reason) => {
                let _ = write!(html, "<tr><td>{}<td colspan=\"8\">{}", variant.title(), escape(reason));
                continue;
            }
        };
        let mut figures: Vec<String> = reading
            .figures
            .iter()
            .map(|(name, value)| format!("{} {}", name.replace('_', " "), short(*value)))
            .collect();
        figures.extend(reading.remarks.iter().map(|remark| escape(remark)));
        let rounds: Vec<String> =
            row.rounds.get(variant).into_iter().flatten().map(|value| short(*value)).collect();
        let (figures, rounds) = (figures.join(", "), rounds.join(" "));
        if reading.latencies.is_empty() {
            let _ = write!(html, "<tr><td>{}<td colspan=\"6\"><td>{rounds}<td>{figures}", variant.title());
        }
        for (kind, latency) in &reading.latencies {
            let parts = [latency.p50, latency.p99, latency.p999, latency.p9999, latency.max].map(duration);
            let parts = parts.join("<td>");
            let _ = write!(html, "<tr><td>{}<td>{kind}<td>{parts}<td>{rounds}<td>{figures}", variant.title());
        }
    }
    html + "</table></div></details>"
}

fn settings(report: &Report) -> String {
    let Some(group) = report.groups.first() else { return String::new() };
    let mut html = String::from("<h2>Settings</h2><table>");
    for (variant, settings) in &group.settings {
        for (index, (name, value)) in settings.iter().enumerate() {
            let title = if index == 0 { variant.title() } else { "" };
            let _ = write!(html, "<tr><td>{title}<td>{}<td>{}", escape(name), escape(value));
        }
    }
    html + "</table>"
}
