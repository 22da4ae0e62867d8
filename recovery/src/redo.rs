//! Feeding a log to whoever takes its commits.

use std::io::{self, Read};

use lightning_db_storage::wal::{CommitHead, LogEvent, LogOp, LogSource};
use lightning_db_storage::{SequenceNumber, StorageError};

/// Takes the commits of a log, one after another. The writes of a commit come first, in their order; then
/// [`commit`](Self::commit) makes them count. What is cut off in between never happened.
pub trait ReplaySink {
    /// What taking can fail with.
    type Error: From<StorageError>;

    /// A key was set.
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Self::Error>;

    /// A key was set to a long value, whose `len` bytes are read from `value`.
    fn put_large(&mut self, key: &[u8], len: u64, value: &mut dyn Read) -> Result<(), Self::Error>;

    /// A key was removed.
    fn delete(&mut self, key: &[u8]) -> Result<(), Self::Error>;

    /// The writes since the last call were one commit.
    fn commit(&mut self, head: &CommitHead) -> Result<(), Self::Error>;
}

/// Gives every commit after `after` to `sink`, and returns the last commit that was given.
///
/// # Errors
/// Those of the source and of the sink.
pub fn replay<S: ReplaySink>(
    source: &mut dyn LogSource,
    after: SequenceNumber,
    sink: &mut S,
) -> Result<Option<CommitHead>, S::Error> {
    let mut last = None;
    while let Some(event) = source.next_event()? {
        let LogEvent::Commit(head) = event else { continue };
        if head.sequence > after {
            replay_commit(source, sink)?;
            sink.commit(&head)?;
            last = Some(head);
        }
    }
    Ok(last)
}

/// Gives the writes of the commit that was announced last to `sink`.
///
/// # Errors
/// Those of the source and of the sink.
pub fn replay_commit<S: ReplaySink>(source: &mut dyn LogSource, sink: &mut S) -> Result<(), S::Error> {
    loop {
        let (key, len) = match source.next_op()? {
            None => return Ok(()),
            Some(LogOp::Put { key, value }) => {
                sink.put(key, value)?;
                continue;
            }
            Some(LogOp::Delete { key }) => {
                sink.delete(key)?;
                continue;
            }
            Some(LogOp::PutStreamed { key, len }) => (key.to_vec(), len),
        };
        let mut value = StreamedValue { source, chunk: Vec::new(), position: 0, failed: None };
        let taken = sink.put_large(&key, len, &mut value);
        if let Some(error) = value.failed.take() {
            return Err(error.into());
        }
        taken?;
    }
}

/// The bytes of a streamed value. An error of the source is kept beside, because `io::Error` would lose its kind.
struct StreamedValue<'a> {
    source: &'a mut dyn LogSource,
    chunk: Vec<u8>,
    position: usize,
    failed: Option<StorageError>,
}

impl Read for StreamedValue<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.position == self.chunk.len() {
            self.position = 0;
            match self.source.read_value(&mut self.chunk) {
                Ok(true) => {}
                Ok(false) => {
                    self.chunk.clear();
                    return Ok(0);
                }
                Err(error) => {
                    let text = error.to_string();
                    self.chunk.clear();
                    self.failed = Some(error);
                    return Err(io::Error::other(text));
                }
            }
        }
        let rest = &self.chunk[self.position..];
        let count = rest.len().min(out.len());
        out[..count].copy_from_slice(&rest[..count]);
        self.position += count;
        Ok(count)
    }
}

impl Drop for StreamedValue<'_> {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.chunk);
    }
}
