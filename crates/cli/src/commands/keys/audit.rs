//! `keys audit DB [--damaged]`

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
    /// How many entries before the first one are not kept any more.
    gone: u64,
    entries: Vec<Entry>,
}

#[derive(Serialize)]
struct Salvaged {
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    files: Vec<SalvagedFile>,
}

#[derive(Serialize)]
struct SalvagedFile {
    file: String,
    entries: Vec<Entry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    breaks: Option<Break>,
}

#[derive(Serialize)]
struct Break {
    offset: u64,
    reason: String,
}

#[derive(Serialize)]
struct Entry {
    number: u64,
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
    for (number, record) in (log.gone + 1..).zip(log.records) {
        let record = record.map(Record::from);
        table.row(row(number, record.as_ref()));
        entries.push(Entry { number, record });
    }
    let (sound, gone) = (log.problem.is_none(), log.gone);
    let object = Audited { sound, problem: log.problem.clone(), gone, entries };
    session.output.report(table, &object)?;
    match log.problem {
        None => Ok(()),
        Some(problem) => Err(Failure::Damaged(format!("the audit log of {}: {problem}", path.display()))),
    }
}

/// Lists what can be read of damaged logs, and where each breaks. Nothing is written.
pub(super) fn run_damaged(session: &Session, path: &Path) -> Outcome {
    let db = session.open_read_only(path)?;
    let mut table = Table::new(&["file", "#entry", "time", "event", "#slot", "#data key", "detail"]);
    let mut files = Vec::new();
    for file in db.damaged_audit_logs()? {
        let mut entries = Vec::with_capacity(file.entries.len());
        for (number, record) in file.entries {
            let record = record.map(Record::from);
            let [number_shown, time, event, slot, epoch, detail] = row(number, record.as_ref());
            table.row([file.name.clone(), number_shown, time, event, slot, epoch, detail]);
            entries.push(Entry { number, record });
        }
        let breaks = file.breaks.map(|at| Break { offset: at.offset, reason: at.reason });
        let end = match &breaks {
            Some(at) => format!("breaks at byte {}: {}", at.offset, at.reason),
            None => "ends here; whether something was cut off it cannot say".to_owned(),
        };
        let [none, empty] = [String::new(), String::new()];
        table.row([file.name.clone(), none, empty, String::new(), String::new(), String::new(), end]);
        files.push(SalvagedFile { file: file.name, entries, breaks });
    }
    session.output.report(table, &Salvaged { problem: db.audit_log()?.problem, files })?;
    Ok(())
}

fn row(number: u64, record: Option<&Record>) -> [String; 6] {
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
