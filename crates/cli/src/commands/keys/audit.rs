//! `keys audit DB`

use std::path::Path;

use lightning_db::AuditRecord;
use serde::Serialize;

use crate::failure::{Failure, Outcome};
use crate::output::human::wall_time;
use crate::output::table::Table;
use crate::session::Session;

#[derive(Serialize)]
struct Audited {
    sound: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    entries: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    number: usize,
    #[serde(flatten)]
    record: Option<Record>,
}

#[derive(Serialize)]
struct Record {
    time: String,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    slot: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u32>,
    #[serde(skip_serializing_if = "is_zero")]
    missed: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    detail: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Lists what was done with the keys. Nothing is written.
pub(super) fn run(session: &Session, path: &Path) -> Outcome {
    let log = session.open_read_only(path)?.audit_log()?;
    let mut table = Table::new(&["#entry", "time", "event", "#slot", "#data key", "detail"]);
    let mut entries = Vec::with_capacity(log.records.len());
    for (index, record) in log.records.into_iter().enumerate() {
        let record = record.map(Record::from);
        table.row(row(index + 1, record.as_ref()));
        entries.push(Entry { number: index + 1, record });
    }
    let object = Audited { sound: log.problem.is_none(), problem: log.problem.clone(), entries };
    session.output.report(table, &object)?;
    match log.problem {
        None => Ok(()),
        Some(problem) => Err(Failure::Damaged(format!("the audit log of {}: {problem}", path.display()))),
    }
}

fn row(number: usize, record: Option<&Record>) -> [String; 6] {
    let shown = |number: Option<u32>| number.map(|number| number.to_string()).unwrap_or_default();
    match record {
        None => {
            let text = "sealed with a data key that was destroyed".to_owned();
            [number.to_string(), String::new(), String::new(), String::new(), String::new(), text]
        }
        Some(record) => {
            let missed = match record.missed {
                0 => String::new(),
                count => format!(" ({count} before it could not be written)"),
            };
            [
                number.to_string(),
                record.time.clone(),
                record.event.to_owned(),
                shown(record.slot),
                shown(record.epoch),
                format!("{}{missed}", record.detail),
            ]
        }
    }
}

impl From<AuditRecord> for Record {
    fn from(record: AuditRecord) -> Self {
        Self {
            time: wall_time(record.time_micros),
            event: record.event.name(),
            slot: record.slot.map(|slot| slot.0),
            epoch: record.epoch.map(|epoch| epoch.0),
            missed: record.missed,
            detail: record.detail,
        }
    }
}
