//! Making one backup.
//!
//! ```text
//! lock | clear up | keyring | segments | log | manifests/<n> | head | look again whether all is still there
//! ```
//!
//! Nothing counts until its record is there, and a record comes after all that it names. So a backup that dies leaves
//! objects that no record names, and the next one removes them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lightning_db_storage::keyring_store::KeyringStore;
use lightning_db_storage::manifest::{ArchivedThrough, Lineage, Manifest, RepositoryCursor, RestorePoint};
use lightning_db_storage::segment::{SealContext, SegmentInfo};
use lightning_db_storage::vfs::OpenHow;
use lightning_db_storage::{FrameNumber, SequenceNumber, StorageError};

use crate::archive::{Archived, LogInput, LostLog, archive, check_history};
use crate::candidate::{VersionKind, choose};
use crate::catalog::Catalog;
use crate::manifest::{
    BackupManifest, KeyringObject, LogPiece, Record, RecordBody, RepositoryId, SegmentObject, trees_digest,
};
use crate::repository::Repository;
use crate::store::{ObjectStore, Put};
use crate::transfer::{Progress, copy, for_each_parallel};
use crate::{BackupError, Result, layout};

/// The state of the database to be backed up. The caller keeps the files that the manifest names until the backup is
/// done.
#[derive(Clone, Copy, Debug)]
pub struct BackupInput<'a> {
    /// The database's files and keys.
    pub ctx: &'a SealContext,
    /// Its manifest, read after `durable`.
    pub manifest: &'a Manifest,
    /// The newest frame of the log that is on stable storage; `None` when there is no log.
    pub durable: Option<FrameNumber>,
    /// The time at which `durable` was the newest frame and no later commit was there, microseconds since 1970.
    pub as_of_micros: i64,
}

/// What a backup did.
#[derive(Clone, Debug)]
pub struct BackupReport {
    /// The backup's number.
    pub backup: u64,
    /// The repository.
    pub repository: RepositoryId,
    /// The last commit that it holds.
    pub sequence: SequenceNumber,
    /// The time up to which there was no other commit, microseconds since 1970.
    pub as_of_micros: i64,
    /// Which version of the database it holds.
    pub version: VersionKind,
    /// Bytes of all its segments, those that were in the repository before too.
    pub total_bytes: u64,
    /// Bytes of segments that were copied.
    pub segment_bytes: u64,
    /// Bytes of log that were copied.
    pub log_bytes: u64,
    /// Commits that no restore can stop at, because their log was given up before it was archived.
    pub lost_log: Vec<LostLog>,
    /// The newest record that this database put there, if the repository has only older ones: it was set back.
    pub set_back_from: Option<u64>,
    /// How long each phase took.
    pub phases: Vec<Phase>,
    /// What the database keeps about this repository from now on.
    pub cursor: RepositoryCursor,
}

/// A phase of a long operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase {
    /// Its name.
    pub name: &'static str,
    /// How long it took.
    pub duration: Duration,
}

/// Measures phases.
#[derive(Debug)]
pub struct Phases<'a> {
    ctx: &'a dyn lightning_db_storage::clock::Clock,
    since: Duration,
    done: Vec<Phase>,
}

impl<'a> Phases<'a> {
    /// Starts the first phase.
    pub fn start(ctx: &'a dyn lightning_db_storage::clock::Clock) -> Self {
        Self { ctx, since: ctx.monotonic(), done: Vec::new() }
    }

    /// Ends a phase and starts the next.
    pub fn end(&mut self, name: &'static str) {
        let now = self.ctx.monotonic();
        self.done.push(Phase { name, duration: now.saturating_sub(self.since) });
        self.since = now;
    }

    /// The phases that ended.
    #[must_use]
    pub fn finish(self) -> Vec<Phase> {
        self.done
    }
}

