//! When writing fails half-way: an error that says why, nothing left behind, nothing sealed twice.

use std::io::ErrorKind;

use crate::vfs::{Calls, Effect, Fault, FaultPlan, FaultyVfs};

use super::*;

const CANARY: &[u8] = b"a canary that must never be seen";

fn write_all(ctx: &Arc<SealContext>) -> crate::Result<Vec<SegmentInfo>> {
    let writer = options(SegmentKind::Run);
    let mut writer = SegmentSetWriter::new(
        ctx,
        SegmentSetOptions { writer, segment_size: 600_000, trainer: None },
        ids_from(1),
    );
    for seed in 0..20 {
        writer.append(BlockKind::Leaf, &[CANARY, &vec![seed; 100_000]].concat())?;
    }
    writer.finish()
}

#[test]
fn a_full_disk_is_named_and_leaves_nothing() {
    let (vfs, ctx) = context();
    for capacity in [0, 100, 128, 200_000, 700_000, 1_500_000] {
        vfs.set_capacity(Some(capacity));
        let failed = write_all(&ctx).expect_err("no room");
        assert!(matches!(failed, StorageError::DiskFull { .. }), "{capacity}: {failed}");
        assert_eq!(vfs.files(), Vec::<PathBuf>::new(), "{capacity}");
    }
    vfs.set_capacity(None);
    assert_eq!(write_all(&ctx).expect("room").len(), 4);
}

#[test]
fn a_failure_of_any_call_is_reported_and_leaves_nothing() {
    for kinds in [Calls::Mutating, Calls::Syncs] {
        for nth in 0.. {
            let (vfs, plan) = (MemVfs::new(), FaultPlan::new());
            let faulty = FaultyVfs::new(Arc::new(vfs.clone()), plan.clone());
            let ctx = Arc::new(context_in(Arc::new(faulty), "/db", 1, true));
            plan.add(Fault::new(kinds, Effect::Fail(ErrorKind::Other)).after(nth));
            let Err(error) = write_all(&ctx) else {
                assert!(nth > 3, "every call was made to fail once");
                break;
            };
            assert!(matches!(error, StorageError::Io { .. }), "{error}");
            assert_eq!(vfs.files(), Vec::<PathBuf>::new(), "call {nth}");
        }
    }
}

#[test]
fn after_a_failed_write_nothing_more_is_sealed() {
    let (vfs, ctx) = context();
    let mut writer = SegmentWriter::create(&ctx, SegmentId(1), &options(SegmentKind::Run)).expect("created");
    vfs.set_capacity(Some(1000));
    let big = vec![1; 300_000];
    assert!(matches!(writer.append(BlockKind::Leaf, &big), Err(StorageError::DiskFull { .. })));
    vfs.set_capacity(None);
    assert!(matches!(writer.append(BlockKind::Leaf, b"x"), Err(StorageError::Poisoned { .. })));
    assert!(matches!(writer.flush(), Err(StorageError::Poisoned { .. })));
    assert!(matches!(writer.finish(), Err(StorageError::Poisoned { .. })));
    assert_eq!(vfs.files(), Vec::<PathBuf>::new());
}

#[test]
fn a_series_with_a_gap_cannot_be_finished() {
    let (vfs, ctx) = context();
    let set = SegmentSetOptions { writer: options(SegmentKind::Run), segment_size: 1000, trainer: None };
    let mut writer = SegmentSetWriter::new(&ctx, set, ids_from(1));
    for _ in 0..3 {
        writer.append(BlockKind::Leaf, &[1; 2000]).expect("appended");
    }
    vfs.set_capacity(Some(0));
    assert!(writer.append(BlockKind::Leaf, &[1; 2000]).is_err());
    vfs.set_capacity(None);
    assert!(matches!(writer.append(BlockKind::Leaf, b"x"), Err(StorageError::Poisoned { .. })));
    assert!(matches!(writer.finish(), Err(StorageError::Poisoned { .. })));
    assert_eq!(vfs.files(), Vec::<PathBuf>::new());
}

