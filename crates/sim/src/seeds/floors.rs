//! What has to happen how often in a thousand seeds. What is not listed here only gets counted.

use crate::coverage::Coverage;

/// The least of each in a thousand seeds.
const FLOORS: &[(&str, u64)] = &[("crash/recoveries", 10_000)];

/// Demands of `coverage` what is due for so many seeds. Fewer than a hundred are too few to demand anything of.
pub(super) fn require(coverage: &mut Coverage, seeds: u64) {
    if seeds < 100 {
        return;
    }
    for (name, floor) in FLOORS {
        coverage.require(name, floor * seeds / 1000);
    }
}
