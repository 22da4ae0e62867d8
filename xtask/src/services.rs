//! The servers and devices that the tests of key services start: installed where they are missing.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// A program that the tests start, and the Debian package that brings it.
const PROGRAMS: [(&str, &str); 2] = [("softhsm2-util", "softhsm2"), ("pkcs11-tool", "opensc")];

/// Servers that come as Python packages, in the versions that the tests know.
const REQUIREMENTS: &str = "crates/key_services/tests/services/requirements.txt";
/// Where they are installed.
const HOME: &str = "target/services";

/// Installs what is missing.
pub(crate) fn provide(root: &Path) -> Result<(), String> {
    packages("the tests of key services", &PROGRAMS)?;
    python_packages(root)
}

/// An environment of Python's own, made anew when the versions change. What is half made has no stamp.
fn python_packages(root: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("the servers of the tests cannot be installed: {error}");
    let (wanted, home) = (root.join(REQUIREMENTS), root.join(HOME));
    let (venv, stamp) = (home.join("venv"), home.join("installed.txt"));
    let text = fs::read_to_string(&wanted).map_err(failed)?;
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == text) {
        return Ok(());
    }
    if home.exists() {
        fs::remove_dir_all(&home).map_err(failed)?;
    }
    fs::create_dir_all(&home).map_err(failed)?;
    let hint = "the tests of key services need Python 3";
    if run(Command::new("python3").args(["-m", "venv"]).arg(&venv), hint).is_err() {
        apt_get(&["python3", "python3-venv"], hint)?;
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv), hint)?;
    }
    let install = ["install", "--quiet", "--disable-pip-version-check", "--requirement"];
    run(Command::new(venv.join("bin/pip")).args(install).arg(&wanted), hint)?;
    fs::write(&stamp, text).map_err(failed)
}

/// Installs the packages of programs that are missing; `who` needs them.
pub(crate) fn packages(who: &str, programs: &[(&str, &str)]) -> Result<(), String> {
    let missing: Vec<&str> =
        programs.iter().filter(|(program, _)| !is_there(program)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let hint = format!("{who} need {}", missing.join(", "));
    apt_get(&missing, &hint)
}

fn apt_get(packages: &[&str], hint: &str) -> Result<(), String> {
    let begin = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    run(begin().arg("update"), hint)?;
    run(begin().args(["install", "-y", "--no-install-recommends"]).args(packages), hint)
}

fn is_there(program: &str) -> bool {
    let question = format!("command -v {program}");
    let answer = Command::new("sh").args(["-c", &question]).stdout(Stdio::null()).status();
    answer.is_ok_and(|status| status.success())
}

fn run(command: &mut Command, hint: &str) -> Result<(), String> {
    println!("$ {command:?}");
    let status = command.status().map_err(|error| format!("{hint}; {command:?} did not start: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{hint}; {command:?} failed")) }
}
