use std::io::ErrorKind;

use super::*;
use crate::vfs::Keep;

fn faulty() -> (MemVfs, FaultPlan, FaultyVfs) {
    let (memory, plan) = (MemVfs::new(), FaultPlan::new());
    let faulty = FaultyVfs::over_memory(memory.clone(), plan.clone());
    (memory, plan, faulty)
}

fn path(name: &str) -> &Path {
    Path::new(name)
}

fn create(vfs: &FaultyVfs, name: &str) -> Arc<dyn VfsFile> {
    vfs.open(path(name), OpenHow::CreateNew).unwrap()
}

fn kinds<const N: usize>(results: [io::Result<()>; N]) -> [Option<ErrorKind>; N] {
    results.map(|result| result.err().map(|error| error.kind()))
}

fn read(file: &dyn VfsFile, len: usize) -> io::Result<Vec<u8>> {
    let mut buf = vec![0; len];
    let count = file.read_at(&mut buf, 0)?;
    buf.truncate(count);
    Ok(buf)
}

#[test]
fn a_fault_strikes_once_after_its_turn() {
    let (_, plan, vfs) = faulty();
    let file = create(&vfs, "a");
    plan.add(Fault::new(Calls::Syncs, Effect::Fail(ErrorKind::TimedOut)).after(1));
    let seen = [file.sync_data(), file.write_all_at(b"x", 0), vfs.sync_dir(path("/")), file.sync_all()];
    assert_eq!(kinds(seen), [None, None, Some(ErrorKind::TimedOut), None]);
}

#[test]
fn a_lasting_fault_strikes_until_it_is_cleared() {
    let (memory, plan, vfs) = faulty();
    let file = create(&vfs, "a");
    plan.add(Fault::new(Calls::Mutating, Effect::Fail(ErrorKind::StorageFull)).lasting());
    let full = Some(ErrorKind::StorageFull);
    let seen =
        [file.write_all_at(b"x", 0), vfs.create_dir(path("d")), file.sync_data(), vfs.remove_file(path("a"))];
    assert_eq!(kinds(seen), [full; 4]);
    assert_eq!(read(file.as_ref(), 1).unwrap(), b"", "reads go on, and nothing was written");
    plan.clear();
    file.write_all_at(b"x", 0).unwrap();
    assert_eq!(
        memory.op_counts().of(CallKind::Write),
        1,
        "calls that failed never reached the file system below"
    );
}

#[test]
fn a_fault_may_be_meant_for_one_file() {
    let (_, plan, vfs) = faulty();
    let (log, run) = (create(&vfs, "1.wal"), create(&vfs, "1.run"));
    plan.add(Fault::new(Calls::Only(CallKind::Write), Effect::Fail(ErrorKind::Other)).on(".run").lasting());
    assert_eq!(kinds([log.write_all_at(b"x", 0), run.write_all_at(b"x", 0)]), [None, Some(ErrorKind::Other)]);

    plan.add(Fault::new(Calls::Mutating, Effect::Fail(ErrorKind::Other)).on("CURRENT"));
    let seen = [vfs.rename(path("1.wal"), path("2.wal")), vfs.rename(path("2.wal"), path("CURRENT"))];
    assert_eq!(kinds(seen), [None, Some(ErrorKind::Other)]);
}

#[test]
fn reads_come_back_short_flipped_or_not_at_all() {
    let (_, plan, vfs) = faulty();
    let file = create(&vfs, "a");
    file.write_all_at(b"12345678", 0).unwrap();
    plan.add(Fault::new(Calls::Reads, Effect::ShortRead));
    plan.add(Fault::new(Calls::Reads, Effect::FlipBit(9)));
    plan.add(Fault::new(Calls::Reads, Effect::Fail(ErrorKind::TimedOut)));
    assert_eq!(read(file.as_ref(), 8).unwrap(), b"1234");
    assert_eq!(read(file.as_ref(), 8).unwrap(), b"10345678");
    assert_eq!(read(file.as_ref(), 8).unwrap_err().kind(), ErrorKind::TimedOut);

    plan.add(Fault::new(Calls::Reads, Effect::FlipBit(64)));
    assert_eq!(file.map_read(8).unwrap().bytes(), b"02345678");
    plan.add(Fault::new(Calls::Reads, Effect::ShortRead).lasting());
    let mut all = [0; 8];
    file.read_exact_at(&mut all, 0).unwrap();
    assert_eq!(&all, b"12345678", "short reads are made up for");
}

