//! How long things take, and what else they cost.

mod process;
mod run;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use process::{Costs, files_bytes, foreign_share, idle_gap_max_ms, syncs_per_second};
pub use run::{Every, Limit, Run, in_threads};

/// What one run of one row gave.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// A figure, and what belongs to it.
    Measured(Reading),
    /// Why there is none.
    Absent(String),
}

/// A figure, and what belongs to it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Reading {
    /// The row's figure, in the row's unit.
    pub value: f64,
    /// Latencies, by the kind of operation.
    pub latencies: BTreeMap<String, Latency>,
    /// Other figures, by a name that ends with their unit.
    pub figures: BTreeMap<String, f64>,
    /// Operations a second over time, one number for each tenth of one.
    pub series: Vec<f64>,
    /// What has to be known to read the figure.
    pub remarks: Vec<String>,
}

/// Latencies in nanoseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Latency {
    /// Half of all are faster.
    pub p50: f64,
    /// 99% are faster.
    pub p99: f64,
    /// 99.9% are faster.
    pub p999: f64,
    /// 99.99% are faster.
    pub p9999: f64,
    /// The slowest that was measured.
    pub max: f64,
}

impl Reading {
    /// A figure alone.
    #[must_use]
    pub fn of(value: f64) -> Self {
        Self { value, ..Self::default() }
    }

    /// Adds another figure.
    #[must_use]
    pub fn with(mut self, name: &str, value: f64) -> Self {
        self.figures.insert(name.to_owned(), value);
        self
    }

    /// Adds a remark.
    #[must_use]
    pub fn remark(mut self, text: impl Into<String>) -> Self {
        self.remarks.push(text.into());
        self
    }
}

/// The median; 0 of nothing.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        len if len % 2 == 1 => sorted[len / 2],
        len => f64::midpoint(sorted[len / 2 - 1], sorted[len / 2]),
    }
}

impl Reading {
    /// The medians of several readings of one row, each figure for itself; series and remarks are the last one's.
    #[must_use]
    pub fn median_of(readings: &[Self]) -> Option<Self> {
        let last = readings.last()?;
        let middle =
            |of: &dyn Fn(&Self) -> Option<f64>| median(&readings.iter().filter_map(of).collect::<Vec<_>>());
        let latencies = last.latencies.keys().map(|kind| {
            let part =
                |of: fn(&Latency) -> f64| middle(&|reading: &Self| reading.latencies.get(kind).map(of));
            let latency = Latency {
                p50: part(|latency| latency.p50),
                p99: part(|latency| latency.p99),
                p999: part(|latency| latency.p999),
                p9999: part(|latency| latency.p9999),
                max: part(|latency| latency.max),
            };
            (kind.clone(), latency)
        });
        let figures = last
            .figures
            .keys()
            .map(|name| (name.clone(), middle(&|reading: &Self| reading.figures.get(name).copied())));
        Some(Self {
            value: middle(&|reading: &Self| Some(reading.value)),
            latencies: latencies.collect(),
            figures: figures.collect(),
            series: last.series.clone(),
            remarks: last.remarks.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_taken_of_each_figure() {
        assert_eq!((median(&[]), median(&[3.0, 1.0, 2.0]), median(&[4.0, 1.0])), (0.0, 2.0, 2.5));
        let readings: Vec<Reading> =
            [1.0, 9.0, 5.0].iter().map(|&value| Reading::of(value).with("x", -value)).collect();
        let middle = Reading::median_of(&readings).expect("there are some");
        assert_eq!((middle.value, middle.figures["x"]), (5.0, -5.0));
    }
}
