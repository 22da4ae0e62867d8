//! What was measured, as a table, JSON, HTML and Markdown.

mod html;
mod machine;
mod markdown;
mod plot;
mod targets;
mod text;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use machine::Machine;
pub use text::table;

use crate::Result;
use crate::engine::Variant;
use crate::matrix::{Group, Unit};
use crate::measure::{Outcome, Reading};
use crate::options::{Again, Options};

/// Everything that one run of the program found out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Where it ran.
    pub machine: Machine,
    /// How it was started.
    pub command: String,
    /// How many times each row was run.
    pub rounds: u32,
    /// Seconds that a row of reads was measured.
    pub seconds: f64,
    /// What was found out.
    pub groups: Vec<GroupResult>,
}

/// The rows of a group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GroupResult {
    /// Which one.
    pub group: Group,
    /// Keys that were loaded.
    pub keys: u64,
    /// Bytes of a value.
    pub value_bytes: usize,
    /// Bytes of cache.
    pub cache_bytes: u64,
    /// What each engine was set to.
    pub settings: BTreeMap<Variant, Vec<(String, String)>>,
    /// What was found out.
    pub rows: Vec<RowResult>,
}

/// One row: a figure for each engine, or why there is none.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RowResult {
    /// Its name on the command line.
    pub id: String,
    /// Its name in reports.
    pub title: String,
    /// What the figures are.
    pub unit: Unit,
    /// Medians.
    pub results: BTreeMap<Variant, Outcome>,
    /// The figure of each round.
    pub rounds: BTreeMap<Variant, Vec<f64>>,
}

impl Report {
    /// One in which nothing is yet.
    #[must_use]
    pub fn new(machine: Machine, options: &Options) -> Self {
        Self {
            machine,
            command: command(std::env::args().skip(1)),
            rounds: options.rounds,
            seconds: options.seconds(),
            groups: Vec::new(),
        }
    }

    /// The engines that have a figure or a reason anywhere.
    #[must_use]
    pub fn variants(&self) -> Vec<Variant> {
        let rows = self.groups.iter().flat_map(|group| &group.rows);
        let mut variants: Vec<Variant> = rows.flat_map(|row| row.results.keys().copied()).collect();
        variants.sort();
        variants.dedup();
        variants
    }

    /// A row, if it was run.
    #[must_use]
    pub fn row(&self, group: Group, id: &str) -> Option<&RowResult> {
        self.groups.iter().find(|of| of.group == group)?.rows.iter().find(|row| row.id == id)
    }
}

/// The command that repeats a run: its arguments but for where files go.
fn command(arguments: impl Iterator<Item = String>) -> String {
    const PLACES: [&str; 4] = ["--json", "--html", "--markdown", "--directory"];
    let mut text = String::from("cargo xtask bench");
    let mut is_place = false;
    for argument in arguments {
        let is_value = std::mem::take(&mut is_place);
        let (name, value) =
            argument.split_once('=').map_or((argument.as_str(), None), |(name, value)| (name, Some(value)));
        if PLACES.contains(&name) {
            is_place = value.is_none();
        } else if !is_value {
            text = text + " " + &argument;
        }
    }
    text
}

impl RowResult {
    /// An engine's figures, if it has any.
    #[must_use]
    pub fn reading(&self, variant: Variant) -> Option<&Reading> {
        match self.results.get(&variant)? {
            Outcome::Measured(reading) => Some(reading),
            Outcome::Absent(_) => None,
        }
    }

    /// How many times better one engine is than another.
    #[must_use]
    pub fn ratio(&self, of: Variant, to: Variant) -> Option<f64> {
        let (of, to) = (self.reading(of)?.value, self.reading(to)?.value);
        match self.unit {
            Unit::PerSecond => (to > 0.0).then_some(of / to),
            Unit::Milliseconds => (of > 0.0).then_some(to / of),
        }
    }
}

/// Writes the files that are asked for.
///
/// # Errors
/// Those of writing files.
pub fn write(
    report: &Report,
    json: Option<&Path>,
    html: Option<&Path>,
    markdown: Option<&Path>,
) -> Result<()> {
    if let Some(path) = json {
        fs::write(path, serde_json::to_string(report)?)?;
    }
    if let Some(path) = html {
        fs::write(path, html::page(report))?;
    }
    if let Some(path) = markdown {
        fs::write(path, markdown::document(report))?;
    }
    Ok(())
}

