//! How often, and after what pauses, a transaction that met a conflict is begun again.

use std::time::Duration;

use lightning_db_crypto::Entropy;

use crate::error::Result;

/// A transaction is tried this often. With pauses it takes seconds until then: what still conflicts has a cause that
/// trying again does not remove.
const ATTEMPTS: u32 = 100;
const FIRST_PAUSE: Duration = Duration::from_micros(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Counts attempts.
#[derive(Default)]
pub(crate) struct Retries {
    failed: u32,
}

impl Retries {
    /// After an attempt failed: how long to wait before the next one, or `None` when there is none. Pauses double, and
    /// are random up to that, so that two that met do not meet again.
    ///
    /// # Errors
    /// When no random bytes can be had.
    pub(crate) fn pause(&mut self, entropy: &dyn Entropy) -> Result<Option<Duration>> {
        self.failed += 1;
        if self.failed >= ATTEMPTS {
            return Ok(None);
        }
        let doublings = (self.failed - 1).min(16);
        let longest = (FIRST_PAUSE * (1 << doublings)).min(LONGEST_PAUSE);
        let mut random = [0; 2];
        entropy.fill(&mut random)?;
        Ok(Some(longest * u32::from(u16::from_le_bytes(random)) / u32::from(u16::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use lightning_db_crypto::SeededEntropy;

    use super::*;

    #[test]
    fn pauses_grow_within_bounds_and_end() -> Result<()> {
        let entropy = SeededEntropy::new(1);
        let mut retries = Retries::default();
        let mut pauses = Vec::new();
        while let Some(pause) = retries.pause(&entropy)? {
            pauses.push(pause);
        }
        assert_eq!(pauses.len() as u32, ATTEMPTS - 1);
        assert!(pauses[0] <= FIRST_PAUSE && pauses.iter().all(|pause| *pause <= LONGEST_PAUSE));
        assert!(pauses.iter().max() > Some(&(LONGEST_PAUSE / 2)));
        Ok(())
    }
}
