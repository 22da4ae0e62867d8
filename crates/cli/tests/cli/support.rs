//! A folder to work in, and the program run in it.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A temporary folder with a key file, in which the program runs.
pub(crate) struct Place {
    folder: TempDir,
}

/// What the program did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) raw: Vec<u8>,
}

impl Place {
    /// A folder with the key `key`, and nothing else.
    pub(crate) fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        place.secret("key", &"a7".repeat(32));
        place
    }

    /// As [`new`](Self::new), with an encrypted database `db`.
    pub(crate) fn with_database() -> Self {
        let place = Self::new();
        place.ok(["create", "db"]);
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// Every name in the folder or one of its folders, in order.
    pub(crate) fn names(&self, name: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(name)).expect("a folder");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
        names.sort();
        names
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).expect("written");
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("a text file")
    }

    /// A file that only its owner can read.
    pub(crate) fn secret(&self, name: &str, content: &str) {
        use std::os::unix::fs::PermissionsExt;
        self.write(name, content);
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).expect("permissions set");
    }

    /// The program in this folder, without anything of the caller's environment that would change what it does.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lightning-cli"));
        command.current_dir(self.folder.path()).stdin(Stdio::null()).env_remove("RUST_LOG");
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LIGHTNING_DB"))
        {
            command.env_remove(name);
        }
        command
    }

    /// Runs the program with the key of this folder in the environment.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ran {
        self.run_with(&[("LIGHTNING_DB_KEY", "file:key")], arguments)
    }

    /// Runs the program without any key in the environment.
    pub(crate) fn run_bare<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ran {
        self.run_with(&[], arguments)
    }

    /// Runs the program with these variables.
    pub(crate) fn run_with<S: AsRef<OsStr>>(
        &self,
        variables: &[(&str, &str)],
        arguments: impl IntoIterator<Item = S>,
    ) -> Ran {
        let output =
            self.command().envs(variables.iter().copied()).args(arguments).output().expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let status = output.status.code().expect("it was not killed");
        let ran = Ran { status, out: text(&output.stdout), err: text(&output.stderr), raw: output.stdout };
        assert!(!ran.err.contains("panicked"), "{ran:?}");
        ran
    }

    /// Runs the program, which must succeed and say nothing on standard error, and returns what it wrote.
    pub(crate) fn ok<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> String {
        let ran = self.run(arguments);
        assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{ran:?}");
        ran.out
    }

    /// As [`ok`](Self::ok), with `--json`.
    pub(crate) fn json<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Value {
        let arguments = arguments.into_iter().map(|argument| argument.as_ref().to_owned());
        let out = self.ok(arguments.chain(["--json".into()]));
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{out}: {error}"))
    }

    /// Runs the program, which must fail with this status, write nothing to standard output, and name `told`.
    pub(crate) fn fails<S: AsRef<OsStr>>(
        &self,
        status: i32,
        told: &str,
        arguments: impl IntoIterator<Item = S>,
    ) -> Ran {
        let ran = self.run(arguments);
        ran.is_failure(status, told);
        ran
    }
}

impl Ran {
    /// Checks a failure.
    pub(crate) fn is_failure(&self, status: i32, told: &str) {
        assert_eq!((self.status, self.out.as_str()), (status, ""), "{self:?}");
        assert!(self.err.contains(told), "{self:?}");
    }

    /// The error that `--json` reports: kind and message.
    pub(crate) fn error(&self) -> (String, String) {
        let value: Value =
            serde_json::from_str(&self.err).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        let text = |name: &str| value["error"][name].as_str().expect("text").to_owned();
        (text("kind"), text("message"))
    }
}

/// Every file of a folder and of its folders, with its content.
pub(crate) fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(contents(&path));
        } else {
            files.push((path.clone(), fs::read(&path).expect("a file")));
        }
    }
    files.sort();
    files
}