/// Makes the reports again from files that were written before.
///
/// # Errors
/// For files that cannot be read, are no reports, or cannot be written.
pub fn again(options: &Again) -> Result<()> {
    let mut all: Option<Report> = None;
    for path in &options.files {
        let report: Report = serde_json::from_str(&fs::read_to_string(path)?)?;
        match &mut all {
            None => all = Some(report),
            Some(all) => {
                for group in report.groups {
                    all.groups.retain(|known| known.group != group.group);
                    all.groups.push(group);
                }
                all.groups.sort_by_key(|group| group.group);
            }
        }
    }
    let all = all.ok_or("no files")?;
    println!("{}", table(&all));
    write(&all, options.json.as_deref(), options.html.as_deref(), options.markdown.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Latency;

    fn report() -> Report {
        let mut fast = Reading::of(6e6).with("processor_ns_each", 150.0);
        fast.latencies.insert("get".into(), Latency { p50: 120.0, ..Latency::default() });
        fast.series = vec![1.0, 2.0, 3.0];
        let results = BTreeMap::from([
            (Variant::Lightning, Outcome::Measured(fast)),
            (Variant::Rocksdb, Outcome::Measured(Reading::of(2e6).with("processor_ns_each", 450.0))),
            (Variant::Redb, Outcome::Absent("it has <no> such call".into())),
        ]);
        let row = RowResult {
            id: "get-uniform".into(),
            title: "get".into(),
            unit: Unit::PerSecond,
            rounds: results.keys().map(|&variant| (variant, vec![1.0])).collect(),
            results,
        };
        let settings = [Variant::Lightning, Variant::Rocksdb, Variant::Redb]
            .map(|variant| (variant, vec![("cache".to_owned(), "1 MiB".to_owned())]));
        let group = GroupResult {
            group: Group::ReadCached,
            keys: 1000,
            value_bytes: 100,
            cache_bytes: 1 << 20,
            settings: settings.into_iter().collect(),
            rows: vec![row],
        };
        Report {
            machine: Machine::here(),
            command: "cargo xtask bench".into(),
            rounds: 3,
            seconds: 1.0,
            groups: vec![group],
        }
    }

    #[test]
    fn the_command_tells_what_was_measured_and_not_where_files_went() {
        let arguments = ["--json", "/a/b.json", "--quick", "--html=/c", "--rounds", "5", "--directory", "/d"];
        assert_eq!(command(arguments.map(str::to_owned).into_iter()), "cargo xtask bench --quick --rounds 5");
    }

    #[test]
    fn ratios_are_above_one_where_we_lead_whatever_the_unit() {
        let mut row = report().groups.remove(0).rows.remove(0);
        assert_eq!(row.ratio(Variant::Lightning, Variant::Rocksdb), Some(3.0));
        assert_eq!(row.ratio(Variant::Lightning, Variant::Redb), None);
        row.unit = Unit::Milliseconds;
        assert_eq!(row.ratio(Variant::Rocksdb, Variant::Lightning), Some(3.0));
    }

    #[test]
    fn every_form_of_the_report_shows_figures_ratios_and_reasons() {
        let report = report();
        let (text, markdown, html) = (table(&report), markdown::document(&report), html::page(&report));
        for shown in [&text, &markdown, &html] {
            assert!(shown.contains("6.00 M/s") && shown.contains("3.00×"), "{shown}");
        }
        assert!(markdown.contains("no figure, it has <no> such call") && markdown.contains("450 ns (3.00×)"));
        assert!(html.contains("it has &lt;no&gt; such call") && html.contains("<rect"));
        assert!(
            markdown.contains("| cached get into a Vec, times RocksDB | ≥ 6.00 | 3.00 | missed: 50% of it |")
        );
        let json = serde_json::to_string(&report).expect("plain data");
        let again: Report = serde_json::from_str(&json).expect("what was just written");
        assert_eq!(markdown::document(&again), markdown);
    }
}
