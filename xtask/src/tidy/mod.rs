//! What a compiler does not see: whether the tree is still the architecture.

mod direction;
mod options;
mod reach;
mod size;
mod waiting;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Everything that is out of order below `root`, one line each, sorted.
pub(crate) fn findings(root: &Path) -> io::Result<Vec<String>> {
    let mut all = direction::findings(root)?;
    all.extend(reach::findings(root)?);
    all.extend(options::findings(root)?);
    all.extend(size::findings(root)?);
    all.extend(waiting::findings(root)?);
    all.sort();
    Ok(all)
}

/// The folders that hold a crate's source, relative to the project.
const SOURCE_FOLDERS: [&str; 12] = [
    "src",
    "sync/src",
    "crypto/src",
    "storage/src",
    "recovery/src",
    "backup/src",
    "crates/bench/src",
    "crates/cli/src",
    "crates/key_services/src",
    "crates/recovery_key/src",
    "crates/sim/src",
    "xtask/src",
];

/// Every Rust file below `folder`, sorted; none where the folder is missing.
fn rust_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        if !next.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&next)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn relative<'a>(root: &Path, path: &'a Path) -> std::path::Display<'a> {
    path.strip_prefix(root).unwrap_or(path).display()
}
