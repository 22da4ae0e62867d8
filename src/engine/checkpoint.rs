//! Keeping a moment: by a name inside the database, or as an openable copy of it.
//!
//! Both are made of finished files only, which nobody changes: a name pins them, a copy links to them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lightning_db_storage::audit::AuditEvent;
use lightning_db_storage::directory;
use lightning_db_storage::keyring_store::KeyringStore;
use lightning_db_storage::manifest::{Fork, HeldSegment, Keyspace, Manifest, ManifestStore, NamedCheckpoint};
use lightning_db_storage::segment::{SegmentInfo, SegmentKind, segment_file_name};
use lightning_db_storage::vfs::{OpenHow, Vfs};
use lightning_db_storage::{Incarnation, SegmentId, SequenceNumber, StorageError};

use super::install::read_filter;
use super::segments::SegmentTable;
use super::version::{Layer, ReadView, Run, TreeState, Version};
use super::{About, Engine, catalog};
use crate::error::{Error, Result};

/// Files are copied in pieces of this many bytes where they cannot be linked.
const COPY_PIECE_LEN: usize = 1 << 20;

impl Engine {
    /// Keeps everything that is committed now under a name.
    ///
    /// # Errors
    /// `AlreadyExists`, and those of writing files.
    pub(crate) fn create_named_checkpoint(&self, name: &str) -> Result<NamedCheckpoint> {
        self.flush_all()?;
        let made_micros = self.ctx.clock.now_micros();
        let mut made = None;
        self.change_manifest(|manifest| {
            if manifest.checkpoints.iter().all(|checkpoint| checkpoint.name != name) {
                let checkpoint = checkpoint_of(manifest, name, made_micros);
                manifest.checkpoints.push(checkpoint.clone());
                made = Some(checkpoint);
            }
        })?;
        made.ok_or_else(|| Error::AlreadyExists { what: format!("the checkpoint {name:?}") })
    }

    /// Forgets a named checkpoint; files that only it needs go.
    ///
    /// # Errors
    /// `NotFound`, and those of writing files.
    pub(crate) fn drop_named_checkpoint(&self, name: &str) -> Result<()> {
        // A rollback holds the writer from where it reads a checkpoint to where it needs its files.
        let _writer = self.commits.queue.writer();
        let mut found = false;
        self.change_manifest(|manifest| {
            let before = manifest.checkpoints.len();
            manifest.checkpoints.retain(|checkpoint| checkpoint.name != name);
            found = manifest.checkpoints.len() < before;
        })?;
        if found { Ok(()) } else { Err(unknown(name)) }
    }

    /// What a named checkpoint holds, for reading.
    ///
    /// # Errors
    /// `NotFound`, and those of reading filters.
    pub(crate) fn named_checkpoint_view(&self, name: &str) -> Result<ReadView> {
        let (checkpoint, version) = self.catalog.read(|manifest| {
            let checkpoint = manifest.checkpoints.iter().find(|checkpoint| checkpoint.name == name);
            (checkpoint.cloned(), self.versions.current())
        });
        let checkpoint = checkpoint.ok_or_else(|| unknown(name))?;
        let keyspace = checkpoint.keyspaces.first().ok_or_else(|| unknown(name))?;
        let mut segments = version.tree.segments.clone();
        let kept: BTreeSet<SegmentId> = checkpoint.segments.iter().map(|held| held.id).collect();
        segments.remove_unless(|id| kept.contains(&id));
        let tree = tree_of(keyspace, segments, checkpoint.sequence)?;
        let version =
            Version { active: Layer::new(self.hash_seed, true), frozen: Vec::new(), tree: Arc::new(tree) };
        Ok(ReadView { version: Arc::new(version), sequence: checkpoint.sequence })
    }

    /// Makes an openable copy of everything that is committed now in `target`, which must not exist. Files are linked
    /// where the file system allows it. The copy is a history of its own that branches off here.
    ///
    /// # Errors
    /// `AlreadyExists`, and those of writing files; nothing is left behind then.
    pub(crate) fn create_checkpoint(&self, target: &Path) -> Result<()> {
        let vfs = &*self.ctx.vfs;
        if vfs.metadata(target).is_ok() {
            return Err(Error::AlreadyExists { what: target.display().to_string() });
        }
        self.flush_all()?;
        let staging = self.staging_name(target)?;
        // Before there is a copy, and in a manifest: whoever kills the process takes no entry away.
        let detail = format!("into a copy, {}", target.display());
        self.note(AuditEvent::Exported, About { detail, ..About::default() });
        self.change_manifest(|_| {})?;
        let made = self.copy_into(&staging).and_then(|()| {
            vfs.rename(&staging, target).map_err(|error| StorageError::io("rename", target, error))?;
            let parent = target.parent().unwrap_or(Path::new(""));
            Ok(vfs.sync_dir(parent).map_err(|error| StorageError::io("sync", parent, error))?)
        });
        made.inspect_err(|_| remove_tree(vfs, &staging))
    }

    /// A name beside `target` that nobody else uses.
    fn staging_name(&self, target: &Path) -> Result<PathBuf> {
        let mut random = [0; 8];
        self.ctx.entropy.fill(&mut random)?;
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(format!(".creating-{:016x}", u64::from_le_bytes(random)));
        Ok(target.with_file_name(name))
    }

