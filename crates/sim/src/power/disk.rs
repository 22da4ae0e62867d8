//! A file system of its own in a file, whose power can be cut.
//!
//! `mount -o loop` makes a loop device that goes away with the mount. The campaign runs in a mount namespace of its own,
//! which goes away with its last process: so nothing is left, however it ends.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use lightning_db_storage::vfs::{OsVfs, Vfs};
use tempfile::TempDir;

/// XFS refuses less than 300 MiB. The file is sparse.
const IMAGE_LEN: u64 = 400 << 20;
/// Programs without which there is no power to cut.
const PROGRAMS: [&str; 6] = ["unshare", "mkfs.xfs", "mkfs.ext4", "mount", "umount", "xfs_io"];

/// A file system that can be told to stop at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Xfs,
    Ext4,
}

/// What the file system does with its own journal at the cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Journal {
    /// What is not on the disk is lost.
    Lost,
    /// It is written first; data in the page cache is lost all the same.
    Written,
}

#[derive(Debug)]
pub(super) struct Disk {
    kind: Kind,
    home: TempDir,
    is_mounted: bool,
}

/// Whether a file system can be made here that tells its mounts apart: by root, with the programs, loop devices, a kernel
/// that is new enough, and the permission to mount.
pub(super) fn can_be_made() -> bool {
    let is_there = |program: &str| {
        Command::new(program).arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    };
    rustix::process::geteuid().is_root()
        && PROGRAMS.iter().all(|program| is_there(program))
        && OsVfs.metadata(Path::new("/dev/loop-control")).is_ok()
        && is_new_enough(&rustix::system::uname().release().to_string_lossy())
        && command("unshare", &["--mount", "true"]).is_ok()
}

/// Whether this release of the kernel is 6.8 or newer.
fn is_new_enough(release: &str) -> bool {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (6, 8),
        _ => false,
    }
}

/// Why power cannot be cut here, if it cannot.
pub(super) fn obstacle(directory: &Path) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("only root can mount a file system".to_owned());
    }
    for program in PROGRAMS {
        let found = Command::new(program).arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if found.is_err() {
            return Some(format!("{program} is not installed"));
        }
    }
    match command("unshare", &["--mount", "true"]).and_then(|()| try_once(directory)) {
        Ok(true) => None,
        Ok(false) => {
            Some("this kernel does not tell one mount from the next; Linux does since 6.8".to_owned())
        }
        Err(error) => Some(error),
    }
}

/// Cuts once, with nothing to lose. Whether the next mount is known for another one.
fn try_once(directory: &Path) -> Result<bool, String> {
    let mut disk = Disk::new(Kind::Xfs, directory)?;
    disk.mount()?;
    let before = OsVfs.boot_id(&disk.place());
    disk.cut(Journal::Lost)?;
    disk.unmount()?;
    disk.mount()?;
    let after = OsVfs.boot_id(&disk.place());
    disk.unmount()?;
    Ok(before != after)
}

impl Disk {
    /// A new file system in a file below `directory`, mounted.
    pub(super) fn new(kind: Kind, directory: &Path) -> Result<Self, String> {
        let home =
            TempDir::with_prefix_in("lightning-power-", directory).map_err(|error| error.to_string())?;
        let disk = Self { kind, home, is_mounted: false };
        let image = disk.image();
        let options = std::fs::OpenOptions::new().write(true).create_new(true).open(&image);
        let made = options.and_then(|file| file.set_len(IMAGE_LEN)).and_then(|()| make_dir(&disk.place()));
        made.map_err(|error| format!("{}: {error}", image.display()))?;
        match kind {
            Kind::Xfs => command("mkfs.xfs", &["-q", &text(&image)])?,
            Kind::Ext4 => command("mkfs.ext4", &["-q", "-F", &text(&image)])?,
        }
        Ok(disk)
    }

    /// Where it is mounted.
    pub(super) fn place(&self) -> PathBuf {
        self.home.path().join("mounted")
    }

    /// Mounts it, which recovers its journal.
    pub(super) fn mount(&mut self) -> Result<(), String> {
        let kind = if self.kind == Kind::Xfs { "xfs" } else { "ext4" };
        command("mount", &["-t", kind, "-o", "loop", &text(&self.image()), &text(&self.place())])?;
        self.is_mounted = true;
        Ok(())
    }

    /// Stops it at once: nothing reaches the disk any more, and every call fails.
    pub(super) fn cut(&self, journal: Journal) -> Result<(), String> {
        let order = if journal == Journal::Written { "shutdown -f" } else { "shutdown" };
        command("xfs_io", &["-x", "-c", order, &text(&self.place())])
    }

    /// Unmounts it, as soon as nobody uses it.
    pub(super) fn unmount(&mut self) -> Result<(), String> {
        let mut outcome = Ok(());
        for _ in 0..100 {
            outcome = command("umount", &[&text(&self.place())]);
            if outcome.is_ok() {
                self.is_mounted = false;
                break;
            }
            std::thread::sleep(Duration::from_millis(30));
        }
        outcome
    }

    fn image(&self) -> PathBuf {
        self.home.path().join("image")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.is_mounted {
            // Without a word: the file system may have been shut down, and the namespace ends with the campaign.
            _ = command("umount", &["--lazy", &text(&self.place())]);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a place to mount at, no file of a database")]
fn make_dir(path: &Path) -> std::io::Result<()> {
    std::fs::create_dir(path)
}

fn command(program: &str, arguments: &[&str]) -> Result<(), String> {
    let done =
        Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    Err(format!("{program} {}: {}, {}", arguments.join(" "), done.status, said.trim()))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
