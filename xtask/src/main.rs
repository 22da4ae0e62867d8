//! Checks and tests of lightning_db, one command each.

mod tidy;

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  check   formatting, lints, documentation and the tidy pass; changes nothing
  test    every test: unit, integration, command line, examples in the documentation
  tidy    the tidy pass alone: dependencies point one way, every file is reached,
          every option is read, no file outgrows a reader";

fn main() -> ExitCode {
    let root = project_root();
    let outcome = match env::args().nth(1).as_deref() {
        Some("check") => check(&root),
        Some("test") => test(&root),
        Some("tidy") => tidy(&root),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("xtask: {what}");
            ExitCode::FAILURE
        }
    }
}

/// Files, time and randomness only through their seams: refused in the library and its programs, allowed in tests.
fn seam_lints(level: &'static str) -> [&'static str; 4] {
    [level, "clippy::disallowed_methods", level, "clippy::disallowed_types"]
}

fn project_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

fn check(root: &Path) -> Result<(), String> {
    tidy(root)?;
    cargo(root, &["fmt", "--all", "--check"], &[])?;
    let everywhere = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    cargo(root, &[&everywhere[..], &seam_lints("-A")[..]].concat(), &[])?;
    let seams = ["clippy", "--workspace", "--lib", "--bins", "--exclude", "xtask", "--", "-D", "warnings"];
    cargo(root, &[&seams[..], &seam_lints("-D")[..]].concat(), &[])?;
    cargo(root, &["doc", "--workspace", "--no-deps"], &[("RUSTDOCFLAGS", "-D warnings")])
}

fn test(root: &Path) -> Result<(), String> {
    cargo(root, &["test", "--workspace", "--no-fail-fast"], &[])
}

fn tidy(root: &Path) -> Result<(), String> {
    let findings =
        tidy::findings(root).map_err(|error| format!("tidy could not read the project: {error}"))?;
    for finding in &findings {
        eprintln!("tidy: {finding}");
    }
    if findings.is_empty() {
        println!("tidy: nothing to say");
        Ok(())
    } else {
        Err(format!("tidy found {} things to mend", findings.len()))
    }
}

fn cargo(root: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Result<(), String> {
    println!("$ cargo {}", arguments.join(" "));
    let program = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let status = Command::new(program)
        .args(arguments)
        .envs(variables.iter().copied())
        .current_dir(root)
        .status()
        .map_err(|error| format!("cargo did not start: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("cargo {} failed", arguments.join(" "))) }
}
