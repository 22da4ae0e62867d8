//! No file outgrows a reader.

use std::fs;
use std::io;
use std::path::Path;

use super::{SOURCE_FOLDERS, relative, rust_files};

const LINES_MAX: usize = 700;

pub(super) fn findings(root: &Path) -> io::Result<Vec<String>> {
    let mut findings = Vec::new();
    for folder in SOURCE_FOLDERS.into_iter().chain(["tests", "examples"]) {
        for file in rust_files(&root.join(folder))? {
            let lines = fs::read_to_string(&file)?.lines().count();
            if lines > LINES_MAX {
                findings.push(format!("{} has {lines} lines (at most {LINES_MAX})", relative(root, &file)));
            }
        }
    }
    Ok(findings)
}
