//! `import csv FILE DB`

use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lightning_db::{Database, Error};
use serde::Serialize;

use super::rows::{Entry, Rows};
use crate::failure::{Failure, Outcome};
use crate::files;
use crate::output::human::counted;
use crate::output::progress::Progress;
use crate::session::Session;

/// Rows of one commit: enough that commits cost little, few enough that they take little memory.
const BATCH_ROWS: usize = 1000;
const BATCH_BYTES: usize = 1 << 20;
const PROGRESS_ROWS: u64 = 512;

#[derive(clap::Args, Debug)]
#[command(
    after_help = "The first row names the columns. A row's value is the row as a JSON object of strings. A key that is \
there already gets the new value. The file is read once to check it before anything is written.

Examples:
  lightning-cli import csv flights.csv ./mydb --key file:./mydb.key
  lightning-cli import csv users.csv ./public --key-column email --no-encryption"
)]
pub(super) struct Csv {
    /// The CSV file
    file: PathBuf,
    /// The database's directory; it is created if it does not exist
    db: PathBuf,
    /// The column that holds the keys (default: the first)
    #[arg(long, value_name = "NAME")]
    key_column: Option<String>,
    /// Let everybody who has the files of the new database read them
    #[arg(long)]
    no_encryption: bool,
}

#[derive(Serialize)]
struct Imported<'a> {
    imported: u64,
    replaced: u64,
    created: bool,
    database: &'a Path,
    last_sequence: u64,
}

impl Csv {
    pub(super) fn run(self, session: &Session) -> Outcome {
        self.check(session)?;
        let mut rows = self.rows(files::open(&self.file)?)?;
        let (db, created) = self.open_or_create(session)?;
        let (imported, replaced) = self.copy(session, &mut rows, &db)?;
        let last_sequence = db.last_sequence().into();
        db.close()?;
        let over = match replaced {
            0 => String::new(),
            _ => format!(", {} over a key that was there already", counted(replaced, "row", "rows")),
        };
        let text = format!(
            "imported {} into {}{over} (last sequence number {last_sequence})",
            counted(imported, "row", "rows"),
            self.db.display()
        );
        session
            .output
            .done(text, &Imported { imported, replaced, created, database: &self.db, last_sequence })
    }

    fn rows<R: Read>(&self, input: R) -> Outcome<Rows<R>> {
        Rows::new(&self.file, input, self.key_column.as_deref())
    }

    /// Reads the file without importing it, so that a mistake in its last line does not leave half of it imported.
    /// What can be read only once (a pipe) is not checked.
    fn check(&self, session: &Session) -> Outcome {
        let Some(length) = files::length(&self.file)? else { return Ok(()) };
        let progress = Progress::new(session.output, "checking the file", length);
        let mut rows = self.rows(files::open(&self.file)?)?;
        let mut count = 0_u64;
        while rows.next()?.is_some() {
            count += 1;
            if count.is_multiple_of(PROGRESS_ROWS) {
                progress.at(rows.bytes_read());
            }
        }
        Ok(())
    }

    /// The database, and whether it is new.
    fn open_or_create(&self, session: &Session) -> Outcome<(Arc<Database>, bool)> {
        match session.open(&self.db) {
            Ok(_) if self.no_encryption => Err(Failure::Usage(format!(
                "{} exists already: leave out --no-encryption, which is for a new database",
                self.db.display()
            ))),
            Ok(db) => Ok((db, false)),
            Err(Failure::Database(Error::NotFound { .. })) => {
                Ok((session.create(&self.db, self.no_encryption)?, true))
            }
            Err(failure) => Err(failure),
        }
    }

    /// Imports all rows. Returns how many there were, and how many of them took the place of another value.
    fn copy<R: Read>(&self, session: &Session, rows: &mut Rows<R>, db: &Database) -> Outcome<(u64, u64)> {
        let progress = Progress::new(session.output, "importing", files::length(&self.file)?.unwrap_or(0));
        let (mut imported, mut replaced) = (0, 0);
        loop {
            let batch = next_batch(rows)?;
            if batch.is_empty() {
                return Ok((imported, replaced));
            }
            replaced += count_known(db, &batch)?;
            db.put_batch(&batch).map_err(Failure::from)?;
            imported += batch.len() as u64;
            progress.at(rows.bytes_read());
        }
    }
}

/// How many rows have a key that the database or an earlier row of the batch has.
fn count_known(db: &Database, batch: &[Entry]) -> Outcome<u64> {
    let keys: Vec<&[u8]> = batch.iter().map(|(key, _)| key.as_slice()).collect();
    let mut seen = HashSet::new();
    let mut known: Vec<bool> = keys.iter().map(|key| !seen.insert(*key)).collect();
    db.get_batch_with(&keys, |index, value| known[index] |= value.is_some()).map_err(Failure::from)?;
    Ok(known.into_iter().filter(|known| *known).count() as u64)
}

fn next_batch<R: Read>(rows: &mut Rows<R>) -> Outcome<Vec<Entry>> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while batch.len() < BATCH_ROWS && bytes < BATCH_BYTES {
        let Some((key, value)) = rows.next()? else { break };
        bytes += key.len() + value.len();
        batch.push((key, value));
    }
    Ok(batch)
}
