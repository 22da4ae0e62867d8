//! Every source file is reached by a `mod` line; one that is not is never compiled.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{SOURCE_FOLDERS, relative, rust_files};

pub(super) fn findings(root: &Path) -> io::Result<Vec<String>> {
    let mut findings = Vec::new();
    for folder in SOURCE_FOLDERS {
        let source = root.join(folder);
        for file in rust_files(&source)? {
            if !is_root(&source, &file) && !is_reached(&file)? {
                findings.push(format!("{} is reached by no `mod` line", relative(root, &file)));
            }
        }
    }
    Ok(findings)
}

fn is_root(source: &Path, file: &Path) -> bool {
    file == source.join("lib.rs") || file == source.join("main.rs") || file.starts_with(source.join("bin"))
}

fn is_reached(file: &Path) -> io::Result<bool> {
    let Some((name, parents)) = module(file) else { return Ok(false) };
    for parent in parents.iter().filter(|parent| parent.is_file()) {
        let text = fs::read_to_string(parent)?;
        let declared = text.lines().map(str::trim).any(|line| {
            let declaration = line.strip_suffix(';').and_then(|line| line.rsplit_once("mod "));
            declaration.is_some_and(|(before, module)| module == name && !before.contains("//"))
        });
        if declared {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A file's module name, and the files in which its `mod` line may stand.
fn module(file: &Path) -> Option<(String, Vec<PathBuf>)> {
    let folder = file.parent()?;
    let stem = file.file_stem()?.to_str()?;
    let (name, home) =
        if stem == "mod" { (folder.file_name()?.to_str()?, folder.parent()?) } else { (stem, folder) };
    let beside = home.with_extension("rs");
    Some((name.to_owned(), vec![home.join("mod.rs"), home.join("lib.rs"), home.join("main.rs"), beside]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_mod_line_is_found() -> io::Result<()> {
        let root = std::env::temp_dir().join(format!("xtask-reach-{}", std::process::id()));
        let source = root.join("src");
        fs::create_dir_all(source.join("part"))?;
        fs::write(source.join("lib.rs"), "pub mod part;\n// mod lost;\n")?;
        fs::write(source.join("part/mod.rs"), "#[cfg(test)]\nmod tests;\n")?;
        fs::write(source.join("part/tests.rs"), "")?;
        fs::write(source.join("lost.rs"), "")?;
        let found = findings(&root)?;
        assert_eq!(found, ["src/lost.rs is reached by no `mod` line"]);
        fs::remove_dir_all(&root)
    }
}