#[test]
fn a_torn_write_leaves_its_first_half_and_a_torn_word_nothing() {
    let (_, plan, vfs) = faulty();
    let file = create(&vfs, "a");
    file.write_all_at(&[0; 4096], 0).unwrap();
    let map = file.map_write(0, 4096).unwrap();
    plan.add(Fault::new(Calls::Mutating, Effect::TearWrite(ErrorKind::StorageFull)).lasting());
    let full = Some(ErrorKind::StorageFull);
    let seen = [file.write_all_at(b"123456", 0), map.write(8, b"abcdef"), map.publish_u32(16, 1)];
    assert_eq!(kinds(seen), [full, full, None]);
    assert_eq!(kinds([file.write_all_at(b"word", 20)]), [full]);
    assert_eq!(read(file.as_ref(), 24).unwrap(), b"123\0\0\0\0\0abc\0\0\0\0\0\x01\0\0\0\0\0\0\0");
}

#[test]
fn a_failed_sync_loses_the_writes_for_good() {
    let (memory, plan, vfs) = faulty();
    let file = create(&vfs, "a");
    vfs.sync_dir(path("/")).unwrap();
    file.write_all_at(b"x", 0).unwrap();
    plan.add(Fault::new(Calls::Syncs, Effect::LoseWrites(ErrorKind::Other)));
    assert_eq!(kinds([file.sync_data(), file.sync_data()]), [Some(ErrorKind::Other), None]);
    assert_eq!(read(file.as_ref(), 1).unwrap(), b"x");
    memory.crash(&mut || 0, Keep::Everything);
    assert_eq!(memory.metadata(path("a")).unwrap().len, 0);
}

#[test]
fn maps_are_refused_on_request() {
    let (_, plan, vfs) = faulty();
    let file = create(&vfs, "a");
    file.write_all_at(&[0; 4096], 0).unwrap();
    plan.add(Fault::new(Calls::Only(CallKind::MapWrite), Effect::Fail(ErrorKind::Unsupported)));
    assert_eq!(file.map_write(0, 4096).unwrap_err().kind(), ErrorKind::Unsupported);
    file.map_write(0, 4096).unwrap();
}

#[test]
fn after_the_planned_crash_nothing_works() {
    let (memory, plan, vfs) = faulty();
    plan.crash_at(2);
    let file = create(&vfs, "a");
    file.write_all_at(b"whole", 0).unwrap();
    assert!(!plan.crashed());
    let later = [
        file.write_all_at(b"torn it is", 5),
        file.sync_data(),
        vfs.sync_dir(path("/")),
        vfs.metadata(path("a")).map(|_| ()),
        read(file.as_ref(), 1).map(|_| ()),
        vfs.lock(path("lock")).map(|_| ()),
    ];
    assert!(later.into_iter().all(|result| InjectedCrash::caused(&result.unwrap_err())));
    assert!(plan.crashed());

    memory.kill_process();
    plan.clear();
    let left = vfs.open(path("a"), OpenHow::Read).unwrap();
    assert_eq!(read(left.as_ref(), 20).unwrap(), b"wholetorn ");
}

#[test]
fn the_crash_points_are_the_mutating_calls() {
    let work = |vfs: &FaultyVfs| -> io::Result<()> {
        let file = vfs.open(path("next"), OpenHow::CreateNew)?;
        file.write_all_at(b"x", 0)?;
        file.sync_data()?;
        read(file.as_ref(), 1)?;
        vfs.rename(path("next"), path("current"))?;
        vfs.sync_dir(path("/"))
    };
    let (_, plan, vfs) = faulty();
    work(&vfs).unwrap();
    assert_eq!(plan.mutating_calls(), 5);
    for at in 0..=5 {
        let (_, plan, vfs) = faulty();
        plan.crash_at(at);
        assert_eq!(work(&vfs).is_err(), at < 5, "crash at {at}");
    }
}

#[test]
fn calls_are_recorded_in_order_when_asked() {
    let (_, plan, vfs) = faulty();
    let file = create(&vfs, "a");
    plan.record();
    file.write_all_at(b"abc", 7).unwrap();
    vfs.rename(path("a"), path("b")).unwrap();
    let call = |kind, to: Option<&str>, offset, len| Call {
        kind,
        path: PathBuf::from("a"),
        to: to.map(PathBuf::from),
        offset,
        len,
    };
    assert_eq!(
        plan.take_trace(),
        [call(CallKind::Write, None, 7, 3), call(CallKind::Rename, Some("b"), 0, 0)]
    );
    assert_eq!(plan.take_trace(), []);
    assert_eq!(plan.counts().of(CallKind::Write), 1);
    assert_eq!(plan.counts().bytes_written, 3);
}

#[test]
fn the_system_s_files_can_fail_too() {
    let (dir, plan) = (tempfile::tempdir().unwrap(), FaultPlan::new());
    let vfs = FaultyVfs::new(Arc::new(crate::vfs::OsVfs::new()), plan.clone());
    let file = vfs.open(&dir.path().join("a"), OpenHow::CreateNew).unwrap();
    plan.add(Fault::new(Calls::Syncs, Effect::LoseWrites(ErrorKind::Other)));
    assert_eq!(kinds([file.sync_data(), file.sync_data()]), [Some(ErrorKind::Other), None]);
}
