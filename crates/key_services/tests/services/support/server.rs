//! Programs that serve on this machine for as long as a test needs them.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

const READY_WITHIN: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A running server; it is killed when this is dropped.
pub(crate) struct Server {
    child: Child,
    port: Option<u16>,
}

/// A port that nobody listens at.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// A program among those that `cargo xtask services` installs for Python.
pub(crate) fn python_program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/services/venv/bin").join(name)
}

impl Server {
    /// Starts a program that is to listen at `port`, and waits until `ready` says that it does its work. What it says
    /// goes to `log`.
    pub(crate) fn start(command: &mut Command, port: u16, log: &Path, ready: impl Fn() -> bool) -> Self {
        Self::launch(command, Some(port), log, || listens(port) && ready())
    }

    /// As [`start`](Self::start), for a program that listens at no port.
    pub(crate) fn start_without_port(command: &mut Command, log: &Path, ready: impl Fn() -> bool) -> Self {
        Self::launch(command, None, log, ready)
    }

    fn launch(command: &mut Command, port: Option<u16>, log: &Path, ready: impl Fn() -> bool) -> Self {
        let output = File::create(log).expect("a log");
        // A group of its own, for a server may start helpers.
        command.process_group(0);
        command.stdin(Stdio::null()).stderr(output.try_clone().expect("a log")).stdout(output);
        let child = command.spawn().unwrap_or_else(|error| {
            panic!("{command:?} does not start ({error}): `cargo xtask services` installs what is needed")
        });
        let mut server = Self { child, port };
        let began = Instant::now();
        while !ready() {
            let ended = server.child.try_wait().expect("its state");
            let said = || std::fs::read_to_string(log).unwrap_or_default();
            assert!(ended.is_none(), "{command:?} ended with {ended:?}: {}", said());
            assert!(began.elapsed() < READY_WITHIN, "{command:?} was not ready in time: {}", said());
            thread::sleep(POLL_INTERVAL);
        }
        server
    }

    /// Its processes take no step any more, and can only be killed.
    pub(crate) fn freeze(&self) {
        let group = Pid::from_raw(self.child.id().cast_signed()).expect("a process");
        kill_process_group(group, Signal::STOP).expect("it runs");
    }

    fn kill(&mut self) {
        if let Ok(None) = self.child.try_wait()
            && let Some(group) = Pid::from_raw(self.child.id().cast_signed())
        {
            kill_process_group(group, Signal::KILL).ok();
            self.child.wait().ok();
        }
    }

    /// Kills it, and waits until nobody listens any more.
    pub(crate) fn stop(&mut self) {
        self.kill();
        let began = Instant::now();
        while self.port.is_some_and(listens) {
            assert!(began.elapsed() < READY_WITHIN, "somebody still listens at port {:?}", self.port);
            thread::sleep(POLL_INTERVAL);
        }
    }
}

fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
