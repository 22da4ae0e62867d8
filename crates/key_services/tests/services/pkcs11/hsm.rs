//! SoftHSM with tokens of its own. Which tokens there are is a matter of the process, so each test runs in one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cryptoki::context::Pkcs11;

use crate::support::{process, run, secret_file};

/// Where Debian has it.
pub(crate) const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
pub(crate) const PIN: &str = "1234";

/// One token, labelled "safe", with one key, "wrapping".
pub(crate) struct Hsm {
    /// Room for the test.
    pub(crate) folder: PathBuf,
    pub(crate) pin_file: PathBuf,
}

/// Runs `body`, which is the test of this name, in a process whose SoftHSM has a token.
pub(crate) fn in_own_process(name: &str, body: impl FnOnce(&Hsm)) {
    process::with_folder(name, configure, |folder| {
        let hsm = Hsm { folder: folder.into(), pin_file: folder.join("pin") };
        hsm.make_token("safe");
        hsm.make_key("safe", "wrapping", "01");
        secret_file(&hsm.pin_file, &format!("{PIN}\n"));
        body(&hsm);
    });
}

fn configure(folder: &Path) -> Vec<(&'static str, String)> {
    let (configuration, tokens) = (folder.join("softhsm2.conf"), folder.join("tokens"));
    fs::create_dir(&tokens).expect("a folder");
    let text = format!(
        "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
        tokens.display()
    );
    fs::write(&configuration, text).expect("written");
    let faults = folder.join("faults").display().to_string();
    vec![("SOFTHSM2_CONF", configuration.display().to_string()), ("LIGHTNING_TEST_HSM_FAULTS", faults)]
}

/// Ends the module as another part of the program might: it is the same for all of a process. When it begins anew, it
/// sees which tokens there are.
pub(crate) fn finalize() {
    Pkcs11::new(MODULE).expect("loaded").finalize().expect("finalized");
}

impl Hsm {
    /// The URI of the key, with more parameters.
    pub(crate) fn uri(&self, more: &str) -> String {
        self.uri_of("token=safe;object=wrapping") + more
    }

    /// The URI of another key.
    pub(crate) fn uri_of(&self, path: &str) -> String {
        self.uri_by(Path::new(MODULE), path)
    }

    /// The URI of a key by another module.
    pub(crate) fn uri_by(&self, module: &Path, path: &str) -> String {
        format!("pkcs11:{path}?module-path={}&pin-source=file:{}", module.display(), self.pin_file.display())
    }

    pub(crate) fn make_token(&self, label: &str) {
        run(Command::new("softhsm2-util").args([
            "--init-token",
            "--free",
            "--label",
            label,
            "--so-pin",
            "87654321",
            "--pin",
            PIN,
        ]));
    }

    pub(crate) fn make_key(&self, token: &str, label: &str, id: &str) {
        let login = ["--token-label", token, "--login", "--pin", PIN];
        let make =
            ["--keygen", "--key-type", "AES:32", "--label", label, "--id", id, "--usage-wrap", "--sensitive"];
        run(Command::new("pkcs11-tool").args(["--module", MODULE]).args(login).args(make));
    }

    /// Runs `pkcs11-tool` on the token.
    pub(crate) fn tool(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("pkcs11-tool");
        let output = run(command.args(["--module", MODULE, "--token-label", "safe"]).args(arguments));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The serial number of the token.
    pub(crate) fn serial(&self) -> String {
        let listed = run(Command::new("pkcs11-tool").args(["--module", MODULE, "--list-token-slots"]));
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let token = listed.split("token label").find(|token| token.contains(": safe")).expect("the token");
        let line = token.lines().find(|line| line.contains("serial num")).expect("its serial number");
        line.rsplit(':').next().expect("a number").trim().to_owned()
    }
}
