//! A short run of lightning_db alone, that fails when one way of doing a thing has become much dearer than another.
//!
//! Compared is processor time in one run, never with a constant: so it says the same on a slow or a busy machine.

use crate::Result;
use crate::conductor;
use crate::engine::Variant::{self, Lightning, LightningPlain};
use crate::matrix::Group::{self, ReadCached, Write};
use crate::options::Options;
use crate::report::{Machine, Report};

/// One way of doing a thing: an engine, a group, a row.
type Way = (Variant, Group, &'static str);

/// The first may take so many times the processor time of the second. Wide: only what is broken is to fail.
const BOUNDS: [(Way, Way, f64); 7] = [
    ((Lightning, ReadCached, "get-uniform"), (LightningPlain, ReadCached, "get-uniform"), 1.3),
    ((Lightning, ReadCached, "view-uniform"), (Lightning, ReadCached, "get-uniform"), 1.2),
    ((Lightning, ReadCached, "view-batch"), (Lightning, ReadCached, "view-uniform"), 1.1),
    ((Lightning, ReadCached, "absent"), (Lightning, ReadCached, "view-uniform"), 1.3),
    ((Lightning, ReadCached, "scan-100"), (Lightning, ReadCached, "view-uniform"), 0.5),
    ((Lightning, Write, "put-random"), (LightningPlain, Write, "put-random"), 1.6),
    ((Lightning, Write, "batch-1000"), (Lightning, Write, "put-random"), 1.2),
];

/// Measures and compares.
///
/// # Errors
/// Names the bounds that are broken, and what could not be measured.
pub fn run(options: &Options) -> Result<()> {
    let mut rows: Vec<String> = BOUNDS.iter().flat_map(|(a, b, _)| [a.2, b.2]).map(str::to_owned).collect();
    rows.dedup();
    let options = Options {
        quick: true,
        engines: vec![Lightning, LightningPlain],
        groups: vec![ReadCached, Write],
        rows,
        ..options.clone()
    };
    let mut report = Report::new(Machine::here(), &options);
    for group in options.groups() {
        report.groups.push(conductor::measure(&options, group)?);
    }
    let mut broken = Vec::new();
    for (a, b, most) in BOUNDS {
        let ratio = cost(&report, a)? / cost(&report, b)?;
        let line = format!("{} is {ratio:.2} of {} (at most {most})", name(a), name(b));
        println!("{line}");
        if ratio > most {
            broken.push(line);
        }
    }
    if broken.is_empty() { Ok(()) } else { Err(broken.join("; ").into()) }
}

fn name((variant, group, row): Way) -> String {
    format!("{} {} {row}", variant.title(), group.id())
}

fn cost(report: &Report, way: Way) -> Result<f64> {
    let (variant, group, row) = way;
    let reading = report.row(group, row).and_then(|row| row.reading(variant));
    let cost = reading.and_then(|reading| reading.figures.get("processor_ns_each").copied());
    cost.filter(|&cost| cost > 0.0).ok_or_else(|| format!("{} could not be measured", name(way)).into())
}
