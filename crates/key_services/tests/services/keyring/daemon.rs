//! GNOME's keyring, on a session bus of its own. Which bus that is, is a matter of the process, so each test runs in one.

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::server::Server;
use crate::support::{process, run, secret_file};

/// A keyring that is unlocked.
pub(crate) struct Keyring {
    pub(crate) folder: PathBuf,
    daemon: RefCell<Option<Server>>,
    bus: RefCell<Option<Server>>,
}

/// Runs `body`, which is the test of this name, in a process that has a session bus and a keyring.
pub(crate) fn in_own_process(name: &str, body: impl FnOnce(&Keyring)) {
    process::with_folder(name, environment, |folder| {
        let keyring = Keyring { folder: folder.into(), daemon: RefCell::default(), bus: RefCell::default() };
        keyring.start_bus();
        keyring.unlock();
        body(&keyring);
    });
}

fn environment(folder: &Path) -> Vec<(&'static str, String)> {
    let run_folder = folder.join("run");
    fs::create_dir(&run_folder).expect("a folder");
    fs::set_permissions(&run_folder, fs::Permissions::from_mode(0o700)).expect("made private");
    vec![
        ("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={}", folder.join("bus").display())),
        ("XDG_RUNTIME_DIR", run_folder.display().to_string()),
        ("XDG_DATA_HOME", folder.join("data").display().to_string()),
        ("HOME", folder.display().to_string()),
    ]
}

impl Keyring {
    /// A bus that starts no services by itself.
    fn start_bus(&self) {
        let (socket, configuration) = (self.folder.join("bus"), self.folder.join("bus.conf"));
        let text = format!(
            "<busconfig><type>session</type><listen>unix:path={}</listen><auth>EXTERNAL</auth>\
             <policy context=\"default\"><allow send_destination=\"*\" eavesdrop=\"true\"/>\
             <allow eavesdrop=\"true\"/><allow own=\"*\"/></policy></busconfig>",
            socket.display()
        );
        fs::write(&configuration, text).expect("written");
        let mut command = Command::new("dbus-daemon");
        command.arg("--nofork").arg("--config-file").arg(&configuration);
        let ready = || UnixStream::connect(&socket).is_ok();
        let server = Server::start_without_port(&mut command, &self.folder.join("bus.log"), ready);
        *self.bus.borrow_mut() = Some(server);
    }

    /// Starts the keyring, as somebody who logs in does. The first time makes it.
    pub(crate) fn unlock(&self) {
        let password = secret_file(&self.folder.join("password"), "of the login");
        self.start(&format!("exec gnome-keyring-daemon --unlock {OPTIONS} < {}", password.display()));
    }

    /// Starts the keyring where nobody has logged in.
    pub(crate) fn start_locked(&self) {
        self.start(&format!("exec gnome-keyring-daemon {OPTIONS}"));
    }

    fn start(&self, command: &str) {
        self.stop();
        let mut shell = Command::new("sh");
        shell.args(["-c", command]);
        let owned = || {
            let mut question = Command::new("dbus-send");
            question.args([
                "--session",
                "--print-reply",
                "--dest=org.freedesktop.DBus",
                "/org/freedesktop/DBus",
            ]);
            question.args(["org.freedesktop.DBus.GetNameOwner", "string:org.freedesktop.secrets"]);
            question.output().is_ok_and(|output| output.status.success())
        };
        let server = Server::start_without_port(&mut shell, &self.folder.join("keyring.log"), owned);
        *self.daemon.borrow_mut() = Some(server);
    }

    pub(crate) fn stop(&self) {
        self.daemon.borrow_mut().take();
    }

    pub(crate) fn stop_bus(&self) {
        self.bus.borrow_mut().take();
    }

    pub(crate) fn freeze(&self) {
        self.daemon.borrow().as_ref().expect("it runs").freeze();
    }

    /// Puts an entry there.
    pub(crate) fn store(&self, label: &str, name: &str, secret: &str) {
        let command = format!(
            "printf %s '{secret}' | secret-tool store --label={label} application lightning_db key {name} label {label}"
        );
        run(Command::new("sh").args(["-c", &command]));
    }

    /// Takes an entry away.
    pub(crate) fn clear(&self, name: &str) {
        run(Command::new("secret-tool").args(["clear", "application", "lightning_db", "key", name]));
    }
}

const OPTIONS: &str = "--foreground --components=secrets";
