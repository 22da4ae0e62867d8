//! How often each thing happened. What happens too rarely is not covered, whatever the campaign says of itself.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

/// How the line of a count ends that is below its floor.
pub const BELOW: &str = "BELOW ITS FLOOR";

/// Counts by name. A name is `group/thing`, for example `operation/put`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    counts: BTreeMap<String, Count>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Count {
    happened: u64,
    floor: u64,
}

impl Coverage {
    /// Says that `name` must happen at least `floor` times.
    pub fn require(&mut self, name: &str, floor: u64) {
        self.counts.entry(name.to_owned()).or_default().floor = floor;
    }

    /// `name` happened.
    pub fn hit(&mut self, name: &str) {
        self.add(name, 1);
    }

    /// `name` happened so many times.
    pub fn add(&mut self, name: &str, times: u64) {
        match self.counts.get_mut(name) {
            Some(count) => count.happened += times,
            None => _ = self.counts.insert(name.to_owned(), Count { happened: times, floor: 0 }),
        }
    }

    /// How often `name` happened.
    #[must_use]
    pub fn count(&self, name: &str) -> u64 {
        self.counts.get(name).map_or(0, |count| count.happened)
    }

    /// All that happened, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.counts.iter().map(|(name, count)| (name.as_str(), count.happened))
    }

    /// Adds what `other` counted; floors stay.
    pub fn merge(&mut self, other: &Self) {
        for (name, count) in &other.counts {
            self.add(name, count.happened);
        }
    }

    /// What happened less often than it must, with count and floor.
    #[must_use]
    pub fn missing(&self) -> Vec<(String, u64, u64)> {
        let below = self.counts.iter().filter(|(_, count)| count.happened < count.floor);
        below.map(|(name, count)| (name.clone(), count.happened, count.floor)).collect()
    }
}

impl Display for Coverage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (name, Count { happened, floor }) in &self.counts {
            write!(f, "  {name:<44} {happened:>12}   at least {floor}")?;
            writeln!(f, "{}", if happened < floor { format!("  {BELOW}") } else { String::new() })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_happened_is_missing_although_nobody_counted_it() {
        let mut coverage = Coverage::default();
        coverage.require("operation/put", 2);
        coverage.require("operation/get", 1);
        coverage.hit("operation/get");
        assert_eq!(coverage.missing(), [("operation/put".to_owned(), 0, 2)]);
        let mut other = Coverage::default();
        other.add("operation/put", 2);
        coverage.merge(&other);
        assert_eq!(coverage.missing(), []);
        assert!(coverage.to_string().contains("operation/put"));
    }
}
