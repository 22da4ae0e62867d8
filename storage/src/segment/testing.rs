//! What tests of segments, and of what stands on them, begin with.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lightning_db_crypto::{DatabaseId, EpochId, KeySource, Keyring, SeededEntropy};
use lightning_db_sync::RwLock;

use crate::clock::ManualClock;
use crate::compress::CompressionSettings;
use crate::vfs::{MemVfs, OpenHow, Vfs};
use crate::{Generation, Incarnation, SegmentId};

use super::{SaltCount, SealContext, SegmentIds, SegmentKind, WriterOptions};

/// A context over `vfs` for a new database in the folder `dir`, which is created. All that is random follows from `seed`.
pub(crate) fn context_in(vfs: Arc<dyn Vfs>, dir: &str, seed: u64, encrypted: bool) -> SealContext {
    let entropy = Arc::new(SeededEntropy::new(seed));
    let database = DatabaseId::random(&*entropy).expect("random bytes");
    let source = if encrypted { KeySource::raw([7; 32]) } else { KeySource::none() };
    let provider = source.resolve().expect("a key");
    let keyring = Keyring::create(provider.as_deref(), database, &*entropy, 0).expect("a keyring");
    let directory = PathBuf::from(dir);
    vfs.create_dir(&directory).expect("a new directory");
    SealContext {
        vfs,
        clock: Arc::new(ManualClock::new(1_700_000_000_000_000)),
        entropy,
        suite: Arc::clone(keyring.suite()),
        keyring: Arc::new(RwLock::new(keyring)),
        database,
        incarnation: Incarnation([3; 16]).into(),
        directory,
        salts: SaltCount::default(),
    }
}

/// An encrypted database at `/db` in memory.
pub(crate) fn context() -> (MemVfs, Arc<SealContext>) {
    let vfs = MemVfs::new();
    let ctx = context_in(Arc::new(vfs.clone()), "/db", 1, true);
    (vfs, Arc::new(ctx))
}

/// Pages of the first epoch, born in generation 5, not compressed.
pub(crate) fn options(kind: SegmentKind) -> WriterOptions {
    let compression = CompressionSettings::none();
    WriterOptions { kind, epoch: EpochId(1), birth: Generation(5), compression, dictionary: None }
}

/// Numbers from `first` on.
#[cfg_attr(fuzzing, expect(dead_code, reason = "only tests write several segments"))]
pub(crate) fn ids_from(first: u64) -> SegmentIds {
    let next = AtomicU64::new(first);
    Arc::new(move || SegmentId(next.fetch_add(1, Ordering::Relaxed)))
}

/// All bytes of a file.
pub(crate) fn read_file(vfs: &dyn Vfs, path: &Path) -> Vec<u8> {
    let file = vfs.open(path, OpenHow::Read).expect("the file");
    let mut bytes = vec![0; file.len().expect("its length") as usize];
    file.read_exact_at(&mut bytes, 0).expect("its bytes");
    bytes
}

/// Makes `bytes` the content of a file, whether it exists or not.
pub(crate) fn replace_file(vfs: &dyn Vfs, path: &Path, bytes: &[u8]) {
    if vfs.metadata(path).is_ok() {
        vfs.remove_file(path).expect("removed");
    }
    let file = vfs.open(path, OpenHow::CreateNew).expect("created");
    file.write_all_at(bytes, 0).expect("written");
}
