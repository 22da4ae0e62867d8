//! Puts and deletions that are committed together.

use crate::engine::Op;

/// Puts and deletions that [`Database::write`](crate::Database::write) commits as one. Of several for one key the last
/// one counts.
///
/// ```
/// # use lightning_db::{Database, LightningDbConfig, WriteBatch};
/// # let directory = tempfile::tempdir()?;
/// # let db = Database::create(directory.path().join("db"), LightningDbConfig::default())?;
/// let mut batch = WriteBatch::new();
/// batch.put(b"new-name", b"value").delete(b"old-name");
/// let sequence = db.write(&batch)?;
/// assert_eq!(sequence, db.last_sequence());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct WriteBatch {
    writes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl WriteBatch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a put.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> &mut Self {
        self.writes.push((key.to_vec(), Some(value.to_vec())));
        self
    }

    /// Adds a deletion; the key need not be there.
    pub fn delete(&mut self, key: &[u8]) -> &mut Self {
        self.writes.push((key.to_vec(), None));
        self
    }

    /// How many puts and deletions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    pub(crate) fn ops(&self) -> Vec<Op<'_>> {
        self.writes
            .iter()
            .map(|(key, value)| match value {
                Some(value) => Op::put(key, value),
                None => Op::delete(key),
            })
            .collect()
    }
}

/// Without what is written: it may be secret.
impl std::fmt::Debug for WriteBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriteBatch").field("len", &self.writes.len()).finish_non_exhaustive()
    }
}
