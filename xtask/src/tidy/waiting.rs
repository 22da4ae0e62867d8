//! The engine locks, waits and starts threads through `lightning_db_sync` alone. A task that goes round it, and really
//! waits, would stop a simulation: it never gives its turn back.

use std::fs;
use std::io;
use std::path::Path;

use super::{relative, rust_files};

/// Crates that nothing else is used in. `crypto` knows no files, and holds its locks for a few instructions.
const FOLDERS: [&str; 4] = ["src", "storage/src", "recovery/src", "backup/src"];

/// Parts whose locks are held for a few instructions and never while anything waits: doubles of the operating system,
/// and what deals with the real one.
const EXEMPT: [&str; 2] = ["storage/src/vfs", "storage/src/clock.rs"];

/// What a line must not name, all words of an entry together.
const REFUSED: [&[&str]; 8] = [
    &["parking_lot"],
    &["crossbeam_channel"],
    &["std::thread"],
    &["mpsc"],
    &["std::time", "Instant"],
    &["std::sync", "Mutex"],
    &["std::sync", "RwLock"],
    &["std::sync", "Condvar"],
];

pub(super) fn findings(root: &Path) -> io::Result<Vec<String>> {
    let mut findings = Vec::new();
    for folder in FOLDERS {
        for file in rust_files(&root.join(folder))? {
            if is_test(&file) || EXEMPT.iter().any(|exempt| file.starts_with(root.join(exempt))) {
                continue;
            }
            let text = fs::read_to_string(&file)?;
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for (number, line) in code.lines().enumerate().filter(|(_, line)| goes_round(line)) {
                let (file, number, line) = (relative(root, &file), number + 1, line.trim());
                findings.push(format!("{file}:{number} goes round lightning_db_sync: {line}"));
            }
        }
    }
    Ok(findings)
}

fn is_test(file: &Path) -> bool {
    let mut names = file.iter().filter_map(|name| name.to_str()).map(|name| name.trim_end_matches(".rs"));
    names.any(|name| ["tests", "testing", "fuzzing"].contains(&name) || name.ends_with("_tests"))
}

fn goes_round(line: &str) -> bool {
    !line.trim_start().starts_with("//")
        && REFUSED.iter().any(|words| words.iter().all(|word| line.contains(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_round_is_found_where_it_matters_and_only_there() -> io::Result<()> {
        let root = std::env::temp_dir().join(format!("xtask-waiting-{}", std::process::id()));
        let write = |file: &str, text: &str| {
            let path = root.join(file);
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            fs::write(path, text)
        };
        write("src/good.rs", "// std::thread\nuse std::sync::Arc;\n#[cfg(test)]\nuse std::thread;\n")?;
        write("src/good/tests.rs", "use parking_lot::Mutex;\n")?;
        write("storage/src/vfs/mem.rs", "use parking_lot::Mutex;\n")?;
        assert_eq!(findings(&root)?, Vec::<String>::new());
        write("src/bad.rs", "\nstd::thread::sleep(pause);\n")?;
        write("backup/src/bad.rs", "use std::sync::{Arc, Mutex};\n")?;
        let found = findings(&root)?;
        assert_eq!(found[0], "src/bad.rs:2 goes round lightning_db_sync: std::thread::sleep(pause);");
        assert_eq!(found.len(), 2);
        fs::remove_dir_all(&root)
    }
}
