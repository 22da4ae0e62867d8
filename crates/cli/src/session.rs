//! What all commands share: the key, the configuration, and how a database is opened.

use std::path::Path;
use std::sync::Arc;

use lightning_db::logging::{self, LevelFilter};
use lightning_db::{Database, Error, KeySource, LightningDbConfig};

use crate::arguments::Global;
use crate::failure::{Failure, Outcome};
use crate::key::{self, Ask};
use crate::output::Output;

/// One run of the program.
pub(crate) struct Session {
    /// Where results go.
    pub(crate) output: Output,
    key: Option<String>,
}

impl Session {
    /// Begins with what was typed before or after the command's name.
    ///
    /// # Errors
    /// `InvalidConfig` naming the variable of the environment that makes no sense.
    pub(crate) fn new(global: Global, output: Output) -> Outcome<Self> {
        let session = Self { output, key: global.key };
        let mut config = config(KeySource::none())?;
        // Logs are for people who ask for them, and a script that reads errors as JSON wants nothing else there.
        if std::env::var_os("LIGHTNING_DB_LOG_LEVEL").is_none() {
            config.log_level = if output.is_terse() { LevelFilter::Off } else { LevelFilter::Warn };
        }
        logging::init_logger_with(&config);
        Ok(session)
    }

    /// The key that was named; none if there is none.
    ///
    /// # Errors
    /// See [`key::find`].
    pub(crate) fn key(&self, ask: Ask) -> Outcome<KeySource> {
        key::find(self.key.as_deref(), ask)
    }

    /// Opens the database for reading. Nothing is written.
    ///
    /// # Errors
    /// What opening can give.
    pub(crate) fn open_read_only(&self, path: &Path) -> Outcome<Arc<Database>> {
        self.with_key(|key| Ok(Database::open_read_only(path, config(key)?)?))
    }

    /// Opens the database for reading and writing.
    ///
    /// # Errors
    /// What opening can give.
    pub(crate) fn open(&self, path: &Path) -> Outcome<Arc<Database>> {
        self.with_key(|key| Ok(Database::open(path, config(key)?)?))
    }

    /// Makes a new database. It is encrypted unless `no_encryption` says otherwise, so that nobody gets an open one
    /// by forgetting the key.
    ///
    /// # Errors
    /// `Usage` if there is neither a key nor `no_encryption`, or both; what creating can give.
    pub(crate) fn create(&self, path: &Path, no_encryption: bool) -> Outcome<Arc<Database>> {
        let key = match (no_encryption, &self.key) {
            (true, Some(_)) => {
                return Err(Failure::Usage(
                    "--key and --no-encryption contradict each other: give one of them".into(),
                ));
            }
            (true, None) => KeySource::none(),
            (false, _) => self.key(Ask::ToSet)?,
        };
        if key.is_none() && !no_encryption {
            return Err(Failure::Usage(
                "a new database needs a key: give --key URI (for example --key passphrase:prompt) or LIGHTNING_DB_KEY, \
                 or --no-encryption if everybody may read it"
                    .into(),
            ));
        }
        Ok(Database::create(path, config(key)?)?)
    }

    /// Runs `open` with the key that was named. Where none was and one is needed, whoever sits at the terminal is
    /// asked for a passphrase.
    ///
    /// # Errors
    /// Those of `open` and of [`key`](Self::key).
    pub(crate) fn with_key<T>(&self, open: impl Fn(KeySource) -> Outcome<T>) -> Outcome<T> {
        let key = self.key(Ask::ToOpen)?;
        let unnamed = key.is_none();
        match open(key) {
            Err(Failure::Database(Error::KeyRequired { .. })) if unnamed && key::can_ask() => {
                open(key::prompt(Ask::ToOpen)?)
            }
            outcome => outcome,
        }
    }
}

/// The defaults, changed by the environment, with this key.
fn config(key: KeySource) -> Outcome<LightningDbConfig> {
    Ok(LightningDbConfig::from_environment_with(key)?)
}
