//! Dependencies point one way: crypto, sync ← storage ← recovery, backup ← the root crate ← programs.

use std::fs;
use std::io;
use std::path::Path;

/// Each crate's folder, and the project's crates that it may name.
const ALLOWED: [(&str, &[&str]); 9] = [
    ("crypto", &[]),
    ("sync", &[]),
    ("storage", &["lightning_db_crypto", "lightning_db_sync"]),
    ("recovery", &["lightning_db_crypto", "lightning_db_storage", "lightning_db_sync"]),
    ("backup", &["lightning_db_crypto", "lightning_db_storage", "lightning_db_sync"]),
    (
        "",
        &[
            "lightning_db_crypto",
            "lightning_db_storage",
            "lightning_db_recovery",
            "lightning_db_backup",
            "lightning_db_sync",
        ],
    ),
    ("crates/key_services", &["lightning_db", "lightning_db_crypto", "lightning_db_recovery_key"]),
    ("crates/recovery_key", &["lightning_db", "lightning_db_crypto"]),
    ("crates/cli", &["lightning_db", "lightning_db_key_services", "lightning_db_recovery_key"]),
];

pub(super) fn findings(root: &Path) -> io::Result<Vec<String>> {
    let mut findings = Vec::new();
    for (folder, allowed) in ALLOWED {
        let manifest = root.join(folder).join("Cargo.toml");
        for name in project_dependencies(&fs::read_to_string(&manifest)?) {
            if !allowed.contains(&name.as_str()) {
                let shown = if folder.is_empty() { "the root crate" } else { folder };
                findings.push(format!("{shown} must not depend on {name} (dependencies point one way)"));
            }
        }
    }
    Ok(findings)
}

/// The project's own crates that a manifest names in any of its dependency tables, the workspace's list apart.
fn project_dependencies(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut counts = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(table) = line.strip_prefix('[') {
            let table = table.trim_end_matches(']');
            counts = table.ends_with("dependencies") && !table.starts_with("workspace");
        } else if counts && line.starts_with("lightning_db") {
            let end = line.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(line.len());
            names.push(line[..end].to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dependency_tables_count() {
        let manifest = "[workspace.dependencies]\nlightning_db = 1\n[package]\nname = \"lightning_db_storage\"\n\
            [dependencies]\nlightning_db_crypto.workspace = true\nring = \"1\"\n[dev-dependencies]\nlightning_db_backup = \"1\"\n";
        assert_eq!(project_dependencies(manifest), ["lightning_db_crypto", "lightning_db_backup"]);
    }

    #[test]
    fn a_lower_layer_that_names_an_upper_one_is_refused() -> io::Result<()> {
        let root = std::env::temp_dir().join(format!("xtask-direction-{}", std::process::id()));
        for (folder, _) in ALLOWED {
            fs::create_dir_all(root.join(folder))?;
            fs::write(root.join(folder).join("Cargo.toml"), "[dependencies]\n")?;
        }
        assert_eq!(findings(&root)?, Vec::<String>::new());
        fs::write(root.join("storage/Cargo.toml"), "[dependencies]\nlightning_db_backup.workspace = true\n")?;
        assert_eq!(findings(&root)?.len(), 1);
        fs::remove_dir_all(&root)
    }
}
