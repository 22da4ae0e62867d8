//! What only the operating system's files do.

use std::io::{BufRead, BufReader, ErrorKind};
use std::process::{Command, Stdio};

use super::*;

const LOCK_PATH: &str = "LIGHTNING_DB_TEST_LOCK_PATH";

/// Runs [`child_holding_a_lock`] in a process of its own, until it says how it went.
fn spawn_locker(path: &Path) -> (std::process::Child, String) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", "vfs::os::tests::child_holding_a_lock"])
        .env(LOCK_PATH, path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let said =
        lines.map(Result::unwrap).find_map(|line| line.split_once("lock: ").map(|(_, said)| said.to_owned()));
    (child, said.unwrap())
}

#[test]
#[ignore = "the other process in the tests of locks"]
fn child_holding_a_lock() {
    let path = std::env::var_os(LOCK_PATH).expect("run by another test");
    let lock = OsVfs::new().lock(Path::new(&path));
    println!("\nlock: {:?}", lock.as_ref().map(|_| "taken").map_err(io::Error::kind));
    // Until the parent kills this process, or dies.
    io::stdin().lines().for_each(drop);
}

#[test]
fn a_lock_excludes_another_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lock");
    let lock = OsVfs::new().lock(&path).unwrap();
    let (mut refused, said) = spawn_locker(&path);
    assert_eq!(said, "Err(WouldBlock)");
    drop(lock);
    let (mut holder, said) = spawn_locker(&path);
    assert_eq!(said, "Ok(\"taken\")");
    assert_eq!(OsVfs::new().lock(&path).unwrap_err().kind(), ErrorKind::WouldBlock);

    holder.kill().unwrap();
    holder.wait().unwrap();
    OsVfs::new().lock(&path).expect("the lock died with its process");
    refused.kill().unwrap();
    refused.wait().unwrap();
}

#[test]
fn a_map_outlives_its_handle_and_is_synced_through_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let file = OsVfs::new().open(&path, OpenHow::CreateNew).unwrap();
    file.write_all_at(&[0; 4096], 0).unwrap();
    let map = file.map_write(0, 4096).unwrap();
    let again = OsVfs::new().open(&path, OpenHow::Read).unwrap();
    drop(file);
    map.write(0, b"late").unwrap();
    again.sync_data().unwrap();
    assert_eq!(&fs::read(&path).unwrap()[..4], b"late");
    assert_eq!(&again.map_read(4).unwrap().bytes(), b"late");
}

#[test]
fn space_comes_from_the_system() {
    let dir = tempfile::tempdir().unwrap();
    if cfg!(unix) {
        assert!(OsVfs::new().available_space(dir.path()).unwrap().unwrap() > 0);
    }
}

#[test]
fn a_boot_id_is_that_of_a_mount() {
    let dir = tempfile::tempdir().unwrap();
    let below = dir.path().join("below");
    fs::create_dir(&below).unwrap();
    let (vfs, other) = (OsVfs::new(), Path::new("/proc"));
    assert_eq!(vfs.boot_id(&below), vfs.boot_id(dir.path()));
    if super::mount_id(other).is_some() {
        assert_ne!(vfs.boot_id(other), vfs.boot_id(dir.path()), "another file system");
    }
}

#[test]
fn an_empty_path_is_the_current_directory() {
    let parent = Path::new("database").parent().unwrap();
    assert!(OsVfs::new().metadata(parent).unwrap().is_dir);
    OsVfs::new().sync_dir(parent).unwrap();
    assert!(!OsVfs::new().list(parent).unwrap().is_empty());
}

#[cfg(unix)]
mod unix {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_name_that_is_not_utf_8_is_named_in_the_error() {
        let dir = tempfile::tempdir().unwrap();
        if fs::write(dir.path().join(OsStr::from_bytes(b"bad\xff")), b"").is_err() {
            return; // this file system takes no such names
        }
        let error = OsVfs::new().list(dir.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert!(error.to_string().contains(r"bad\xFF"), "{error}");
    }

    #[test]
    fn a_pipe_in_a_file_s_place_is_refused_without_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        for how in [OpenHow::Read, OpenHow::ReadWrite] {
            assert_eq!(OsVfs::new().open(&path, how).unwrap_err().kind(), ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn links_are_followed_to_open_and_shown_in_a_list() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("real")).unwrap();
        symlink("real", dir.path().join("link")).unwrap();
        assert!(OsVfs::new().metadata(&dir.path().join("link")).unwrap().is_dir);
        let listed = OsVfs::new().list(dir.path()).unwrap();
        let shown: Vec<_> = listed.iter().map(|entry| (entry.name.as_str(), entry.is_dir)).collect();
        assert_eq!(shown, [("link", false), ("real", true)]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_told_as_such() {
        let file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let full = OsFile { file, writable: true };
        assert_eq!(full.write_all_at(b"x", 0).unwrap_err().kind(), ErrorKind::StorageFull);
    }
}

#[cfg(unix)]
#[test]
fn a_forked_child_knows_that_it_is_another_process() {
    use std::os::unix::process::CommandExt;
    use std::process::{Command, id};

    let parent = OsVfs.process_id();
    assert_eq!((parent, OsVfs.process_id()), (id(), id()));
    let mut child = Command::new("true");
    #[expect(unsafe_code, reason = "the one way to run something in a forked child")]
    // SAFETY: what runs there asks for numbers, and neither locks nor allocates.
    unsafe {
        child.pre_exec(move || {
            let own = OsVfs.process_id();
            if own == id() && own != parent { Ok(()) } else { Err(std::io::ErrorKind::InvalidData.into()) }
        });
    }
    assert!(child.status().expect("the child knew").success());
    assert_eq!(OsVfs.process_id(), parent);
}
