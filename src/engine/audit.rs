//! The audit log as the engine keeps it. What cannot be written to it stops nothing: it is logged, counted, and told by the
//! next entry.

use lightning_db_crypto::{EpochId, SlotId, SuiteId};
use lightning_db_storage::audit::{self, AuditEvent, AuditFile, AuditLog, AuditRecord, AuditWriter};
use lightning_db_storage::directory::DAMAGED_AUDIT_FILE;
use lightning_db_storage::manifest::Manifest;
use lightning_db_sync::Mutex;

use super::Engine;
use crate::error::{Error, Result};

/// Where entries go.
#[derive(Default)]
pub(super) struct Audit(Mutex<State>);

#[derive(Default)]
struct State {
    writer: Option<AuditWriter>,
    missed: u64,
    /// Entries are written: the database is encrypted, and open for writing.
    is_kept: bool,
}

/// What an entry is about.
#[derive(Clone, Debug, Default)]
pub(crate) struct About {
    pub(crate) slot: Option<SlotId>,
    pub(crate) epoch: Option<EpochId>,
    pub(crate) detail: String,
}

impl Audit {
    /// Nothing is written from here on: the file is that of whoever opens the database next.
    pub(super) fn close(&self) {
        *self.0.lock() = State::default();
    }
}

impl Engine {
    /// Goes on with the log of a database that is open for writing, or begins one, with `first`. Called before the manifest
    /// is written anew.
    pub(super) fn begin_audit(&self, first: AuditEvent) {
        if self.ctx.suite.id() == SuiteId::Checksum {
            return;
        }
        self.audit.0.lock().is_kept = true;
        let slot = self.ctx.keyring.read().opened_by();
        self.note(first, About { slot, ..About::default() });
    }

    /// Goes on behind the newest entry; a log that is damaged is set aside, and the next one begins with that.
    fn begin_writing(&self, state: &mut State) -> Result<()> {
        let head = self.catalog.audit_head();
        let log = audit::look(&*self.ctx.vfs, &self.ctx.directory, &self.ctx.keyring.read(), head)?;
        let (directory, database) = (&self.ctx.directory, self.ctx.database);
        state.writer = Some(AuditWriter::go_on(&*self.ctx.vfs, directory, database, &log)?);
        if let Some(problem) = log.problem {
            tracing::warn!(target: "lightning_db::audit", %problem, "the audit log was damaged; another one is begun");
            // What it was is known from here on: what was set aside can be compared with it.
            let was = head.map(|head| {
                let hash = blake3::Hash::from_bytes(head.hash).to_hex();
                format!("; it had {} entries in {} bytes, hash {hash}", head.entries, head.length)
            });
            let detail = format!("{problem}{}", was.unwrap_or_default());
            self.append(state, AuditEvent::Damaged, About { detail, ..About::default() })?;
        }
        Ok(())
    }

    /// Notes a use of a key. The next manifest names it.
    pub(crate) fn note(&self, event: AuditEvent, about: About) {
        tracing::info!(
            target: "lightning_db::audit",
            directory = %self.ctx.directory.display(),
            event = event.name(),
            slot = about.slot.map(|slot| slot.0),
            epoch = about.epoch.map(|epoch| epoch.0),
            detail = about.detail,
        );
        let mut state = self.audit.0.lock();
        if !state.is_kept {
            return;
        }
        let begun = if state.writer.is_none() { self.begin_writing(&mut state) } else { Ok(()) };
        if let Err(error) = begun.and_then(|()| self.append(&mut state, event, about)) {
            state.missed += 1;
            tracing::warn!(target: "lightning_db::audit", %error, "an entry could not be written to the audit log");
        }
    }

    fn append(&self, state: &mut State, event: AuditEvent, about: About) -> Result<()> {
        let Some(writer) = &mut state.writer else { return Ok(()) };
        let About { slot, epoch, detail } = about;
        let time_micros = self.ctx.clock.now_micros();
        let record = AuditRecord { time_micros, event, slot, epoch, missed: state.missed, detail };
        let head = writer.append(&*self.ctx.vfs, &self.ctx.keyring.read(), &*self.ctx.entropy, &record)?;
        state.missed = 0;
        self.catalog.set_audit_head(head);
        Ok(())
    }

    /// Notes that a use of a key was refused, and why.
    pub(crate) fn note_refused(&self, event: AuditEvent, error: &Error) {
        let detail = format!("{}: {}", event.name(), error.kind());
        self.note(AuditEvent::Refused, About { detail, ..About::default() });
    }

    /// The log as it is in the file.
    ///
    /// # Errors
    /// Those of reading. Damage is in the result.
    pub(crate) fn read_audit(&self) -> Result<AuditLog> {
        // Nothing is appended meanwhile, and the head is the newest.
        let _state = self.audit.0.lock();
        let head = self.catalog.audit_head();
        let keyring = self.ctx.keyring.read();
        audit::read(&*self.ctx.vfs, &self.ctx.directory, &keyring, head).map_err(Error::from)
    }

    /// What can be read of damaged logs: of those that were set aside, and of the log itself if it is damaged.
    ///
    /// # Errors
    /// Those of reading.
    pub(crate) fn salvage_audit(&self) -> Result<Vec<AuditFile>> {
        let is_sound = self.read_audit()?.problem.is_none();
        let mut files = audit::salvage(&*self.ctx.vfs, &self.ctx.directory, &self.ctx.keyring.read())?;
        files.retain(|file| !is_sound || file.name.starts_with(DAMAGED_AUDIT_FILE));
        Ok(files)
    }
}

/// A manifest of another directory: the log stays where it is.
pub(super) fn leave_behind(manifest: &mut Manifest) {
    manifest.audit = None;
}