/// Backs the database up into the repository in `store`, which is made if there is nothing there. `announce` is called
/// before the backup counts, with what the database is to remember by then: it must know this backup for its own also
/// when it dies before it hears that the backup is done, and the log that would tell is given up.
///
/// # Errors
/// Those of `announce`;
/// `Busy`, `NotEmpty`, `OtherDatabase`, `Diverged`; `Storage(Corrupt)` for damage found in the database, which is not
/// backed up; `Vanished` when somebody deletes from the repository meanwhile; I/O errors. After any error the repository
/// has the backups it had.
pub fn run_backup<E: From<BackupError>>(
    input: &BackupInput<'_>,
    store: &Arc<dyn ObjectStore>,
    progress: &dyn Progress,
    announce: impl FnOnce(RepositoryCursor) -> Result<(), E>,
) -> Result<BackupReport, E> {
    let mut phases = Phases::start(&*input.ctx.clock);
    let _lock = store.lock()?;
    let repository = Repository::open_or_create(Arc::clone(store), &*input.ctx.entropy)?;
    let catalog = repository.catalog()?;
    check_database(input, &repository, &catalog)?;
    let cursor = input.manifest.repositories.iter().find(|cursor| cursor.repository == repository.id().0);
    let log = LogInput { ctx: input.ctx, manifest: input.manifest, durable: input.durable, cursor };
    check_history(&log, &catalog)?;
    remove_orphans(&repository, &catalog)?;
    // What seals the record is no newer than what is uploaded, whatever is done to the keys meanwhile.
    let sealing = input.ctx.keyring.read().duplicate();
    let keyring = put_keyring(input.ctx, &repository)?;
    let run = Run { input, repository: &repository, catalog: &catalog, progress };
    let previous = run.previous_version()?;
    let present = run.present()?;
    let lacks = |info: &SegmentInfo| present.get(&SegmentObject::of(info).name()) != Some(&info.length);
    let (kind, mut version) = choose(input.ctx, input.manifest, previous.as_ref(), &lacks)?;
    phases.end("prepare");
    let segment_bytes = run.copy_segments(&version, &present, &lacks)?;
    phases.end("segments");
    let archived = run.copy_log(&log)?;
    phases.end("log");
    merge_restore_points(&mut version, previous.as_ref(), &archived);
    let record = run.record(&version, &archived, keyring, segment_bytes)?;
    let (record, bytes) = record.seal_backup(&version, &sealing, &*input.ctx.entropy)?;
    announce(run.announcement(&version, &archived, cursor))?;
    repository.append(record.number, &bytes)?;
    run.look_again(&record)?;
    phases.end("manifest");
    Ok(run.report(kind, version, &record, archived, phases.finish()))
}

fn check_database(input: &BackupInput<'_>, repository: &Repository, catalog: &Catalog) -> Result<()> {
    let own = input.manifest.database;
    if let Some((_, other)) = catalog.all_backups().find(|(_, backup)| backup.database != own) {
        return Err(BackupError::OtherDatabase { place: repository.place(), held: other.database, own });
    }
    catalog.require_signer(input.ctx.keyring.read().public_key())
}

/// Deletes what no record names: what a backup that died left behind, and what deletions released. If any record cannot
/// be read, nothing is deleted.
pub(crate) fn remove_orphans(repository: &Repository, catalog: &Catalog) -> Result<u64> {
    if !catalog.is_whole() {
        return Ok(0);
    }
    let named = named_objects(catalog);
    let mut bytes = 0;
    for prefix in [layout::SEGMENTS, layout::LOG, layout::KEYRINGS] {
        for object in repository.store().list(prefix)? {
            if layout::is_known(&object.name) && !named.contains_key(&object.name) {
                repository.store().delete(&object.name)?;
                bytes += object.len;
            }
        }
    }
    Ok(bytes)
}

/// Every object that some backup needs, with its length.
pub(crate) fn named_objects(catalog: &Catalog) -> BTreeMap<String, u64> {
    let mut named = BTreeMap::new();
    for (_, _, backup) in catalog.backups() {
        named.extend(backup.segments.iter().map(|segment| (segment.name(), segment.length)));
    }
    named.extend(catalog.needed_keyrings().iter().map(|keyring| (keyring.name(), keyring.length)));
    named.extend(catalog.needed_log().into_iter().map(|piece| (piece.name(), piece.length)));
    named
}

fn put_keyring(ctx: &SealContext, repository: &Repository) -> Result<KeyringObject> {
    let (info, bytes) = KeyringStore::new(Arc::clone(&ctx.vfs), &ctx.directory).peek()?.value;
    let object = KeyringObject {
        generation: info.generation,
        hash: *blake3::hash(&bytes).as_bytes(),
        length: bytes.len() as u64,
    };
    put_whole(repository, &object.name(), object.length, &mut |sink| sink.write(&bytes))?;
    Ok(object)
}

/// Puts an object whose name has its hash. One of another length is damaged, and is replaced.
fn put_whole(repository: &Repository, name: &str, length: u64, content: crate::Content<'_>) -> Result<Put> {
    let store = repository.store();
    if let Some(found) = store.get(name)? {
        if found.len() == length {
            return Ok(Put::Exists);
        }
        tracing::warn!(object = name, "replacing an object of the repository that has the wrong length");
        store.delete(name)?;
    }
    store.put_if_absent(name, content)
}

fn merge_restore_points(version: &mut Manifest, previous: Option<&Manifest>, archived: &Archived) {
    let mut seen: BTreeSet<(String, [u8; 16])> = BTreeSet::new();
    let mut points: Vec<RestorePoint> = Vec::new();
    let known = std::mem::take(&mut version.restore_points);
    let earlier = previous.into_iter().flat_map(|previous| previous.restore_points.iter().cloned());
    for point in known.into_iter().chain(archived.restore_points.iter().cloned()).chain(earlier) {
        if seen.insert((point.name.clone(), point.incarnation.0)) {
            points.push(point);
        }
    }
    version.restore_points = points;
}

