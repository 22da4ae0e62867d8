//! The audit log as the engine keeps it. What cannot be written to it stops nothing: it is logged, counted, and told by the
//! next entry.

use lightning_db_crypto::{EpochId, SlotId, SuiteId};
use lightning_db_storage::audit::{self, AuditEvent, AuditLog, AuditRecord, AuditWriter};
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
        self.0.lock().writer = None;
    }
}

impl Engine {
    /// Goes on with the log of a database that is open for writing, or begins one, with `first`. Called before the manifest
    /// is written anew.
    pub(super) fn begin_audit(&self, first: AuditEvent) {
        if self.ctx.suite.id() == SuiteId::Checksum {
            return;
        }
        let begun = self.read_audit().and_then(|log| {
            let (directory, database) = (&self.ctx.directory, self.ctx.database);
            let writer = AuditWriter::go_on(&*self.ctx.vfs, directory, database, &log)?;
            self.audit.0.lock().writer = Some(writer);
            Ok(log.problem)
        });
        match begun {
            Ok(None) => {}
            Ok(Some(problem)) => {
                tracing::warn!(target: "lightning_db::audit", %problem, "the audit log was damaged; another one is begun");
                self.note(AuditEvent::Damaged, About { detail: problem, ..About::default() });
            }
            Err(error) => {
                tracing::warn!(target: "lightning_db::audit", %error, "nothing can be written to the audit log")
            }
        }
        let slot = self.ctx.keyring.read().opened_by();
        self.note(first, About { slot, ..About::default() });
    }

    /// Notes a use of a key. The next manifest names it.
    pub(crate) fn note(&self, event: AuditEvent, about: About) {
        let About { slot, epoch, detail } = about;
        let (slot_number, epoch_number) = (slot.map(|slot| slot.0), epoch.map(|epoch| epoch.0));
        tracing::info!(
            target: "lightning_db::audit",
            directory = %self.ctx.directory.display(),
            event = event.name(),
            slot = slot_number,
            epoch = epoch_number,
            detail,
        );
        let mut state = self.audit.0.lock();
        let missed = state.missed;
        let Some(writer) = &mut state.writer else { return };
        let time_micros = self.ctx.clock.now_micros();
        let record = AuditRecord { time_micros, event, slot, epoch, missed, detail };
        let appended = writer.append(&self.ctx.keyring.read(), &*self.ctx.entropy, &record);
        match appended {
            Ok(head) => {
                state.missed = 0;
                self.catalog.set_audit_head(head);
            }
            Err(error) => {
                state.missed += 1;
                tracing::warn!(target: "lightning_db::audit", %error, "an entry could not be written to the audit log");
            }
        }
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
}

/// A manifest of another directory: the log stays where it is.
pub(super) fn leave_behind(manifest: &mut Manifest) {
    manifest.audit = None;
}
