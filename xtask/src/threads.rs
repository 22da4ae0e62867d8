//! Tests that need a build of their own: what threads can do in any order, and what memory they may touch.

use std::path::Path;
use std::process::Command;

use crate::cargo;

/// Tries every order in which a few threads can use what has no lock around it, or waits.
pub(crate) fn models(root: &Path) -> Result<(), String> {
    in_models(root, &["test", "--lib", "models::"])
}

/// Whether the models still compile: nothing else builds the engine on the locks that they explore.
pub(crate) fn check_models(root: &Path) -> Result<(), String> {
    in_models(root, &["check", "--lib", "--profile", "test"])
}

fn in_models(root: &Path, arguments: &[&str]) -> Result<(), String> {
    let arguments = [arguments, &["-p", "lightning_db", "--target-dir", "target/models"]].concat();
    cargo(root, &arguments, &[("RUSTFLAGS", "--cfg lightning_db_models")])
}

/// Runs the unit tests and the stress test under AddressSanitizer, which also finds what is never freed.
///
/// The sanitizer belongs to the unstable part of the compiler; `RUSTC_BOOTSTRAP` lets the stable one use it. Naming the
/// target keeps it out of build scripts and procedural macros.
pub(crate) fn asan(root: &Path) -> Result<(), String> {
    let host = host()?;
    let mut arguments = vec!["test", "--no-fail-fast", "--target", &host, "--target-dir", "target/asan"];
    for package in ["lightning_db", "lightning_db_crypto", "lightning_db_storage", "lightning_db_recovery"] {
        arguments.extend(["-p", package]);
    }
    arguments.extend(["-p", "lightning_db_backup", "--lib", "--test", "stress"]);
    cargo(root, &arguments, &[("RUSTC_BOOTSTRAP", "1"), ("RUSTFLAGS", "-Zsanitizer=address")])
}

/// The target that the compiler runs on.
fn host() -> Result<String, String> {
    let told =
        Command::new("rustc").arg("-vV").output().map_err(|error| format!("rustc did not start: {error}"))?;
    let told = String::from_utf8_lossy(&told.stdout);
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc does not tell its host".to_owned())
}
