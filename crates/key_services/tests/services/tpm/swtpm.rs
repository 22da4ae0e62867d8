//! A TPM in software, with seeds and registers of its own.

use std::cell::RefCell;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::support::server::{Server, free_port};
use crate::support::{run, secret_file};

pub(crate) const PIN: &str = "4711-right";

/// Seconds for what is to succeed: each time the TPM derives its storage key, and a busy disk can stop it.
const PATIENCE: u32 = 120;

/// The URI with a time-out of a second, for what is to fail by it.
pub(crate) fn hurried(uri: &str) -> String {
    uri.replace(&format!("timeout={PATIENCE}"), "timeout=1")
}

/// A TPM, and a folder for the test.
pub(crate) struct Tpm {
    pub(crate) folder: TempDir,
    pub(crate) port: u16,
    server: RefCell<Option<Server>>,
}

impl Tpm {
    /// One that has never been used, and has SHA-256 registers only.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("tpm");
        std::fs::create_dir(&state).expect("a folder");
        run(Command::new("swtpm_setup").args(["--tpm2", "--pcr-banks", "sha256", "--tpmstate"]).arg(&state));
        secret_file(&folder.path().join("pin"), PIN);
        let tpm = Self { folder, port: free_pair(), server: RefCell::default() };
        tpm.start_again();
        tpm
    }

    /// Starts it as a machine does: it has its seeds, and registers of zeros.
    pub(crate) fn start_again(&self) {
        let mut command = Command::new("swtpm");
        command.args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"]);
        command.arg("--tpmstate").arg(format!("dir={}", self.path().join("tpm").display()));
        command.arg("--server").arg(format!("type=tcp,bindaddr=127.0.0.1,port={}", self.port));
        // Where the library looks for it.
        command.arg("--ctrl").arg(format!("type=tcp,bindaddr=127.0.0.1,port={}", self.port + 1));
        *self.server.borrow_mut() =
            Some(Server::start(&mut command, self.port, &self.path().join("log"), || true));
    }

    pub(crate) fn stop(&self) {
        self.server.borrow_mut().as_mut().expect("it runs").stop();
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The URI of a key that this TPM seals, on these conditions.
    pub(crate) fn uri(&self, conditions: &str) -> String {
        self.uri_at(self.port, conditions)
    }

    /// As [`uri`](Self::uri), where the TPM is reached by another port.
    pub(crate) fn uri_at(&self, port: u16, conditions: &str) -> String {
        format!("tpm:?{conditions}timeout={PATIENCE}&tcti=swtpm:host=127.0.0.1,port={port}")
    }

    /// The condition that the PIN is known.
    pub(crate) fn pin(&self) -> String {
        format!("pin-source=file:{}&", self.path().join("pin").display())
    }

    /// From now on this is what is given as the PIN.
    pub(crate) fn give_pin(&self, pin: &str) {
        secret_file(&self.path().join("pin"), pin);
    }

    /// Runs one of `tpm2-tools`.
    pub(crate) fn tool(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(program);
        command.env("TPM2TOOLS_TCTI", format!("swtpm:host=127.0.0.1,port={}", self.port));
        let output = run(command.args(arguments).current_dir(self.path()));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Tells the TPM something that was not so before, as another boot loader would.
    pub(crate) fn extend(&self, register: u32) {
        self.tool("tpm2_pcrextend", &[&format!("{register}:sha256={}", "ab".repeat(32))]);
    }

    /// How many wrong PINs it counts.
    pub(crate) fn wrong_pins(&self) -> u32 {
        let listed = self.tool("tpm2_getcap", &["properties-variable"]);
        let line = listed.lines().find(|line| line.contains("TPM2_PT_LOCKOUT_COUNTER")).expect("a counter");
        let number = line.rsplit("0x").next().expect("a number");
        u32::from_str_radix(number.trim(), 16).expect("a number")
    }
}

/// A port that nobody listens at, nor at the next one.
pub(crate) fn free_pair() -> u16 {
    loop {
        let port = free_port();
        if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
}
