//! No two seals ever share key and nonce, whatever happens to processes, disks and generators of random bytes.

use std::collections::HashSet;

use lightning_db_crypto::{AeadKey, AeadSuite, CryptoError, Entropy, Nonce, SecretKey, SuiteId, Tag};
use lightning_db_sync::Mutex;
use proptest::prelude::*;

use super::*;

type Seen = Arc<Mutex<HashSet<([u8; 32], Nonce)>>>;

/// A suite that panics when it is to seal under a key and nonce that it has seen.
#[derive(Debug)]
struct Recording {
    inner: Arc<dyn AeadSuite>,
    seen: Seen,
}

struct RecordingKey {
    inner: Box<dyn AeadKey>,
    key: [u8; 32],
    seen: Seen,
}

impl AeadSuite for Recording {
    fn id(&self) -> SuiteId {
        self.inner.id()
    }

    fn name(&self) -> &'static str {
        "recording"
    }

    fn key(&self, key: &SecretKey) -> Box<dyn AeadKey> {
        let (inner, seen) = (self.inner.key(key), Arc::clone(&self.seen));
        Box::new(RecordingKey { inner, key: *key.expose(), seen })
    }
}

impl AeadKey for RecordingKey {
    fn seal_detached(&self, nonce: &Nonce, aad: &[u8], in_out: &mut [u8]) -> Result<Tag, CryptoError> {
        assert!(self.seen.lock().insert((self.key, *nonce)), "nonce {nonce:?} was used twice under one key");
        self.inner.seal_detached(nonce, aad, in_out)
    }

    fn open_detached(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        in_out: &mut [u8],
        tag: &Tag,
    ) -> Result<(), CryptoError> {
        self.inner.open_detached(nonce, aad, in_out, tag)
    }
}

/// What a cloned machine may have: a generator that gives the same bytes again and again.
#[derive(Debug)]
struct Stuck;

impl Entropy for Stuck {
    fn fill(&self, buf: &mut [u8]) -> Result<(), CryptoError> {
        buf.fill(0);
        Ok(())
    }
}

fn recording() -> (MemVfs, SealContext) {
    let vfs = MemVfs::new();
    let mut ctx = context_in(Arc::new(vfs.clone()), "/db", 1, true);
    ctx.suite = Arc::new(Recording { inner: Arc::clone(&ctx.suite), seen: Seen::default() });
    (vfs, ctx)
}

/// The same database opened once more: same keys, own context.
fn reopened(ctx: &SealContext, directory: &str) -> SealContext {
    SealContext {
        vfs: Arc::clone(&ctx.vfs),
        clock: Arc::clone(&ctx.clock),
        entropy: Arc::clone(&ctx.entropy),
        suite: Arc::clone(&ctx.suite),
        keyring: Arc::clone(&ctx.keyring),
        database: ctx.database,
        incarnation: ctx.incarnation.get().into(),
        directory: directory.into(),
        salts: SaltCount::default(),
    }
}

/// One step: begin number `id` again (an existing file is removed first), write some blocks, finish or drop.
fn write_some(
    ctx: &Arc<SealContext>,
    id: u64,
    blocks: u8,
    capacity: Option<u64>,
    vfs: &MemVfs,
    finish: bool,
) {
    let path = ctx.segment_path(SegmentKind::Run, SegmentId(id));
    if vfs.metadata(&path).is_ok() {
        vfs.remove_file(&path).expect("removed");
    }
    let mut writer = SegmentWriter::create(ctx, SegmentId(id), &options(SegmentKind::Run)).expect("created");
    let used: u64 = vfs.files().iter().map(|path| read_file(vfs, path).len() as u64).sum();
    vfs.set_capacity(capacity.map(|room| used + room));
    for block in 0..blocks {
        // Results do not matter: what is asserted is in the recording suite.
        let _ = writer.append(BlockKind::Leaf, &[block + 1; 40_000]);
        let _ = writer.flush();
    }
    vfs.set_capacity(None);
    if finish {
        let _ = writer.finish();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn no_schedule_repeats_a_nonce(steps in proptest::collection::vec(
        (0u64..3, 0u8..6, proptest::option::of(0u64..150_000), any::<bool>(), 0u8..6), 1..12,
    )) {
        let (vfs, ctx) = recording();
        let mut ctx = Arc::new(ctx);
        let mut copies = 0;
        for (id, blocks, capacity, finish, event) in steps {
            write_some(&ctx, id, blocks, capacity, &vfs, finish);
            match event {
                0 => ctx = Arc::new(reopened(&ctx, &ctx.directory.to_string_lossy())),
                1 => {
                    copies += 1;
                    let copy = PathBuf::from(format!("/copy{copies}"));
                    vfs.copy_tree(&ctx.directory, &copy).expect("copied");
                    ctx = Arc::new(reopened(&ctx, &copy.to_string_lossy()));
                }
                2 => vfs.kill_process(),
                _ => {}
            }
        }
    }
}

#[test]
fn a_stuck_generator_still_gives_different_salts() {
    let (vfs, mut ctx) = recording();
    ctx.entropy = Arc::new(Stuck);
    let copy = Arc::new(reopened(&ctx, "/copy"));
    let ctx = Arc::new(ctx);
    vfs.create_dir(&copy.directory).expect("created");
    for _ in 0..3 {
        write_some(&ctx, 1, 2, None, &vfs, true);
        write_some(&copy, 1, 2, None, &vfs, true);
        write_some(&ctx, 2, 2, None, &vfs, true);
    }
}
