//! The servers and devices that the tests of key services start, and the library that the TPM's client is linked with:
//! installed where they are missing.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// A program that the tests start, and the Debian package that brings it.
const PROGRAMS: [(&str, &str); 10] = [
    ("softhsm2-util", "softhsm2"),
    ("pkcs11-tool", "opensc"),
    ("swtpm", "swtpm"),
    ("swtpm_setup", "swtpm-tools"),
    ("tpm2_pcrextend", "tpm2-tools"),
    ("dbus-daemon", "dbus"),
    ("dbus-send", "dbus"),
    ("gnome-keyring-daemon", "gnome-keyring"),
    ("secret-tool", "libsecret-tools"),
    ("pkg-config", "pkg-config"),
];

/// A library that is linked, and the Debian package that brings it.
const LIBRARY: (&str, &str) = ("tss2-esys", "libtss2-dev");
/// What is off by default, and checked and tested nevertheless: one is built with the library, the others bring many crates.
pub(crate) const FEATURES: [&str; 2] =
    ["--features", "lightning_cli/tpm,lightning_cli/gcpkms,lightning_cli/azurekv"];

/// Servers that come as Python packages, in the versions that the tests know.
const REQUIREMENTS: &str = "crates/key_services/tests/services/requirements.txt";
/// Where they are installed.
const HOME: &str = "target/services";

/// Installs what is missing.
pub(crate) fn provide(root: &Path) -> Result<(), String> {
    packages("the tests of key services", &PROGRAMS)?;
    if !has_library() {
        apt_get(&[LIBRARY.1], "the TPM's client is linked with a library")?;
    }
    python_packages(root)
}

/// Whether everything can be built.
pub(crate) fn can_build() -> Result<(), String> {
    if has_library() {
        return Ok(());
    }
    Err(format!("the TPM's client is linked with {}: `cargo xtask services` installs it", LIBRARY.1))
}

fn has_library() -> bool {
    let mut question = Command::new("pkg-config");
    question.args(["--exists", LIBRARY.0]).stderr(Stdio::null());
    question.status().is_ok_and(|status| status.success())
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
