//! `keys rotate DB` and `keys epochs DB`

use std::path::{Path, PathBuf};

use lightning_db::{DataKeyInfo, Database, KeySource, SlotId};
use serde::Serialize;

use crate::failure::Outcome;
use crate::key::{self, Ask};
use crate::output::human::{Size, wall_time};
use crate::output::progress::Progress;
use crate::output::table::Table;
use crate::session::Session;

/// What to rotate.
#[derive(Debug, clap::Args)]
pub(super) struct Rotate {
    /// The database's directory
    db: PathBuf,
    /// Move all old data to the new key at once; the database can be in use by this process only, but a crash loses nothing
    #[arg(long, conflicts_with = "resume")]
    now: bool,
    /// Draw no new key: go on moving old data, where a --now was interrupted
    #[arg(long, conflicts_with = "master")]
    resume: bool,
    /// Draw a new master key, too, and wrap it anew in every slot
    #[arg(long)]
    master: bool,
    /// The key of another slot that is to stay, written as for --key; once for each
    #[arg(long, value_name = "URI", requires = "master")]
    slot_key: Vec<String>,
    /// A slot that is not to stay: its number, as `keys list` shows it; once for each
    #[arg(long, value_name = "SLOT", requires = "master")]
    drop_slot: Vec<u32>,
}

#[derive(Serialize)]
struct Rotated {
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u32>,
    master: bool,
    moved: bool,
    epochs: Vec<Epoch>,
}

#[derive(Serialize)]
struct Epoch {
    epoch: u32,
    created: String,
    current: bool,
    live_bytes: u64,
    file_bytes: u64,
    log_segments: u64,
    checkpoints: Vec<String>,
    waits_for_backup: bool,
    unused: bool,
}

impl Rotate {
    pub(super) fn run(self, session: &Session) -> Outcome {
        let others = self.slot_key.iter().map(|uri| key::from_uri("--slot-key", uri, Ask::ToOpen));
        let others: Vec<KeySource> = others.collect::<Outcome<_>>()?;
        let dropped: Vec<SlotId> = self.drop_slot.iter().copied().map(SlotId).collect();
        let db = session.open(&self.db)?;
        let epoch = match (self.resume, self.master) {
            (true, _) => None,
            (false, true) => Some(db.rotate_master_key(&others, &dropped)?),
            (false, false) => Some(db.rotate_data_key()?),
        };
        let moved = self.now || self.resume;
        if moved {
            let moved = db.reseal(&Progress::new(session.output, "sealing anew", 1));
            moved.inspect_err(|_| {
                if !session.output.is_json() {
                    let place = self.db.display();
                    eprintln!("The new key counts already, and what was moved stays: `lightning-cli keys rotate {place} --resume` goes on");
                }
            })?;
        }
        let keys = db.data_keys();
        db.close()?;
        let text = self.told(epoch.map(|epoch| epoch.0), &keys);
        let epochs = keys.into_iter().map(Epoch::from).collect();
        session
            .output
            .done(text, &Rotated { epoch: epoch.map(|epoch| epoch.0), master: self.master, moved, epochs })
    }

    fn told(&self, epoch: Option<u32>, keys: &[DataKeyInfo]) -> String {
        let place = self.db.display();
        let master = if self.master { "the master key is a new one; " } else { "" };
        let begun =
            epoch.map(|epoch| format!("{master}new data in {place} is sealed with data key {epoch}; "));
        let begun = begun.unwrap_or_default();
        if !(self.now || self.resume) {
            return format!("{begun}`lightning-cli keys rotate --resume` moves the old data to it at once");
        }
        let held: Vec<String> = keys.iter().filter(|key| !key.is_current).filter_map(held).collect();
        if held.is_empty() {
            return format!("{begun}all data is moved to it, and nothing in {place} needs an older key");
        }
        format!("{begun}all data is moved to it; older keys are still needed: {}", held.join("; "))
    }
}

/// What still needs an older key.
fn held(key: &DataKeyInfo) -> Option<String> {
    let mut reasons = Vec::new();
    if !key.checkpoints.is_empty() {
        reasons.push(format!("named checkpoints ({})", key.checkpoints.join(", ")));
    }
    if key.log_segments > 0 {
        reasons.push("log that waits for a backup".to_owned());
    }
    if key.waits_for_backup {
        reasons.push("files that wait for a backup".to_owned());
    }
    (!reasons.is_empty()).then(|| format!("{} by {}", key.epoch, reasons.join(" and ")))
}

/// Lists the data keys.
pub(super) fn epochs(session: &Session, path: &Path) -> Outcome {
    #[derive(Serialize)]
    struct Listed {
        epochs: Vec<Epoch>,
    }
    let db: std::sync::Arc<Database> = session.open_read_only(path)?;
    let keys = db.data_keys();
    let mut table = Table::new(&["#epoch", "created", "#live", "#files", "#log files", "needed by"]);
    for key in &keys {
        let current = key.is_current.then(|| "new data".to_owned());
        let live = (key.live_bytes > 0).then(|| "live data".to_owned());
        let needed: Vec<String> =
            current
                .into_iter()
                .chain(live)
                .chain(held(key).into_iter().map(|held| {
                    held.split_once(" by ").map_or(held.clone(), |(_, reasons)| reasons.to_owned())
                }))
                .collect();
        table.row([
            key.epoch.0.to_string(),
            wall_time(key.created_micros),
            Size(key.live_bytes).to_string(),
            Size(key.file_bytes).to_string(),
            key.log_segments.to_string(),
            if key.is_unused() { "nothing here".to_owned() } else { needed.join(", ") },
        ]);
    }
    session.output.report(table, &Listed { epochs: keys.into_iter().map(Epoch::from).collect() })
}

impl From<DataKeyInfo> for Epoch {
    fn from(key: DataKeyInfo) -> Self {
        Self {
            unused: key.is_unused(),
            epoch: key.epoch.0,
            created: wall_time(key.created_micros),
            current: key.is_current,
            live_bytes: key.live_bytes,
            file_bytes: key.file_bytes,
            log_segments: key.log_segments,
            checkpoints: key.checkpoints,
            waits_for_backup: key.waits_for_backup,
        }
    }
}
