//! Power cuts and killed processes, told as stories.

use std::collections::BTreeSet;

use super::*;

/// A source of random numbers that a seed reproduces (SplitMix64).
fn source(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

fn cut(vfs: &MemVfs, keep: Keep) {
    vfs.crash(&mut source(1), keep);
}

fn path(name: &str) -> &Path {
    Path::new(name)
}

fn create(vfs: &MemVfs, name: &str, bytes: &[u8]) -> Arc<dyn VfsFile> {
    let file = vfs.open(path(name), OpenHow::CreateNew).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file
}

/// A file that survives a power cut, name and content.
fn create_durable(vfs: &MemVfs, name: &str, bytes: &[u8]) -> Arc<dyn VfsFile> {
    let file = create(vfs, name, bytes);
    file.sync_data().unwrap();
    vfs.sync_dir(path(name).parent().unwrap()).unwrap();
    file
}

fn content(vfs: &MemVfs, name: &str) -> Option<Vec<u8>> {
    let file = vfs.open(path(name), OpenHow::Read).ok()?;
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    Some(bytes)
}

/// What `look` sees after `act`, for many random power cuts.
fn outcomes<T: Ord>(act: impl Fn(&MemVfs), look: impl Fn(&MemVfs) -> T) -> BTreeSet<T> {
    let after = |seed| {
        let vfs = MemVfs::new();
        act(&vfs);
        vfs.crash(&mut source(seed), Keep::Random);
        look(&vfs)
    };
    (0..400).map(after).collect()
}

#[test]
fn a_power_cut_takes_what_was_not_synced() {
    for (keep, expected) in [(Keep::Nothing, &b"old"[..]), (Keep::Everything, b"new longer")] {
        let vfs = MemVfs::new();
        let file = create_durable(&vfs, "a", b"old");
        file.write_all_at(b"new longer", 0).unwrap();
        cut(&vfs, keep);
        assert_eq!(content(&vfs, "a").unwrap(), expected);
    }
}

#[test]
fn syncing_a_file_does_not_make_its_name_durable() {
    let vfs = MemVfs::new();
    let file = create(&vfs, "a", b"content");
    file.sync_all().unwrap();
    cut(&vfs, Keep::Nothing);
    assert_eq!(content(&vfs, "a"), None);

    let named = MemVfs::new();
    create(&named, "a", b"content");
    named.sync_dir(path("")).unwrap();
    cut(&named, Keep::Nothing);
    assert_eq!(content(&named, "a").unwrap(), b"", "the name is durable, the content is not");
}

#[test]
fn a_directory_is_durable_only_with_its_own_name() {
    let vfs = MemVfs::new();
    vfs.create_dir(path("dir")).unwrap();
    create_durable(&vfs, "dir/a", b"content");
    cut(&vfs, Keep::Nothing);
    assert_eq!(vfs.files(), Vec::<PathBuf>::new());
    assert_eq!(vfs.metadata(path("dir")).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_removal_that_was_not_synced_may_be_undone() {
    let seen = outcomes(
        |vfs| {
            create_durable(vfs, "a", b"content");
            vfs.remove_file(path("a")).unwrap();
        },
        |vfs| content(vfs, "a"),
    );
    assert_eq!(seen, BTreeSet::from([None, Some(b"content".to_vec())]));
}

#[test]
fn replacing_by_rename_leaves_the_old_or_the_new() {
    let seen = outcomes(
        |vfs| {
            create_durable(vfs, "current", b"old");
            create(vfs, "next", b"new").sync_data().unwrap();
            vfs.rename(path("next"), path("current")).unwrap();
        },
        |vfs| content(vfs, "current").unwrap(),
    );
    assert_eq!(seen, BTreeSet::from([b"old".to_vec(), b"new".to_vec()]));
}

#[test]
fn replacing_without_syncing_first_may_leave_neither() {
    let seen = outcomes(
        |vfs| {
            create_durable(vfs, "current", b"old");
            create(vfs, "next", b"new");
            vfs.rename(path("next"), path("current")).unwrap();
            vfs.sync_dir(path("")).unwrap();
        },
        |vfs| content(vfs, "current").unwrap(),
    );
    assert!(seen.contains(&b""[..]) && seen.contains(&b"new"[..]) && !seen.contains(&b"old"[..]));
}

#[test]
fn a_rename_between_directories_is_atomic() {
    let seen = outcomes(
        |vfs| {
            vfs.create_dir(path("from")).unwrap();
            vfs.create_dir(path("to")).unwrap();
            vfs.sync_dir(path("/")).unwrap();
            create_durable(vfs, "from/a", b"content");
            vfs.rename(path("from/a"), path("to/a")).unwrap();
        },
        MemVfs::files,
    );
    assert_eq!(seen, BTreeSet::from([vec![PathBuf::from("/from/a")], vec![PathBuf::from("/to/a")]]));
}

#[test]
fn syncing_either_directory_makes_a_rename_durable_and_what_led_to_it() {
    for synced in ["from", "to"] {
        let seen = outcomes(
            |vfs| {
                vfs.create_dir(path("from")).unwrap();
                vfs.create_dir(path("to")).unwrap();
                vfs.sync_dir(path("/")).unwrap();
                create(vfs, "from/a", b"content").sync_data().unwrap();
                vfs.rename(path("from/a"), path("to/a")).unwrap();
                vfs.sync_dir(path(synced)).unwrap();
            },
            MemVfs::files,
        );
        assert_eq!(seen, BTreeSet::from([vec![PathBuf::from("/to/a")]]), "after syncing {synced}");
    }
}

#[test]
fn a_file_renamed_twice_has_one_name() {
    let seen = outcomes(
        |vfs| {
            create_durable(vfs, "a", b"content");
            vfs.rename(path("a"), path("b")).unwrap();
            vfs.rename(path("b"), path("c")).unwrap();
        },
        MemVfs::files,
    );
    assert_eq!(seen, ["/a", "/b", "/c"].map(|name| vec![PathBuf::from(name)]).into());
}

#[test]
fn one_name_goes_through_its_history_in_order() {
    let seen = outcomes(
        |vfs| {
            create_durable(vfs, "a", b"1");
            vfs.remove_file(path("a")).unwrap();
            create(vfs, "a", b"2").sync_data().unwrap();
            vfs.remove_file(path("a")).unwrap();
        },
        |vfs| content(vfs, "a"),
    );
    assert_eq!(seen, BTreeSet::from([None, Some(b"1".to_vec()), Some(b"2".to_vec())]));
}

#[test]
fn different_names_are_lost_independently() {
    let seen = outcomes(
        |vfs| {
            create(vfs, "a", b"");
            create(vfs, "b", b"");
        },
        |vfs| vfs.files().len() * 10 + usize::from(content(vfs, "b").is_some()),
    );
    assert_eq!(seen, BTreeSet::from([0, 10, 11, 21]));
}

#[test]
fn sectors_are_lost_in_any_order_and_torn_anywhere() {
    let seen = outcomes(
        |vfs| {
            let file = create_durable(vfs, "a", &[0; 1024]);
            file.write_all_at(&[1; 512], 0).unwrap();
            file.write_all_at(&[2; 512], 512).unwrap();
        },
        |vfs| {
            let bytes = content(vfs, "a").unwrap();
            let written = |part: &[u8], with| part.iter().filter(|byte| **byte == with).count();
            (written(&bytes[..512], 1), written(&bytes[512..], 2))
        },
    );
    for whole in [(0, 0), (0, 512), (512, 0), (512, 512)] {
        assert!(seen.contains(&whole), "never left {whole:?}");
    }
    let torn = seen.iter().filter(|(first, _)| !first.is_multiple_of(512)).count();
    assert!(torn > 10, "tore the first sector in {torn} ways");
}

#[test]
fn a_power_cut_does_not_touch_synced_sectors() {
    let seen = outcomes(
        |vfs| {
            let file = create_durable(vfs, "a", &[7; 700]);
            file.write_all_at(&[8; 5000], 700).unwrap();
        },
        |vfs| content(vfs, "a").unwrap()[..700].to_vec(),
    );
    assert_eq!(seen, BTreeSet::from([vec![7; 700]]));
}

#[test]
fn an_unsynced_length_comes_back_between_old_and_new() {
    let seen = outcomes(
        |vfs| {
            let file = create_durable(vfs, "a", b"12");
            file.set_len(4).unwrap();
            file.write_all_at(b"5", 4).unwrap();
            file.set_len(1).unwrap();
        },
        |vfs| content(vfs, "a").unwrap().len(),
    );
    assert_eq!(seen, BTreeSet::from([1, 2, 4, 5]));
}

#[test]
fn one_seed_makes_one_crash() {
    let run = |seed| {
        let vfs = MemVfs::new();
        for name in ["a", "b", "c"] {
            create(&vfs, name, &[3; 9000]).sync_data().unwrap();
        }
        create_durable(&vfs, "d", &[4; 9000]).write_all_at(&[5; 9000], 100).unwrap();
        vfs.remove_file(path("b")).unwrap();
        vfs.crash(&mut source(seed), Keep::Random);
        (vfs.files(), content(&vfs, "d"))
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}

#[test]
fn a_killed_process_loses_nothing_it_wrote() {
    let vfs = MemVfs::new();
    let file = create(&vfs, "log", &[0; 4096]);
    let map = file.map_write(0, 4096).unwrap();
    map.write(8, b"frame").unwrap();
    map.publish_u32(0, 0x0403_0201).unwrap();
    let (boot, process) = (vfs.boot_id(Path::new("/")), vfs.process_id());

    vfs.kill_process();
    let left = content(&vfs, "log").unwrap();
    assert_eq!((&left[..4], &left[8..13]), (&[1, 2, 3, 4][..], &b"frame"[..]));
    assert_eq!(vfs.boot_id(Path::new("/")), boot);
    assert_ne!(vfs.process_id(), process);

    cut(&vfs, Keep::Nothing);
    assert_eq!(content(&vfs, "log"), None, "a power cut after it does");
    assert_ne!(vfs.boot_id(Path::new("/")), boot);
}

#[test]
fn handles_of_a_dead_process_are_dead() {
    let vfs = MemVfs::new();
    let file = create_durable(&vfs, "a", &[0; 4096]);
    let map = file.map_write(0, 4096).unwrap();
    let old_lock = vfs.lock(path("lock")).unwrap();
    cut(&vfs, Keep::Everything);

    let stale = ErrorKind::StaleNetworkFileHandle;
    assert_eq!(file.read_at(&mut [0], 0).unwrap_err().kind(), stale);
    assert_eq!(file.sync_data().unwrap_err().kind(), stale);
    assert_eq!(map.write(0, b"x").unwrap_err().kind(), stale);

    let _lock = vfs.lock(path("lock")).unwrap();
    drop(old_lock);
    assert_eq!(vfs.lock(path("lock")).unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn writes_that_a_failed_sync_lost_stay_lost() {
    let vfs = MemVfs::new();
    create_durable(&vfs, "a", b"old");
    let file = vfs.open_file(path("a"), OpenHow::ReadWrite).unwrap();
    file.write_all_at(b"new", 0).unwrap();
    file.lose_writes().unwrap();
    assert_eq!(content(&vfs, "a").unwrap(), b"new", "the page cache still has it");
    file.sync_data().unwrap();
    cut(&vfs, Keep::Everything);
    assert_eq!(content(&vfs, "a").unwrap(), b"old");
}

#[test]
fn a_full_disk_refuses_growth_until_something_is_removed() {
    let vfs = MemVfs::new();
    vfs.set_capacity(Some(10));
    let kept = create(&vfs, "a", b"123456");
    let file = create(&vfs, "b", b"1234");
    let full = |result: io::Result<()>| assert_eq!(result.unwrap_err().kind(), ErrorKind::StorageFull);
    full(file.write_all_at(b"x", 4));
    full(file.set_len(5));
    file.write_all_at(b"4321", 0).unwrap();
    assert_eq!(vfs.available_space(path("/")).unwrap(), Some(0));

    vfs.remove_file(path("a")).unwrap();
    full(file.write_all_at(b"x", 4));
    drop(kept);
    file.write_all_at(b"x", 4).unwrap();
    assert_eq!(vfs.available_space(path("/")).unwrap(), Some(5));
}

#[test]
fn maps_can_be_refused() {
    let vfs = MemVfs::new();
    let file = create(&vfs, "a", &[0; 4096]);
    vfs.refuse_maps(true);
    assert_eq!(file.map_write(0, 4096).unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(file.map_read(4096).unwrap_err().kind(), ErrorKind::Unsupported);
    vfs.refuse_maps(false);
    file.map_write(0, 4096).unwrap();
}

#[test]
fn a_corrupted_byte_is_wrong_now_and_after_a_crash() {
    let vfs = MemVfs::new();
    let file = create_durable(&vfs, "a", b"abc");
    file.write_all_at(b"B", 1).unwrap();
    vfs.corrupt(path("a"), 1, 1).unwrap();
    vfs.corrupt(path("a"), 2, 2).unwrap();
    assert_eq!(content(&vfs, "a").unwrap(), b"aCa");
    file.sync_data().unwrap();
    cut(&vfs, Keep::Nothing);
    assert_eq!(content(&vfs, "a").unwrap(), b"aCa");
    assert_eq!(vfs.corrupt(path("a"), 3, 1).unwrap_err().kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn a_copied_tree_is_whole_durable_and_separate() {
    let vfs = MemVfs::new();
    vfs.create_dir(path("db")).unwrap();
    vfs.create_dir(path("db/sub")).unwrap();
    create(&vfs, "db/a", b"one");
    create(&vfs, "db/sub/b", b"two");
    vfs.copy_tree(path("db"), path("copy")).unwrap();
    vfs.open(path("db/a"), OpenHow::ReadWrite).unwrap().write_all_at(b"X", 0).unwrap();
    cut(&vfs, Keep::Nothing);
    assert_eq!(content(&vfs, "copy/a").unwrap(), b"one");
    assert_eq!(content(&vfs, "copy/sub/b").unwrap(), b"two");
}

#[test]
fn a_forked_disk_goes_its_own_way_with_what_was_not_synced() {
    let vfs = MemVfs::new();
    let file = create_durable(&vfs, "a", b"old");
    file.write_all_at(b"new", 0).unwrap();
    let lock = vfs.lock(path("lock")).unwrap();
    let (lost, kept) = (vfs.fork(), vfs.fork());
    let _of_its_own = kept.lock(path("lock")).unwrap();
    cut(&lost, Keep::Nothing);
    assert_eq!((content(&lost, "a"), content(&kept, "a")), (Some(b"old".into()), Some(b"new".into())));
    kept.corrupt(path("a"), 0, 1).unwrap();
    file.write_all_at(b"N", 0).unwrap();
    assert_eq!((content(&vfs, "a"), content(&kept, "a")), (Some(b"New".into()), Some(b"oew".into())));
    drop(lock);
}

#[test]
fn calls_and_bytes_are_counted() {
    let vfs = MemVfs::new();
    create_durable(&vfs, "a", b"12345");
    content(&vfs, "a");
    let counts = vfs.op_counts();
    let expected = [
        (CallKind::Create, 1),
        (CallKind::Open, 1),
        (CallKind::Write, 1),
        (CallKind::SyncData, 1),
        (CallKind::SyncDir, 1),
        (CallKind::Rename, 0),
    ];
    for (kind, count) in expected {
        assert_eq!(counts.of(kind), count, "{kind:?}");
    }
    assert_eq!((counts.bytes_written, counts.bytes_read, counts.file_syncs()), (5, 5, 1));
}

#[test]
fn forgotten_files_are_freed() {
    let vfs = MemVfs::new();
    for round in 0..50 {
        create(&vfs, "next", &[round; 100]).sync_data().unwrap();
        vfs.rename(path("next"), path("current")).unwrap();
        vfs.sync_dir(path("/")).unwrap();
    }
    assert_eq!(vfs.state.lock().tree.file_count(), 1);
}

#[test]
fn a_renamed_file_remembers_the_one_it_replaced() {
    let vfs = MemVfs::new();
    create_durable(&vfs, "current", b"old");
    create_durable(&vfs, "next", b"new");
    cut(&vfs, Keep::Nothing);
    vfs.rename(path("next"), path("current")).unwrap();
    let file = vfs.open_file(path("current"), OpenHow::Read).unwrap();
    let mut seen = [0; 3];
    file.read_stale(&mut seen, 0).unwrap();
    assert_eq!(&seen, b"old");
}