struct Run<'a> {
    input: &'a BackupInput<'a>,
    repository: &'a Repository,
    catalog: &'a Catalog,
    progress: &'a dyn Progress,
}

impl Run<'_> {
    /// The version that the newest backup of this history holds, if it can be read.
    fn previous_version(&self) -> Result<Option<Manifest>> {
        let incarnation = self.input.manifest.incarnation;
        let newest = self.catalog.backups().rev().find(|(_, _, backup)| backup.incarnation == incarnation);
        let Some((number, entry, backup)) = newest else { return Ok(None) };
        let sealed_with = backup.sealed_epoch();
        if !self.input.ctx.keyring.read().epochs().iter().any(|known| Some(known.id) == sealed_with) {
            tracing::info!(number, "the latest backup cannot be continued: its data key was destroyed");
            return Ok(None);
        }
        entry.record.open(&self.repository.place(), &self.input.ctx.keyring.read())
    }

    fn set_back_from(&self) -> Option<u64> {
        let (id, known) = (self.repository.id().0, &self.input.manifest.repositories);
        let cursor = known.iter().find(|cursor| cursor.repository == id)?;
        let last = self.catalog.last_number();
        let set_back = (cursor.last_backup > last).then_some(cursor.last_backup);
        if let Some(expected) = set_back {
            tracing::warn!(
                expected,
                last,
                "the repository was set back: backups that were made are not there"
            );
        }
        set_back
    }

    /// The segments that the repository has, with their lengths.
    fn present(&self) -> Result<BTreeMap<String, u64>> {
        let objects = self.repository.store().list(layout::SEGMENTS)?;
        Ok(objects.into_iter().map(|object| (object.name, object.len)).collect())
    }

    fn copy_segments(
        &self,
        version: &Manifest,
        present: &BTreeMap<String, u64>,
        lacks: &dyn Fn(&SegmentInfo) -> bool,
    ) -> Result<u64> {
        let missing: Vec<&SegmentInfo> = version.segments.iter().filter(|info| lacks(info)).collect();
        let total: u64 = missing.iter().map(|info| info.length).sum();
        tracing::debug!(segments = missing.len(), bytes = total, present = present.len(), "copying segments");
        let done = AtomicU64::new(0);
        self.progress.advance("segments", 0, total);
        for_each_parallel(&missing, &|info| {
            self.copy_segment(info, &|bytes| {
                let done = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
                self.progress.advance("segments", done, total);
            })
        })?;
        Ok(total)
    }

    fn copy_segment(&self, info: &SegmentInfo, copied: &dyn Fn(u64)) -> Result<()> {
        let ctx = self.input.ctx;
        let path = ctx.segment_path(info.kind, info.id);
        let file =
            ctx.vfs.open(&path, OpenHow::Read).map_err(|error| StorageError::io("open", &path, error))?;
        let read = |buf: &mut [u8], at| {
            file.read_at(buf, at).map_err(|error| StorageError::io("read", &path, error).into())
        };
        put_whole(self.repository, &SegmentObject::of(info).name(), info.length, &mut |sink| {
            let (hash, len) = copy(info.length, &read, &mut |bytes| {
                sink.write(bytes)?;
                copied(bytes.len() as u64);
                Ok(())
            })?;
            if len != info.length || hash != info.content_hash {
                let what = "its bytes are not those that were written, and were not backed up";
                return Err(StorageError::corrupt(&path, 0, what).into());
            }
            Ok(())
        })?;
        Ok(())
    }

    fn copy_log(&self, log: &LogInput<'_>) -> Result<Archived> {
        let mut done = 0;
        archive(log, self.catalog, &mut |piece: &LogPiece, object: &[u8]| {
            put_whole(self.repository, &piece.name(), piece.length, &mut |sink| sink.write(object))?;
            done += piece.length;
            self.progress.advance("log", done, done);
            Ok(())
        })
    }

    fn record(
        &self,
        version: &Manifest,
        archived: &Archived,
        keyring: KeyringObject,
        new_segment_bytes: u64,
    ) -> Result<Record> {
        let last_sequence = self.log_end(version, archived).map_or(SequenceNumber(0), |end| end.sequence);
        let backup = BackupManifest::new(
            version,
            self.input.ctx.suite.id(),
            (last_sequence.max(version.flushed_sequence), self.input.as_of_micros),
            keyring,
            archived.pieces.clone(),
            new_segment_bytes,
        );
        Ok(Record {
            repository: self.repository.id(),
            number: self.catalog.next_number()?,
            previous: self.catalog.newest(),
            created_micros: self.input.ctx.clock.now_micros(),
            body: RecordBody::Backup(Box::new(backup)),
            signer: None,
        })
    }

    /// Somebody may have deleted what was counted on. Then the backup is void, and a record says so.
    fn look_again(&self, record: &Record) -> Result<()> {
        let Some(backup) = record.backup() else { return Ok(()) };
        let store = self.repository.store();
        let mut present = BTreeSet::new();
        for prefix in [layout::SEGMENTS, layout::LOG, layout::KEYRINGS] {
            present.extend(store.list(prefix)?.into_iter().map(|object| object.name));
        }
        let named = backup.segments.iter().map(SegmentObject::name);
        let named = named.chain(backup.log.iter().map(LogPiece::name)).chain([backup.keyring.name()]);
        let gone: Vec<String> = named.filter(|name| !present.contains(name)).collect();
        let Some(first) = gone.first() else { return Ok(()) };
        let number = record.number;
        let ctx = self.input.ctx;
        let catalog = self.repository.catalog()?;
        let now_micros = ctx.clock.now_micros();
        crate::prune::append(self.repository, &catalog, number, Some(&ctx.keyring.read()), now_micros)?;
        Err(BackupError::Vanished {
            place: self.repository.place(),
            number,
            count: gone.len(),
            first: first.clone(),
        })
    }

    /// What the database knows about the repository while the backup may count or not: its trees; the log that is there,
    /// of which it is known that it is this database's; and the log that there is if the backup counts.
    fn announcement(
        &self,
        version: &Manifest,
        archived: &Archived,
        known: Option<&RepositoryCursor>,
    ) -> RepositoryCursor {
        let chain = self.catalog.chain(version.incarnation);
        let held = chain.end().map(|piece| archived_through(version, piece));
        let own = |(_, backup): &(u64, &BackupManifest)| backup.incarnation == version.incarnation;
        let newest = self.catalog.all_backups().rev().find(own).map(|(number, _)| number);
        RepositoryCursor {
            repository: self.repository.id().0,
            url_hint: self.repository.store().address(),
            // Also one that was not heard of, and is known now by what was announced before it.
            last_backup: newest.max(known.map(|known| known.last_backup)).unwrap_or(0),
            archived: held.or_else(|| known.and_then(|known| known.archived)),
            announced: self.log_end(version, archived),
            announced_trees: Some(trees_digest(
                version.segments.iter().map(|info| (info.id, info.content_hash)),
            )),
            lineage: lineage(version.clone()),
        }
    }

    /// The end of the log that the repository has of this history when the backup counts.
    fn log_end(&self, version: &Manifest, archived: &Archived) -> Option<ArchivedThrough> {
        let chain = self.catalog.chain(version.incarnation);
        let own = |piece: &&LogPiece| piece.segment.incarnation == version.incarnation;
        let end = archived.pieces.iter().rev().find(own).or(chain.end());
        end.map(|piece| archived_through(version, piece))
    }

    fn report(
        &self,
        kind: VersionKind,
        version: Manifest,
        record: &Record,
        archived: Archived,
        phases: Vec<Phase>,
    ) -> BackupReport {
        let log_bytes = archived.pieces.iter().map(|piece| piece.length).sum();
        let log_end = self.log_end(&version, &archived);
        let (sequence, segment_bytes) = record
            .backup()
            .map_or((version.flushed_sequence, 0), |backup| (backup.last_sequence, backup.new_segment_bytes));
        BackupReport {
            backup: record.number,
            repository: self.repository.id(),
            sequence,
            as_of_micros: self.input.as_of_micros,
            version: kind,
            total_bytes: version.segments.iter().map(|info| info.length).sum(),
            segment_bytes,
            log_bytes,
            lost_log: archived.lost,
            set_back_from: self.set_back_from(),
            phases,
            cursor: RepositoryCursor {
                repository: self.repository.id().0,
                url_hint: self.repository.store().address(),
                last_backup: record.number,
                archived: log_end,
                announced: None,
                announced_trees: None,
                lineage: lineage(version),
            },
        }
    }
}

fn archived_through(version: &Manifest, last: &LogPiece) -> ArchivedThrough {
    ArchivedThrough {
        incarnation: version.incarnation,
        frame: last.end.frame,
        tag: last.end.tag,
        sequence: last.end.sequence,
        time_micros: last.times.map_or(version.flushed_time_micros, |(_, latest)| latest),
    }
}

fn lineage(version: Manifest) -> Lineage {
    Lineage::Version {
        sequence: version.flushed_sequence,
        time_micros: version.flushed_time_micros,
        keyspaces: version.keyspaces,
        segments: version.segments,
    }
}
