//! The servers and devices that the tests of key services start: installed where they are missing.

use std::path::Path;
use std::process::{Command, Stdio};

/// A program that the tests start, and the Debian package that brings it.
const PROGRAMS: [(&str, &str); 2] = [("softhsm2-util", "softhsm2"), ("pkcs11-tool", "opensc")];

/// Installs what is missing.
pub(crate) fn provide(_root: &Path) -> Result<(), String> {
    packages()
}

fn packages() -> Result<(), String> {
    let missing: Vec<&str> =
        PROGRAMS.iter().filter(|(program, _)| !is_there(program)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let hint = format!("the tests of key services need {}", missing.join(", "));
    let begin = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    run(begin().arg("update"), &hint)?;
    run(begin().args(["install", "-y", "--no-install-recommends"]).args(&missing), &hint)
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