#[test]
fn writers_that_are_given_up_leave_nothing() {
    let (vfs, ctx) = context();
    let begun = || {
        let mut writer =
            SegmentWriter::create(&ctx, SegmentId(1), &options(SegmentKind::Run)).expect("created");
        writer.append(BlockKind::Leaf, &rows(1)).expect("appended");
        writer
    };
    drop(begun());
    assert_eq!(vfs.files(), Vec::<PathBuf>::new());
    begun().abandon().expect("removed");
    assert_eq!(vfs.files(), Vec::<PathBuf>::new());
    let set = SegmentSetOptions { writer: options(SegmentKind::Run), segment_size: 1000, trainer: None };
    let mut writer = SegmentSetWriter::new(&ctx, set, ids_from(1));
    for seed in 0..5 {
        writer.append(BlockKind::Leaf, &rows(seed)).expect("appended");
    }
    assert_eq!(vfs.files().len(), 5);
    assert_eq!(writer.finished().len(), 4);
    drop(writer);
    assert_eq!(vfs.files(), Vec::<PathBuf>::new());
}

#[test]
fn a_file_that_is_there_is_neither_overwritten_nor_removed() {
    let (vfs, ctx) = context();
    let path = ctx.segment_path(SegmentKind::Run, SegmentId(1));
    replace_file(&vfs, &path, b"somebody else's");
    let refused = SegmentWriter::create(&ctx, SegmentId(1), &options(SegmentKind::Run));
    assert!(matches!(refused, Err(StorageError::AlreadyExists { path: named }) if named == path));
    assert_eq!(read_file(&vfs, &path), b"somebody else's");
}

#[test]
fn blocks_without_bytes_or_with_too_many_are_refused_and_harm_nothing() {
    let (_, ctx) = context();
    let mut writer = SegmentWriter::create(&ctx, SegmentId(1), &options(SegmentKind::Run)).expect("created");
    assert!(matches!(writer.append(BlockKind::Leaf, b""), Err(StorageError::Io { .. })));
    let huge = vec![0; crate::pointer::MAX_BLOCK_LEN as usize + 1];
    assert!(matches!(writer.append(BlockKind::Leaf, &huge), Err(StorageError::Io { .. })));
    writer.append(BlockKind::Leaf, b"x").expect("appended");
    assert_eq!(writer.finish().expect("finished").blocks, 1);
}

#[test]
fn no_plaintext_is_in_any_file_at_any_moment() {
    for crash in 0.. {
        let (vfs, plan) = (MemVfs::new(), FaultPlan::new());
        let faulty = FaultyVfs::new(Arc::new(vfs.clone()), plan.clone());
        let ctx = Arc::new(context_in(Arc::new(faulty), "/db", 1, true));
        plan.crash_at(plan.mutating_calls() + crash);
        let finished = write_all(&ctx).is_ok();
        for path in vfs.files() {
            let bytes = read_file(&vfs, &path);
            assert!(!bytes.windows(CANARY.len()).any(|window| window == CANARY), "crash at call {crash}");
        }
        if finished {
            assert!(crash > 5);
            break;
        }
    }
}

#[test]
fn a_finished_segment_is_synced() {
    let (vfs, ctx) = context();
    let (info, ptrs) = written(&ctx, 1, &options(SegmentKind::Run), &[rows(1)]);
    vfs.sync_dir(&ctx.directory).expect("synced");
    vfs.sync_dir(Path::new("/")).expect("synced");
    vfs.crash(&mut || 0, crate::vfs::Keep::Nothing);
    let reader = SegmentReader::open(&ctx, &info, READ).expect("opens");
    assert_eq!(*reader.read(BlockKind::Leaf, &ptrs[0]).expect("reads"), rows(1));
    reader.verify(&info).expect("whole");
}
