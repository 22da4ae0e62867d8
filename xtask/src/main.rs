//! Checks and tests of lightning_db, one command each.

mod mutants;
mod services;
mod threads;
mod tidy;

use std::env;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  check   formatting, lints, documentation and the tidy pass; changes nothing; with --speed,
          also that no way of reading or writing has become much dearer than another
  test    every test: unit, integration, command line, key services at work with real servers,
          examples in the documentation; then the campaigns of crates/sim, about ten minutes;
          --quick leaves these out. On Debian it installs the servers that are missing
  services  installs what the tests of key services start and are linked with, and nothing else
  tidy    the tidy pass alone: dependencies point one way, every file is reached,
          every option is read, no file outgrows a reader
  mutants [NAME…]
          plants bugs, and says which campaign finds each; with --check, only whether
          they can be planted
  models  tries every order in which a few threads can use caches, versions and commits
  fips    builds with the FIPS module of AWS-LC, and runs the tests of ciphers, secrecy, options and old
          files with it. On Debian it installs CMake and Go, which its build needs
  asan    unit tests and stress under AddressSanitizer, with the stable compiler
  bench   [OPTION…]  measures lightning_db beside its peers, which it builds first (that takes
          many minutes once); --quick for a first look, --help for the options";

fn main() -> ExitCode {
    let root = project_root();
    let outcome = match env::args().nth(1).as_deref() {
        Some("check") => check(&root),
        Some("test") => test(&root),
        Some("services") => services::provide(&root),
        Some("tidy") => tidy(&root),
        Some("mutants") => mutants::run(&root, &env::args().skip(2).collect::<Vec<_>>()),
        Some("models") => threads::models(&root),
        Some("fips") => fips(&root),
        Some("asan") => threads::asan(&root),
        Some("bench") => bench(&root, &env::args().skip(2).collect::<Vec<_>>()),
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
    services::can_build()?;
    tidy(root)?;
    cargo(root, &["fmt", "--all", "--check"], &[])?;
    let clippy = |what: &[&str], seams| {
        let warnings = ["--", "-D", "warnings"];
        let lints = seam_lints(seams);
        cargo(root, &[&["clippy", "--workspace"], what, &services::FEATURES, &warnings, &lints].concat(), &[])
    };
    clippy(&["--all-targets"], "-A")?;
    clippy(&["--lib", "--bins", "--exclude", "xtask"], "-D")?;
    threads::check_models(root)?;
    let doc = [&["doc", "--workspace", "--no-deps"], &services::FEATURES[..]].concat();
    cargo(root, &doc, &[("RUSTDOCFLAGS", "-D warnings")])?;
    if env::args().any(|argument| argument == "--speed") { speed(root) } else { Ok(()) }
}

/// Compares ways of doing things with each other, without any peer.
fn speed(root: &Path) -> Result<(), String> {
    let folder = root.join("crates/bench");
    let build = ["build", "--release", "--no-default-features", "--target-dir", "target/alone"];
    cargo(&folder, &build, &[])?;
    start(&folder.join("target/alone/release/lightning_bench"), &["regress".to_owned()])
}

/// Runs every test, and ends with one line that adds up what all the test programs counted.
fn test(root: &Path) -> Result<(), String> {
    services::provide(root)?;
    let arguments = [&["test", "--workspace", "--no-fail-fast"], &services::FEATURES[..]].concat();
    println!("$ cargo {}", arguments.join(" "));
    let started = command(root, &arguments).stdout(Stdio::piped()).spawn();
    let mut running = started.map_err(|error| format!("cargo did not start: {error}"))?;
    let mut total = Counts::default();
    for line in running.stdout.take().into_iter().flat_map(|output| BufReader::new(output).lines()) {
        let line = line.map_err(|error| format!("the tests' output could not be read: {error}"))?;
        println!("{line}");
        total.add(&line);
    }
    let status = running.wait().map_err(|error| format!("cargo did not end: {error}"))?;
    let campaigns = if env::args().any(|argument| argument == "--quick") { Ok(()) } else { campaigns(root) };
    println!("{} passed, {} failed, {} skipped", total.passed, total.failed, total.ignored);
    if status.success() { campaigns } else { Err(format!("cargo {} failed", arguments.join(" "))) }
}

/// Looks for the ways to lose data: crashes, faults, attacks, concurrent transactions.
fn campaigns(root: &Path) -> Result<(), String> {
    cargo(root, &["run", "--profile", "sim", "-p", "lightning_db_sim", "--", "ci"], &[])
}

/// The tests that show which cipher is at work, by the FIPS module.
fn fips(root: &Path) -> Result<(), String> {
    services::packages("builds of the FIPS module", &[("cmake", "cmake"), ("go", "golang-go")])?;
    let feature = ["--features", "fips"];
    cargo(root, &[&["test", "-p", "lightning_db_crypto"][..], &feature].concat(), &[])?;
    let programs = ["--test", "secrecy", "--test", "options", "--test", "golden"];
    cargo(root, &[&["test", "-p", "lightning_db"][..], &feature, &programs].concat(), &[])?;
    cargo(root, &[&["build", "-p", "lightning_cli"][..], &feature].concat(), &[])
}

/// Builds the benchmark, a workspace of its own, where its settings of the compiler are found, and runs it.
fn bench(root: &Path, arguments: &[String]) -> Result<(), String> {
    let folder = root.join("crates/bench");
    cargo(&folder, &["build", "--release", "--target-dir", "target"], &[])?;
    start(&folder.join("target/release/lightning_bench"), arguments)
}

fn start(program: &Path, arguments: &[String]) -> Result<(), String> {
    let status = Command::new(program).args(arguments).status();
    let status = status.map_err(|error| format!("{} did not start: {error}", program.display()))?;
    if status.success() { Ok(()) } else { Err(format!("{} failed", program.display())) }
}

/// What test programs counted.
#[derive(Debug, Default, PartialEq)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Counts {
    /// Adds what a line says, if it is the last one of a test program.
    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else { return };
        let words: Vec<&str> = result.split_whitespace().collect();
        for pair in words.windows(2) {
            let Ok(count) = pair[0].parse::<u64>() else { continue };
            match pair[1] {
                "passed;" => self.passed += count,
                "failed;" => self.failed += count,
                "ignored;" => self.ignored += count,
                _ => {}
            }
        }
    }
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
    let status = command(root, arguments).envs(variables.iter().copied()).status();
    let status = status.map_err(|error| format!("cargo did not start: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("cargo {} failed", arguments.join(" "))) }
}

fn command(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
    command.args(arguments).current_dir(root);
    command
}

#[cfg(test)]
mod tests {
    use super::Counts;

    #[test]
    fn the_last_lines_of_test_programs_add_up() {
        let mut total = Counts::default();
        for line in [
            "test a::b ... ok",
            "test result: ok. 15 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.19s",
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 7 filtered out; finished in 1s",
        ] {
            total.add(line);
        }
        assert_eq!(total, Counts { passed: 18, failed: 2, ignored: 1 });
    }
}
