//! What the tests of all services share: databases in a folder, and what must hold of them.

pub(crate) mod between;
pub(crate) mod process;
pub(crate) mod server;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lightning_db::{Database, Error, KeyProvider, KeySource, LightningDbConfig};
use lightning_db_crypto::{CryptoError, Entropy, SecretKey, SlotContext, WrappedKey};
use lightning_db_key_services::key_source;

/// What two operations take at most whose time-out is a second or two, also on a busy machine. With the time-out that holds
/// unless another is given, they would take longer.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// The URI with a time-out of a second, for what is to fail by it. What is to succeed has the time that it needs.
pub(crate) fn hurried(uri: &str) -> String {
    format!("{uri}&timeout=1")
}

/// The key that a URI names.
pub(crate) fn key(uri: &str) -> KeySource {
    key_source(uri).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn config(key: KeySource) -> LightningDbConfig {
    LightningDbConfig { encryption_enabled: true, encryption_key: key, ..LightningDbConfig::default() }
}

/// Makes a database with a row in it, and closes it.
pub(crate) fn create(path: &Path, key: KeySource) -> Result<(), Error> {
    let db = Database::create(path, config(key))?;
    db.put(b"row", b"value")?;
    db.close()
}

/// Opens a database and reads its row.
pub(crate) fn open(path: &Path, key: KeySource) -> Result<(), Error> {
    let db = Database::open(path, config(key))?;
    assert_eq!(db.get(b"row")?.as_deref(), Some(&b"value"[..]));
    db.close()
}

/// Making a database fails, and leaves no file.
pub(crate) fn fails_to_create(folder: &Path, key: KeySource) -> Error {
    let path = folder.join("never");
    let error = create(&path, key).expect_err("it cannot be created");
    assert_eq!(contents(&path), BTreeMap::new(), "files were left after {error}");
    error
}

/// Opening a database fails, and changes no file.
pub(crate) fn fails_to_open(path: &Path, key: KeySource) -> Error {
    let before = contents(path);
    let error = open(path, key).expect_err("it does not open");
    assert!(contents(path) == before, "files changed after {error}");
    error
}

/// All files below a folder, and what is in them.
pub(crate) fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let Ok(entries) = fs::read_dir(folder) else { return BTreeMap::new() };
    let mut files = BTreeMap::new();
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(contents(&path));
        } else {
            files.insert(path.clone(), fs::read(&path).expect("a file"));
        }
    }
    files
}

/// A database's life with a key: made, opened, opened by a passphrase beside it; wrapped anew, data key and
/// master key rotated.
pub(crate) fn life(folder: &Path, uri: &str) {
    let path = folder.join("life");
    create(&path, key(uri)).expect("created");
    open(&path, key(uri)).expect("opened");

    let db = Database::open(&path, config(key(uri))).expect("opened");
    db.add_key(KeySource::passphrase("for recovery"), "recovery").expect("a second slot");
    db.add_key(key(uri), "again").expect("a slot of the same key");
    db.remove_key(db.key_slots()[0].id).expect("the first slot is not needed any more");
    let slot = db.key_slots().into_iter().find(|slot| slot.label == "again").expect("a slot").id;
    db.rewrap_key(slot, key(uri)).expect("wrapped anew");
    db.rotate_data_key().expect("rotated");
    db.rotate_master_key(&[key(uri), KeySource::passphrase("for recovery")], &[])
        .expect("another master key");
    db.close().expect("closed");
    open(&path, key(uri)).expect("opened by the service");
    open(&path, KeySource::passphrase("for recovery")).expect("opened without the service");
}

/// A secret in a file that only its owner can read.
pub(crate) fn secret_file(path: &Path, secret: &str) -> PathBuf {
    fs::write(path, secret).expect("a secret");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("made private");
    path.to_path_buf()
}

/// Runs a program that must succeed.
pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{command:?} does not start ({error}): `cargo xtask test` installs what is needed")
    });
    assert!(output.status.success(), "{command:?}: {output:?}");
    output
}

type Change = dyn Fn(&SlotContext, WrappedKey) -> WrappedKey + Send + Sync;

/// A provider whose wrapped keys are changed on the way back to it, and kept for whoever wants to put them elsewhere.
pub(crate) struct Meddling {
    inner: Arc<dyn KeyProvider>,
    change: Box<Change>,
    wrapped: Mutex<Option<WrappedKey>>,
}

impl Meddling {
    /// `change` is done to each wrapped key before it is unwrapped.
    pub(crate) fn with(
        key: &KeySource,
        change: impl Fn(&SlotContext, WrappedKey) -> WrappedKey + Send + Sync + 'static,
    ) -> Arc<Self> {
        let inner = key.resolve().expect("a key").expect("a provider");
        Arc::new(Self { inner, change: Box::new(change), wrapped: Mutex::new(None) })
    }

    /// What was wrapped last.
    pub(crate) fn wrapped(&self) -> WrappedKey {
        self.wrapped.lock().expect("a lock").clone().expect("something was wrapped")
    }
}

impl std::fmt::Debug for Meddling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

impl KeyProvider for Meddling {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn wrap(
        &self,
        ctx: &SlotContext,
        key: &SecretKey,
        entropy: &dyn Entropy,
    ) -> Result<WrappedKey, CryptoError> {
        let wrapped = self.inner.wrap(ctx, key, entropy)?;
        *self.wrapped.lock().expect("a lock") = Some(wrapped.clone());
        Ok(wrapped)
    }

    fn unwrap(&self, ctx: &SlotContext, wrapped: &WrappedKey) -> Result<SecretKey, CryptoError> {
        self.inner.unwrap(ctx, &(self.change)(ctx, wrapped.clone()))
    }
}

/// The errors for changed and moved wrapped keys. `named_anew` is what a wrapped key of another database gives whose
/// clear part was made to name this one.
pub(crate) fn meddling_is_noticed(folder: &Path, uri: &str, named_anew: &str) {
    meddling_from(0, folder, uri, named_anew);
}

/// As [`meddling_is_noticed`]; the first bytes of a wrapped key are the service's own, and only choose between errors.
pub(crate) fn meddling_from(begin: usize, folder: &Path, uri: &str, named_anew: &str) {
    let (one, two) = (folder.join("one"), folder.join("two"));
    let first = Meddling::with(&key(uri), |_, wrapped| wrapped);
    create(&one, KeySource::provider(Arc::clone(&first) as _)).expect("created");
    create(&two, key(uri)).expect("created");

    let wrapped = first.wrapped();
    for at in [begin, wrapped.bytes.len() / 2, wrapped.bytes.len() - 1] {
        let changed = Meddling::with(&key(uri), move |_, mut wrapped| {
            wrapped.bytes[at] = if wrapped.bytes[at] == b'A' { b'B' } else { b'A' };
            wrapped
        });
        let error = fails_to_open(&one, KeySource::provider(changed));
        assert_eq!(error.kind(), "key_tampered", "byte {at}: {error}");
    }

    let stranger = wrapped.clone();
    let moved = Meddling::with(&key(uri), move |_, _| stranger.clone());
    let error = fails_to_open(&two, KeySource::provider(moved));
    assert_eq!(error.kind(), "wrong_database", "{error}");

    let renamed = Meddling::with(&key(uri), move |ctx, _| {
        let mut stranger = wrapped.clone();
        stranger.params[1..17].copy_from_slice(ctx.database.as_bytes());
        stranger
    });
    let error = fails_to_open(&two, KeySource::provider(renamed));
    assert_eq!(error.kind(), named_anew, "{error}");
    open(&one, key(uri)).expect("still good");
    open(&two, key(uri)).expect("still good");
}
