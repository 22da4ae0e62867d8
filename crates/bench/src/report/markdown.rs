//! The report as Markdown: what `docs/BENCHMARKS.md` is.

use std::fmt::Write;

use super::targets::{TARGETS, short};
use super::text::{duration, figure, grouped, times};
use super::{GroupResult, Machine, Report, RowResult};
use crate::engine::Variant;
use crate::measure::Outcome;

const HEAD: &str = "\
# Benchmarks

lightning_db beside RocksDB, LMDB, redb, fjall and SQLCipher, with encryption on; of the others only SQLCipher encrypts. Made
by the program in `crates/bench`; nothing here is written by hand. The ratio in brackets is how many times better lightning_db
is than the engine in the column, so more than 1 is a lead. Ratios mean something on other machines, the figures themselves
do not.

";

const RULES: &str = "\
All engines run in the same run, each in a process of its own, one row at a time in turns; each figure is the median of all
rounds. *Async* means that a killed process loses nothing, *sync* that a power cut does not either. Keys have 16 bytes and are
made as they are needed (a few ns); values compress to about a half; each value that is read is checked, each 64th byte by byte,
in the time that is measured. All engines use mimalloc but those that say glibc.

";

/// The whole document.
#[must_use]
pub(super) fn document(report: &Report) -> String {
    let mut text = String::from(HEAD);
    let _ = writeln!(text, "```bash\n{}\n```\n", report.command);
    text += &machine(report);
    text += RULES;
    text += &targets(report);
    for group in &report.groups {
        text += &table(report, group);
        text += &processor_time(report, group);
        text += &costs(group);
        text += &absences(group);
    }
    text + &settings(report)
}

fn machine(report: &Report) -> String {
    let Machine { processor, processors, l3, memory_mib, kernel, storage, target, load, is_virtual } =
        &report.machine;
    let others = {
        let readings = report.groups.iter().flat_map(|group| &group.rows).flat_map(|row| &row.results);
        let shares: Vec<f64> = readings
            .filter_map(|(_, outcome)| match outcome {
                Outcome::Measured(reading) => reading.figures.get("processor_of_others_share").copied(),
                Outcome::Absent(_) => None,
            })
            .collect();
        100.0 * crate::measure::median(&shares)
    };
    format!(
        "| machine | |\n|---|---|\n| processor | {processor}, {processors} threads, L3 {l3}{} |\n| memory | {memory_mib} MiB |\n\
         | kernel, storage | {kernel}, {storage} |\n| built for | {target} |\n\
         | rounds, seconds a row of reads | {}, {} |\n\
         | what else ran | load {load} when it began; others had {others:.0}% of the processors during the median row |\n\n",
        if *is_virtual { ", virtual" } else { "" },
        report.rounds,
        report.seconds
    )
}

fn targets(report: &Report) -> String {
    let mut text = String::from("## Targets\n\n| target | wanted | reached | |\n|---|---|---|---|\n");
    for target in TARGETS {
        let standing = target.standing(report);
        let reached = standing.reached.map_or_else(|| "not measured".to_owned(), short);
        let verdict = match (standing.is_met, standing.reached) {
            (true, _) => "met".to_owned(),
            (false, Some(_)) => format!("missed: {:.0}% of it", 100.0 * standing.share),
            (false, None) => String::new(),
        };
        let _ = writeln!(text, "| {} | {} | {reached} | {verdict} |", target.what, standing.wanted);
    }
    text + "\n"
}

fn table(report: &Report, group: &GroupResult) -> String {
    let heading = format!(
        "## {}\n\n{} keys, values of {} bytes, cache {} MiB.\n\n",
        group.group.title(),
        grouped(group.keys),
        group.value_bytes,
        group.cache_bytes >> 20
    );
    let cell = |row: &RowResult, variant| {
        let shown = figure(row.unit, row.reading(variant)?.value);
        Some((shown, row.ratio(Variant::Lightning, variant)))
    };
    heading + &grid(report, group, &cell)
}

