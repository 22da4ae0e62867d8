//! What the program knows that the database held, at each moment that it will be restored to. Nothing here is ever
//! read back from the database: it is the file's rows, and the changes that were made to them.

use std::collections::BTreeMap;
use std::fmt;

use lightning_db::{Database, RecoveryTarget};

use crate::Outcome;
use crate::flights::Flight;

type Rows = BTreeMap<String, String>;

/// How many rows one commit of the import carries.
const BATCH: usize = 1000;

/// A moment in the life of the database.
pub(crate) struct Moment {
    /// What it is called in the report.
    pub(crate) name: &'static str,
    /// How a restore is told to go there.
    pub(crate) target: RecoveryTarget,
    /// How many of the changes had been made.
    changes: usize,
}

/// The rows that were imported, every change since, and the moments to come back to.
pub(crate) struct History {
    imported: Rows,
    changes: Vec<(String, Option<String>)>,
    moments: Vec<Moment>,
}

/// A change to be made: a row's key, and its new value, or none where it is deleted.
pub(crate) type Change = (String, Option<String>);

impl History {
    /// Imports the flights into the database, a thousand a commit.
    pub(crate) fn import(db: &Database, flights: Vec<Flight>) -> Outcome<Self> {
        let imported: Rows = flights.into_iter().map(|flight| (flight.id.clone(), flight.json())).collect();
        let rows: Vec<(Vec<u8>, Vec<u8>)> =
            imported.iter().map(|(id, json)| (id.clone().into_bytes(), json.clone().into_bytes())).collect();
        for batch in rows.chunks(BATCH) {
            db.put_batch(batch)?;
        }
        Ok(Self { imported, changes: Vec::new(), moments: Vec::new() })
    }

    /// Makes changes in transactions of fifty, and writes them down.
    pub(crate) fn change(&mut self, db: &Database, pick: fn(&Rows) -> Vec<Change>) -> Outcome<()> {
        let changes = pick(&self.rows_after(self.changes.len()));
        for group in changes.chunks(50) {
            db.execute_transaction(|tx| {
                group.iter().try_for_each(|(key, value)| match value {
                    Some(value) => tx.put(key.as_bytes(), value.as_bytes()),
                    None => tx.delete(key.as_bytes()),
                })
            })?;
        }
        self.changes.extend(changes);
        Ok(())
    }

    /// Remembers the present moment as one to come back to.
    pub(crate) fn mark(&mut self, name: &'static str, target: RecoveryTarget) {
        self.moments.push(Moment { name, target, changes: self.changes.len() });
    }

    /// The moments to come back to.
    pub(crate) fn moments(&self) -> &[Moment] {
        &self.moments
    }

    /// How many rows there were at a moment.
    pub(crate) fn rows_at(&self, moment: &Moment) -> usize {
        self.rows_after(moment.changes).len()
    }

    /// The first key there was at a moment.
    pub(crate) fn first_key(&self, moment: &Moment) -> Option<String> {
        self.rows_after(moment.changes).into_keys().next()
    }

    /// Every way in which a database differs from what it held at a moment.
    pub(crate) fn compare(&self, moment: &Moment, db: &Database) -> Outcome<Vec<Difference>> {
        let mut expected = self.rows_after(moment.changes);
        let mut differences = Vec::new();
        for row in db.scan(None, None)? {
            let (key, value) = row?;
            let key = String::from_utf8_lossy(&key).into_owned();
            match expected.remove(&key) {
                Some(known) if known.as_bytes() == value => {}
                Some(_) => differences.push(Difference::Changed(key)),
                None => differences.push(Difference::Unknown(key)),
            }
        }
        differences.extend(expected.into_keys().map(Difference::Missing));
        Ok(differences)
    }

    fn rows_after(&self, changes: usize) -> Rows {
        let mut rows = self.imported.clone();
        for (key, value) in &self.changes[..changes] {
            match value {
                Some(value) => rows.insert(key.clone(), value.clone()),
                None => rows.remove(key),
            };
        }
        rows
    }
}

/// A row that is not as it was.
pub(crate) enum Difference {
    /// The row is not there.
    Missing(String),
    /// The row has another value.
    Changed(String),
    /// The row should not be there.
    Unknown(String),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(key) => write!(f, "row {key} is missing"),
            Self::Changed(key) => write!(f, "row {key} has another value"),
            Self::Unknown(key) => write!(f, "row {key} should not be there"),
        }
    }
}

/// New delays for one carrier's flights, every ninetieth flight cancelled, and some new flights.
pub(crate) fn first_changes(rows: &Rows) -> Vec<Change> {
    let delayed = rows.iter().filter(|(_, row)| row.contains(r#""carrier":"HA""#));
    let delayed = delayed
        .map(|(key, row)| (key.clone(), Some(row.replace("\"dep_delay\":", "\"late\":1,\"dep_delay\":"))));
    let cancelled = rows.keys().step_by(90).map(|key| (key.clone(), None));
    let new =
        (0..300).map(|n| (format!("new-{n:04}"), Some(format!(r#"{{"carrier":"LD","flight":"{n}"}}"#))));
    delayed.chain(cancelled).chain(new).collect()
}

/// Every hundredth row gets a remark.
pub(crate) fn second_changes(rows: &Rows) -> Vec<Change> {
    let remarked = rows.iter().step_by(100);
    remarked.map(|(key, row)| (key.clone(), Some(row.replacen('{', r#"{"remark":"checked","#, 1)))).collect()
}

/// The new flights go again, and every thousandth row is rewritten.
pub(crate) fn third_changes(rows: &Rows) -> Vec<Change> {
    let gone = rows.keys().filter(|key| key.starts_with("new-")).map(|key| (key.clone(), None));
    let rewritten = rows.keys().filter(|key| !key.starts_with("new-")).step_by(1000);
    gone.chain(rewritten.map(|key| (key.clone(), Some(format!(r#"{{"id":"{key}","rewritten":true}}"#)))))
        .collect()
}
