//! Does what a transaction means to do, and tells what came of it.

use std::collections::BTreeMap;
use std::time::Duration;

use lightning_db::{Database, Error, Snapshot, Transaction, TransactionId, TransactionOptions};
use lightning_db_sync::{simulation, thread};

use super::check::Level;
use super::history::{Element, Key, Kind, Step};
use super::plan::{Action, Detour, Plan, Walk, Way};

/// One list in this many has values so large that they are kept in files of their own.
const LARGE_EVERY: u64 = 29;
const LARGE_LEN: usize = 66 << 10;

/// How a process works.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manners {
    pub(super) level: Level,
    /// Whether who appends locks the list first, by a write to a key that stands for it.
    pub(super) guards: bool,
}

/// Why a transaction stopped.
#[derive(Debug)]
pub(super) enum Stop {
    /// It was meant to.
    Meant,
    Refused(Error),
    /// The database answered what it never should.
    Wrong(String),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

/// How a transaction ended, with its steps.
pub(super) struct End {
    pub(super) kind: Kind,
    pub(super) steps: Vec<Step>,
    pub(super) why: Option<Stop>,
}

/// Keys with their values, from both ends.
type Entries = Box<dyn DoubleEndedIterator<Item = Result<(Vec<u8>, Vec<u8>), Error>>>;

/// A place to read from and write to.
enum View<'a> {
    Numbered(&'a Database, TransactionId),
    Scoped(&'a Transaction<'a>),
    Snapshot(&'a Snapshot),
    Single(&'a Database),
}

/// Does `plan`. A transaction that fails before its commit is aborted.
pub(super) fn perform(db: &Database, plan: &Plan, manners: Manners) -> End {
    let mut steps = Vec::new();
    let mut at_commit = false;
    let outcome = attempt(db, plan, manners, &mut steps, &mut at_commit);
    let kind = match &outcome {
        Ok(()) => Kind::Ok,
        Err(Stop::Refused(error)) if at_commit && !is_refusal(error) => Kind::Info,
        Err(_) => Kind::Fail,
    };
    let steps = if kind == Kind::Ok { steps } else { plan.steps() };
    End { kind, steps, why: outcome.err() }
}

/// Whether it is sure that what met this error at its commit was not committed.
fn is_refusal(error: &Error) -> bool {
    error.is_conflict()
        || matches!(
            error,
            Error::TransactionTimedOut | Error::TransactionNotFound | Error::TooManyTransactions
        )
}

fn attempt(
    db: &Database,
    plan: &Plan,
    manners: Manners,
    steps: &mut Vec<Step>,
    at_commit: &mut bool,
) -> Result<(), Stop> {
    match plan.way {
        Way::Single => single(db, plan, steps, at_commit),
        Way::Snapshot => act(&View::Snapshot(&db.snapshot()), plan, manners, steps),
        Way::Retried => retried(db, plan, manners, steps, at_commit),
        Way::Scoped => {
            let tx = match manners.level {
                Level::ReadCommitted => {
                    db.transaction_with(TransactionOptions { read_only: false, snapshot: false })?
                }
                Level::Snapshot => db.transaction()?,
                Level::Serializable => db.serializable_transaction()?,
            };
            act(&View::Scoped(&tx), plan, manners, steps)?;
            if !plan.commits {
                tx.abort()?;
                return Err(Stop::Meant);
            }
            *at_commit = true;
            Ok(tx.commit()?)
        }
        Way::Numbered | Way::ReadOnly => {
            let id = begin(db, plan.way == Way::ReadOnly, manners.level)?;
            if let Err(stop) = act(&View::Numbered(db, id), plan, manners, steps) {
                // What the database has aborted itself is over already.
                _ = db.abort_transaction(id);
                return Err(stop);
            }
            if !plan.commits {
                db.abort_transaction(id)?;
                return Err(Stop::Meant);
            }
            *at_commit = true;
            Ok(db.commit_transaction(id)?)
        }
    }
}

fn begin(db: &Database, read_only: bool, level: Level) -> Result<TransactionId, Error> {
    match level {
        _ if read_only => {
            db.begin_transaction_with_options(TransactionOptions { read_only: true, snapshot: true })
        }
        Level::ReadCommitted => {
            db.begin_transaction_with_options(TransactionOptions { read_only: false, snapshot: false })
        }
        Level::Snapshot => db.begin_transaction(),
        Level::Serializable => db.begin_serializable_transaction(),
    }
}

fn retried(
    db: &Database,
    plan: &Plan,
    manners: Manners,
    steps: &mut Vec<Step>,
    at_commit: &mut bool,
) -> Result<(), Stop> {
    let mut wrong = None;
    let outcome = db.execute_transaction(|tx| {
        (*at_commit, wrong) = (false, None);
        steps.clear();
        match act(&View::Scoped(tx), plan, manners, steps) {
            Ok(()) => *at_commit = true,
            Err(Stop::Refused(error)) => return Err(error),
            Err(stop) => wrong = Some(stop),
        }
        Ok(())
    });
    wrong.map_or(Ok(()), Err)?;
    Ok(outcome?)
}

/// One call, which is a transaction by itself.
fn single(db: &Database, plan: &Plan, steps: &mut Vec<Step>, at_commit: &mut bool) -> Result<(), Stop> {
    let mut entries = Vec::new();
    let mut keys = Vec::new();
    for action in &plan.actions {
        match action {
            Action::Begin(key, element) => {
                entries.push((name(*key), encode(*key, &[*element])));
                steps.push(Step::Append(*key, *element));
            }
            Action::Read(key) => keys.push(*key),
            Action::Scan(from, to, walk) => scan(&View::Single(db), *from, *to, *walk, steps)?,
            Action::Append(..) | Action::Pause(_) => {}
        }
    }
    if let [key] = keys[..] {
        read(&View::Single(db), key, steps)?;
    } else if !keys.is_empty() {
        let names: Vec<Vec<u8>> = keys.iter().map(|key| name(*key)).collect();
        for (key, value) in keys.iter().zip(db.get_batch(&names)?) {
            steps.push(Step::Read(*key, Some(decode(value.as_deref())?)));
        }
    }
    *at_commit = true;
    match &entries[..] {
        [] => Ok(()),
        [(key, value)] => Ok(db.put(key, value)?),
        _ => Ok(db.put_batch(&entries)?),
    }
}

fn act(view: &View<'_>, plan: &Plan, manners: Manners, steps: &mut Vec<Step>) -> Result<(), Stop> {
    for action in &plan.actions {
        match action {
            Action::Append(key, element, detour) => {
                if manners.guards {
                    view.put(&guard(*key), &element.to_le_bytes())?;
                }
                append(view, *key, *element, *detour)?;
                steps.push(Step::Append(*key, *element));
            }
            Action::Begin(key, element) => {
                view.put(&name(*key), &encode(*key, &[*element]))?;
                steps.push(Step::Append(*key, *element));
            }
            Action::Read(key) => read(view, *key, steps)?,
            Action::Scan(from, to, walk) => scan(view, *from, *to, *walk, steps)?,
            Action::Pause(0) => {
                simulation::switch_point();
                std::thread::yield_now();
            }
            Action::Pause(micros) => thread::sleep(Duration::from_micros(*micros)),
        }
    }
    Ok(())
}

fn append(view: &View<'_>, key: Key, element: Element, detour: Detour) -> Result<(), Stop> {
    let mut list = decode(view.get(&name(key))?.as_deref())?;
    match detour {
        Detour::Straight => {}
        Detour::Scratch(scratch) => {
            let mut scratched = list.clone();
            scratched.push(scratch);
            view.put(&name(key), &encode(key, &scratched))?;
        }
        Detour::Deleted => view.delete(&name(key))?,
    }
    list.push(element);
    view.put(&name(key), &encode(key, &list))
}

fn read(view: &View<'_>, key: Key, steps: &mut Vec<Step>) -> Result<(), Stop> {
    let list = decode(view.get(&name(key))?.as_deref())?;
    steps.push(Step::Read(key, Some(list)));
    Ok(())
}

/// Reads all lists below `end` at one moment.
pub(super) fn scan_all(snapshot: &Snapshot, end: Key, steps: &mut Vec<Step>) -> Result<(), Stop> {
    scan(&View::Snapshot(snapshot), 0, end, Walk::WHOLE, steps)
}

/// Reads a range, as far as `walk` goes: also what is not there was seen not to be there.
fn scan(view: &View<'_>, from: Key, to: Key, walk: Walk, steps: &mut Vec<Step>) -> Result<(), Stop> {
    let mut entries = view.scan(&name(from), &name(to))?;
    let mut found = BTreeMap::new();
    // What is between them was not read yet.
    let (mut low, mut high) = (from, to);
    for place in 0..walk.up.saturating_add(walk.down) {
        let is_up = place < walk.up;
        let Some(entry) = (if is_up { entries.next() } else { entries.next_back() }) else {
            low = high;
            break;
        };
        let (name, value) = entry?;
        let digits = name.strip_prefix(b"list/").and_then(|digits| std::str::from_utf8(digits).ok());
        let key = digits.and_then(|digits| digits.parse().ok()).filter(|key| (low..high).contains(key));
        let Some(key) = key else {
            let name = String::from_utf8_lossy(&name);
            return Err(Stop::Wrong(format!("a scan of what is left from {low} to {high} gave {name}")));
        };
        if is_up {
            low = key + 1;
        } else {
            high = key;
        }
        found.insert(key, decode(Some(&value))?);
    }
    let read = (from..low).chain(high..to);
    steps.extend(read.map(|key| Step::Read(key, Some(found.remove(&key).unwrap_or_default()))));
    Ok(())
}

impl View<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Stop> {
        Ok(match self {
            Self::Numbered(db, id) => db.get_tx(*id, key),
            Self::Scoped(tx) => tx.get(key),
            Self::Snapshot(snapshot) => snapshot.get(key),
            Self::Single(db) => db.get(key),
        }?)
    }

    fn scan(&self, from: &[u8], to: &[u8]) -> Result<Entries, Stop> {
        let (from, to) = (Some(from), Some(to));
        Ok(match self {
            Self::Numbered(db, id) => Box::new(db.scan_tx(*id, from, to)?),
            Self::Scoped(tx) => Box::new(tx.scan(from, to)?),
            Self::Snapshot(snapshot) => Box::new(snapshot.scan(from, to)?),
            Self::Single(db) => Box::new(db.scan(from, to)?),
        })
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), Stop> {
        match self {
            Self::Numbered(db, id) => Ok(db.put_tx(*id, key, value)?),
            Self::Scoped(tx) => Ok(tx.put(key, value)?),
            Self::Snapshot(_) | Self::Single(_) => Err(Stop::Wrong("a plan writes to a snapshot".to_owned())),
        }
    }

    fn delete(&self, key: &[u8]) -> Result<(), Stop> {
        match self {
            Self::Numbered(db, id) => Ok(db.delete_tx(*id, key)?),
            Self::Scoped(tx) => Ok(tx.delete(key)?),
            Self::Snapshot(_) | Self::Single(_) => Err(Stop::Wrong("a plan writes to a snapshot".to_owned())),
        }
    }
}

fn name(key: Key) -> Vec<u8> {
    format!("list/{key:08}").into_bytes()
}

fn guard(key: Key) -> Vec<u8> {
    format!("guard/{key:08}").into_bytes()
}

/// Locks a list, where transactions lock, and changes nothing if `tx` does not commit.
pub(super) fn lock(tx: &Transaction<'_>, key: Key) -> Result<(), Error> {
    tx.delete(&name(key))?;
    tx.delete(&guard(key))
}

/// A list as a value: the number of elements and the elements, eight bytes each; then nothing, or a filling.
fn encode(key: Key, list: &[Element]) -> Vec<u8> {
    let mut value: Vec<u8> = (list.len() as u64).to_le_bytes().to_vec();
    value.extend(list.iter().flat_map(|element| element.to_le_bytes()));
    if key % LARGE_EVERY == 4 {
        value.resize(value.len() + LARGE_LEN, key as u8);
    }
    value
}

fn decode(value: Option<&[u8]>) -> Result<Vec<Element>, Stop> {
    let Some(value) = value else { return Ok(Vec::new()) };
    let (words, _) = value.as_chunks::<8>();
    let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
    let len = words.next().unwrap_or(u64::MAX);
    let list: Vec<Element> = words.take(usize::try_from(len).unwrap_or(usize::MAX)).collect();
    let is_whole = list.len() as u64 == len && !list.is_empty();
    if is_whole { Ok(list) } else { Err(Stop::Wrong(format!("a list of {len} in {} bytes", value.len()))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_comes_back_large_or_small_and_nothing_else_does() {
        for key in 0..30 {
            assert_eq!(decode(Some(&encode(key, &[3, 1 << 40]))).expect("a list"), [3, 1 << 40]);
        }
        assert_eq!(decode(None).expect("no list"), []);
        assert!(decode(Some(&[])).is_err());
        assert!(decode(Some(&encode(1, &[7])[..15])).is_err());
    }
}