/// What an operation took of all processors together: it depends less on what else runs than time does.
fn processor_time(report: &Report, group: &GroupResult) -> String {
    let nanoseconds = |row: &RowResult, variant: Variant| {
        let figures = &row.reading(variant)?.figures;
        figures.get("processor_ns_each").copied().filter(|&each| each > 0.0)
    };
    let cell = |row: &RowResult, variant| {
        let each = nanoseconds(row, variant)?;
        let ours = nanoseconds(row, Variant::Lightning);
        Some((duration(each), ours.map(|ours| each / ours)))
    };
    if !group.rows.iter().any(|row| nanoseconds(row, Variant::Lightning).is_some()) {
        return String::new();
    }
    let heading = "Processor time of one operation, background threads included:\n\n";
    heading.to_owned() + &grid(report, group, &cell)
}

/// What a cell shows, and the ratio to lightning_db.
type Cell<'a> = &'a dyn Fn(&RowResult, Variant) -> Option<(String, Option<f64>)>;

fn grid(report: &Report, group: &GroupResult, cell: Cell<'_>) -> String {
    let variants: Vec<Variant> =
        report.variants().into_iter().filter(|variant| group.settings.contains_key(variant)).collect();
    let mut text = String::from("|");
    for variant in &variants {
        let _ = write!(text, " | {}", variant.title());
    }
    let _ = writeln!(text, " |\n|---|{}", "---|".repeat(variants.len()));
    for row in &group.rows {
        let _ = write!(text, "| {}", row.title);
        for &variant in &variants {
            let (shown, ratio) = cell(row, variant).unwrap_or_else(|| ("-".to_owned(), None));
            let ratio = ratio.filter(|_| variant != Variant::Lightning);
            let ratio = ratio.map(|ratio| format!(" ({})", times(ratio))).unwrap_or_default();
            let _ = write!(text, " | {shown}{ratio}");
        }
        text += " |\n";
    }
    text + "\n"
}

/// Latencies and what else a row cost.
fn costs(group: &GroupResult) -> String {
    let mut text = String::from("<details><summary>Latencies, memory, bytes</summary>\n\n");
    text +=
        "| | | P50 | P99 | P99.9 | P99.99 | longest | other figures |\n|---|---|---|---|---|---|---|---|\n";
    for row in &group.rows {
        for (variant, outcome) in &row.results {
            let Outcome::Measured(reading) = outcome else { continue };
            let figures = reading.figures.iter().filter(|(name, _)| *name != "processor_of_others_share");
            let figures: Vec<String> = figures
                .map(|(name, value)| format!("{} {}", name.replace('_', " "), short(*value)))
                .collect();
            let mut figures = figures.join(", ");
            for remark in &reading.remarks {
                let _ = write!(figures, "; {remark}");
            }
            if reading.latencies.is_empty() {
                let _ = writeln!(text, "| {} | {} | | | | | | {figures} |", row.title, variant.title());
            }
            for (index, (kind, latency)) in reading.latencies.iter().enumerate() {
                let parts =
                    [latency.p50, latency.p99, latency.p999, latency.p9999, latency.max].map(duration);
                let shown = if index == 0 { figures.as_str() } else { "" };
                let _ = writeln!(
                    text,
                    "| {} ({kind}) | {} | {} | {shown} |",
                    row.title,
                    variant.title(),
                    parts.join(" | ")
                );
            }
        }
    }
    text + "\n</details>\n\n"
}

/// Why figures are missing.
fn absences(group: &GroupResult) -> String {
    let mut text = String::new();
    for row in &group.rows {
        for (variant, outcome) in &row.results {
            if let Outcome::Absent(reason) = outcome {
                let _ = writeln!(text, "- {}, {}: no figure, {reason}", row.title, variant.title());
            }
        }
    }
    if text.is_empty() { text } else { text + "\n" }
}

fn settings(report: &Report) -> String {
    let mut text = String::from("## Settings\n\n| | | |\n|---|---|---|\n");
    let Some(group) = report.groups.first() else { return text };
    for (variant, settings) in &group.settings {
        for (index, (name, value)) in settings.iter().enumerate() {
            let title = if index == 0 { variant.title() } else { "" };
            let _ = writeln!(text, "| {title} | {name} | {value} |");
        }
    }
    text + "\nSizes of caches differ between groups and stand above each table; what commits wait for follows from its title.\n"
}
