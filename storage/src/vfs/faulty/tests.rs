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

#[test]
fn a_write_stops_after_any_of_its_bytes() {
    for bytes in 0..=6 {
        let (_, plan, vfs) = faulty();
        let file = create(&vfs, "a");
        let map = file.write_all_at(&[0; 4096], 0).and_then(|()| file.map_write(0, 4096)).unwrap();
        plan.add(
            Fault::new(Calls::Mutating, Effect::ShortWrite { bytes, error: ErrorKind::Other }).lasting(),
        );
        let seen = [file.write_all_at(b"123456", 0), map.write(8, b"123456"), map.publish_u32(16, 7)];
        assert_eq!(kinds(seen), [Some(ErrorKind::Other), Some(ErrorKind::Other), None]);
        let mut expected = [0; 24];
        expected[..bytes as usize].copy_from_slice(&b"123456"[..bytes as usize]);
        expected[8..8 + bytes as usize].copy_from_slice(&b"123456"[..bytes as usize]);
        expected[16] = 7;
        assert_eq!(read(file.as_ref(), 24).unwrap(), expected);
        assert_eq!((plan.strikes(), plan.first_strike().unwrap().len), (2, 6));

        let (memory, plan, vfs) = faulty();
        let file = create(&vfs, "a");
        plan.crash_at_byte(0, bytes);
        assert!(InjectedCrash::caused(&file.write_all_at(b"123456", 0).unwrap_err()));
        assert_eq!(memory.metadata(path("a")).unwrap().len, bytes);
    }
}

#[test]
fn writes_are_ignored_or_go_elsewhere_and_nobody_is_told() {
    let elsewhere = |effect, expected: [&[u8]; 2]| {
        let (_, plan, vfs) = faulty();
        let (one, two) = (create(&vfs, "1.run"), create(&vfs, "2.run"));
        create(&vfs, "3.wal");
        one.write_all_at(b"oneoneone", 0).unwrap();
        two.write_all_at(b"twotwo", 0).unwrap();
        plan.add(Fault::new(Calls::Only(CallKind::Write), effect));
        one.write_all_at(b"NEW", 3).unwrap();
        assert_eq!([read(one.as_ref(), 99).unwrap(), read(two.as_ref(), 99).unwrap()], expected);
        one.write_all_at(b"NEW", 3).unwrap();
        assert_eq!(&read(one.as_ref(), 6).unwrap()[3..], b"NEW", "once only");
    };
    elsewhere(Effect::IgnoreWrite, [b"oneoneone", b"twotwo"]);
    elsewhere(Effect::MisdirectWrite(Elsewhere::Offset(3)), [b"oneoneNEW", b"twotwo"]);
    elsewhere(Effect::MisdirectWrite(Elsewhere::Offset(5)), [b"oneoneonN", b"twotwo"]);
    elsewhere(Effect::MisdirectWrite(Elsewhere::File(5)), [b"oneoneone", b"twoNEW"]);

    let (_, plan, vfs) = faulty();
    let file = create(&vfs, "a");
    file.write_all_at(&[0; 8192], 0).unwrap();
    let map = file.map_write(4096, 4096).unwrap();
    plan.add(Fault::new(Calls::Mutating, Effect::MisdirectWrite(Elsewhere::Offset(8))).lasting());
    map.write(0, b"frame").unwrap();
    map.publish_u32(16, 0x0403_0201).unwrap();
    plan.clear();
    let mut seen = [0; 28];
    file.read_exact_at(&mut seen, 4096).unwrap();
    assert_eq!(&seen, b"\0\0\0\0\0\0\0\0frame\0\0\0\0\0\0\0\0\0\0\0\x01\x02\x03\x04");
}

#[test]
fn reads_return_what_is_elsewhere_or_what_was_there_before() {
    let (_, plan, vfs) = faulty();
    let (one, two) = (create(&vfs, "1.run"), create(&vfs, "2.run"));
    one.write_all_at(b"before", 0).unwrap();
    two.write_all_at(b"second", 0).unwrap();
    one.sync_data().unwrap();
    one.write_all_at(b"AFTER", 1).unwrap();
    let seen = |effect| {
        plan.add(Fault::new(Calls::Reads, effect));
        read(one.as_ref(), 6).unwrap()
    };
    assert_eq!(seen(Effect::StaleRead), b"before");
    assert_eq!(seen(Effect::MisdirectRead(Elsewhere::Offset(2))), b"FTER");
    assert_eq!(seen(Effect::MisdirectRead(Elsewhere::File(0))), b"second");
    one.sync_data().unwrap();
    assert_eq!(seen(Effect::StaleRead), b"before", "synced or not");
    plan.add(Fault::new(Calls::Reads, Effect::StaleRead));
    assert_eq!(one.map_read(6).unwrap().bytes(), b"before");

    let next = create(&vfs, "next");
    next.write_all_at(b"new", 0).unwrap();
    next.sync_data().unwrap();
    vfs.rename(path("next"), path("1.run")).unwrap();
    plan.add(Fault::new(Calls::Reads, Effect::StaleRead).lasting());
    assert_eq!(read(next.as_ref(), 6).unwrap(), b"", "before it was written it was empty");
}

#[test]
fn a_failed_sync_can_drop_the_pages_too() {
    let (memory, plan, vfs) = faulty();
    let file = create(&vfs, "a");
    file.write_all_at(b"old", 0).unwrap();
    file.sync_data().and_then(|()| vfs.sync_dir(path("/"))).unwrap();
    file.write_all_at(b"new and longer", 0).unwrap();
    plan.add(Fault::new(Calls::Syncs, Effect::DropWrites(ErrorKind::Other)));
    assert_eq!(kinds([file.sync_data(), file.sync_data()]), [Some(ErrorKind::Other), None]);
    assert_eq!(read(file.as_ref(), 9).unwrap(), b"old");
    memory.crash(&mut || 0, Keep::Everything);
    assert_eq!(memory.metadata(path("a")).unwrap().len, 3);
}