    fn copy_into(&self, directory: &Path) -> Result<()> {
        let vfs = &*self.ctx.vfs;
        vfs.create_dir(directory).map_err(|error| StorageError::io("create", directory, error))?;
        // The version keeps the files of its manifest from being deleted meanwhile.
        let (mut manifest, _version) =
            self.catalog.read(|manifest| (manifest.clone(), self.versions.current()));
        let mut incarnation = [0; 16];
        self.ctx.entropy.fill(&mut incarnation)?;
        branch_off(&mut manifest, Incarnation(incarnation));
        for info in &manifest.segments {
            let name = segment_file_name(info.kind, info.id);
            link_or_copy(vfs, &self.ctx.directory.join(&name), &directory.join(&name))?;
        }
        let keyring = self.ctx.keyring.read();
        KeyringStore::new(Arc::clone(&self.ctx.vfs), directory).commit(&keyring, &*self.ctx.entropy)?;
        let mut store = ManifestStore::new(Arc::clone(&self.ctx.vfs), directory);
        Ok(store.commit(&manifest, &keyring, &*self.ctx.entropy)?)
    }
}

/// The trees of a manifest, as a checkpoint.
fn checkpoint_of(manifest: &Manifest, name: &str, made_micros: i64) -> NamedCheckpoint {
    let runs = manifest.run_segments();
    let is_used = |info: &&SegmentInfo| match info.kind {
        SegmentKind::Run => runs.contains(&info.id),
        _ => info.live_bytes > 0,
    };
    let segments: Vec<HeldSegment> =
        manifest.segments.iter().filter(is_used).map(HeldSegment::from).collect();
    let held: BTreeSet<SegmentId> = segments.iter().map(|held| held.id).collect();
    let mut keyspaces = manifest.keyspaces.clone();
    for run in keyspaces.iter_mut().flat_map(|keyspace| &mut keyspace.runs) {
        // A segment whose values were all overwritten may still be there for somebody else, who lets go of it one day.
        run.value_segments.retain(|id| held.contains(id));
    }
    NamedCheckpoint {
        name: name.to_owned(),
        sequence: manifest.flushed_sequence,
        time_micros: manifest.flushed_time_micros,
        made_micros,
        incarnation: manifest.incarnation,
        ancestry: manifest.ancestry.clone(),
        keyspaces,
        segments,
    }
}

fn tree_of(keyspace: &Keyspace, segments: SegmentTable, sequence: SequenceNumber) -> Result<TreeState> {
    let runs = open_runs(keyspace, &segments)?;
    Ok(TreeState { base: keyspace.base, runs, segments, flushed: sequence })
}

/// The runs of a keyspace with their filters, newest first.
pub(super) fn open_runs(keyspace: &Keyspace, segments: &SegmentTable) -> Result<Vec<Arc<Run>>> {
    let open = |info| -> Result<Arc<Run>> {
        Ok(Arc::new(Run { filter: read_filter(segments, info)?, info: info.clone() }))
    };
    keyspace.runs.iter().rev().map(open).collect()
}

/// Turns a manifest into the first one of a history that begins where it stands: without log, and without backups.
fn branch_off(manifest: &mut Manifest, incarnation: Incarnation) {
    let (sequence, time_micros) = (manifest.flushed_sequence, manifest.flushed_time_micros);
    manifest.ancestry.push(Fork { incarnation: manifest.incarnation, sequence, time_micros, next: sequence });
    manifest.incarnation = incarnation;
    manifest.generation = manifest.generation.next();
    manifest.wal.clear();
    manifest.log_end = None;
    manifest.features = manifest.features.with_anchored(false);
    manifest.repositories.clear();
    manifest.retained_runs.clear();
    manifest.restore_points.retain(|point| point.sequence <= sequence);
    super::audit::leave_behind(manifest);
    catalog::sweep(manifest);
}

fn link_or_copy(vfs: &dyn Vfs, from: &Path, to: &Path) -> Result<()> {
    use std::io::ErrorKind::{CrossesDevices, PermissionDenied, TooManyLinks, Unsupported};
    match vfs.hard_link(from, to) {
        Ok(()) => Ok(()),
        // Another device, or a file system without links, or without room for one more.
        Err(error)
            if matches!(error.kind(), CrossesDevices | PermissionDenied | TooManyLinks | Unsupported) =>
        {
            copy(vfs, from, to)
        }
        Err(error) => Err(StorageError::io("link", to, error).into()),
    }
}

fn copy(vfs: &dyn Vfs, from: &Path, to: &Path) -> Result<()> {
    let source = vfs.open(from, OpenHow::Read).map_err(|error| StorageError::io("read", from, error))?;
    let copy = vfs.open(to, OpenHow::CreateNew).map_err(|error| StorageError::io("create", to, error))?;
    let mut piece = vec![0; COPY_PIECE_LEN];
    let mut offset = 0;
    loop {
        let count =
            source.read_at(&mut piece, offset).map_err(|error| StorageError::io("read", from, error))?;
        if count == 0 {
            return Ok(copy.sync_all().map_err(|error| StorageError::io("sync", to, error))?);
        }
        copy.write_all_at(&piece[..count], offset).map_err(|error| StorageError::io("write", to, error))?;
        offset += count as u64;
    }
}

/// Best effort: what stays behind has a name that says what it is.
fn remove_tree(vfs: &dyn Vfs, directory: &Path) {
    for entry in vfs.list(directory).unwrap_or_default() {
        let _ = directory::remove(vfs, &directory.join(entry.name));
    }
    let _ = vfs.remove_dir(directory);
}

fn unknown(name: &str) -> Error {
    Error::NotFound { what: format!("the checkpoint {name:?}") }
}
