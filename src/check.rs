//! Checking that a database's files are all that they should be.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use lightning_db_crypto::KeySource;
pub use lightning_db_recovery::check::{
    CheckReport, Covered as CheckCovered, Depth as CheckDepth, Finding as CheckFinding, Phase as CheckPhase,
    Progress as CheckProgress, Severity as CheckSeverity,
};
use lightning_db_recovery::check::{Place, check_directory};
use lightning_db_storage::StorageError;

use crate::database::Database;
use crate::engine::{lock_for_reading, tell_use};
use crate::environment::Environment;
use crate::error::{Error, Result};

/// Told how far a check is; false stops it.
pub type CheckWatch = Arc<dyn Fn(CheckProgress) -> bool + Send + Sync>;

/// How [`check`] goes about it.
#[derive(Clone)]
pub struct CheckOptions {
    /// How much is read.
    pub depth: CheckDepth,
    /// The key of the database; [`KeySource::none`] if it is not encrypted.
    pub encryption_key: KeySource,
    /// Told how far it is.
    pub progress: Option<CheckWatch>,
}

impl Default for CheckOptions {
    fn default() -> Self {
        Self { depth: CheckDepth::Deep, encryption_key: KeySource::none(), progress: None }
    }
}

impl fmt::Debug for CheckOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckOptions").field("depth", &self.depth).finish_non_exhaustive()
    }
}

/// Checks a database that nobody has open, and writes nothing. It does not stop at the first damage: all that is found is
/// in the report.
///
/// # Errors
/// `NotFound` when there is no database; `Locked` when somebody has it open ([`Database::check`] is for that);
/// `WrongKey`, `KeyRequired`, `NotEncrypted`; `UnsupportedFormat`; `Cancelled`.
///
/// ```
/// use lightning_db::{CheckOptions, Database, LightningDbConfig, check};
///
/// # fn main() -> lightning_db::Result<()> {
/// # let directory = tempfile::tempdir().expect("a temporary directory");
/// # let path = directory.path().join("mydb");
/// let db = Database::create(&path, LightningDbConfig::default())?;
/// db.put(b"key", b"value")?;
/// db.close()?;
/// let report = check(&path, &CheckOptions::default())?;
/// assert!(report.is_sound());
/// assert_eq!(report.covered.entries, 1);
/// # Ok(())
/// # }
/// ```
pub fn check(path: impl AsRef<Path>, options: &CheckOptions) -> Result<CheckReport> {
    check_in(&Environment::default(), path, options)
}

/// As [`check`], in an environment of the caller's choice.
///
/// # Errors
/// As [`check`].
pub fn check_in(
    environment: &Environment,
    path: impl AsRef<Path>,
    options: &CheckOptions,
) -> Result<CheckReport> {
    let path = path.as_ref();
    let _lock = lock_for_reading(&*environment.vfs, path)?;
    let provider = options.encryption_key.resolve()?;
    let place = Place {
        vfs: Arc::clone(&environment.vfs),
        directory: path,
        provider: provider.as_deref(),
        clock: Arc::clone(&environment.clock),
        entropy: Arc::clone(&environment.entropy),
    };
    let watch = |progress| options.progress.as_ref().is_none_or(|watch| watch(progress));
    let checked = check_directory(&place, options.depth, &watch).map_err(|error| match error {
        StorageError::Crypto(error) => Error::from_crypto(error, path),
        StorageError::NotFound { .. } => {
            Error::NotFound { what: format!("a database in {}", path.display()) }
        }
        error => error.into(),
    });
    tell_use(path, "checked", &checked);
    checked
}

impl Database {
    /// Checks the files of this database while it is in use, as of the moment of the call. All that is found is in the
    /// report.
    ///
    /// # Errors
    /// `Closed`.
    pub fn check(&self, depth: CheckDepth) -> Result<CheckReport> {
        self.engine.check_files(depth, &|_| true)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use lightning_db_crypto::SeededEntropy;
    use lightning_db_storage::clock::ManualClock;
    use lightning_db_storage::vfs::{FaultPlan, FaultyVfs, MemVfs, Vfs};

    use super::*;
    use crate::config::LightningDbConfig;

    const PATH: &str = "/db";

    fn environment(memory: &MemVfs, plan: FaultPlan) -> Environment {
        Environment {
            vfs: Arc::new(FaultyVfs::over_memory(memory.clone(), plan)),
            clock: Arc::new(ManualClock::new(1_000_000)),
            entropy: Arc::new(SeededEntropy::new(3)),
        }
    }

    fn config() -> LightningDbConfig {
        LightningDbConfig {
            encryption_enabled: true,
            encryption_key: KeySource::raw([4; 32]),
            background_compaction: false,
            page_size: 1024,
            ..LightningDbConfig::default()
        }
    }

    fn check_closed(memory: &MemVfs, key: u8) -> Result<CheckReport> {
        let options = CheckOptions { encryption_key: KeySource::raw([key; 32]), ..CheckOptions::default() };
        check_in(&environment(memory, FaultPlan::new()), PATH, &options)
    }

    /// Several rounds of writes, deletes and large values, some merged into the base, the last in the log only.
    fn fill(db: &Database) {
        for round in 0..6_u32 {
            for n in (round % 3..2000).step_by(3) {
                db.put(&n.to_be_bytes(), format!("value {n} of round {round}").as_bytes()).expect("put");
            }
            for n in (0..2000_u32).step_by(17) {
                db.delete(&(n + round).to_be_bytes()).expect("deleted");
            }
            db.put(&[b'x', round as u8 % 4], &vec![round as u8; 200_000]).expect("put");
            if round < 5 {
                db.engine.flush_all().expect("flushed");
            }
            if round == 3 {
                db.engine.compact().expect("merged");
            }
        }
    }

    #[test]
    fn a_database_is_sound_in_use_closed_and_after_a_kill() {
        for kill in [false, true] {
            let memory = MemVfs::new();
            let plan = FaultPlan::new();
            let db =
                Database::create_in(environment(&memory, plan.clone()), PATH, config()).expect("created");
            assert_eq!(db.check(CheckDepth::Deep).expect("checked").findings, []);
            fill(&db);
            for depth in [CheckDepth::Quick, CheckDepth::Deep] {
                let report = db.check(depth).expect("checked");
                assert_eq!(report.findings, []);
                assert!(report.covered.trees > 1 && report.covered.log_commits > 100, "{:?}", report.covered);
            }
            assert!(matches!(check_closed(&memory, 4), Err(Error::Locked { .. })));
            if kill {
                plan.crash_at(0);
                drop(db);
                memory.kill_process();
            } else {
                db.close().expect("closed");
                assert!(matches!(db.check(CheckDepth::Quick), Err(Error::Closed)));
                drop(db);
            }
            let report = check_closed(&memory, 4).expect("checked");
            let orphans = report.findings.iter().all(|finding| finding.what.contains("orphan"));
            assert!(report.is_sound() && orphans && (kill || report.findings.is_empty()), "{report:#?}");
            assert!(report.covered.extents > 0 && report.covered.filter_keys > 0);
        }
    }

    #[test]
    fn a_flipped_byte_is_found_in_use_and_closed_and_a_wrong_key_is_none() {
        let memory = MemVfs::new();
        let db =
            Database::create_in(environment(&memory, FaultPlan::new()), PATH, config()).expect("created");
        fill(&db);
        db.close().expect("closed");
        drop(db);
        assert!(matches!(check_closed(&memory, 5), Err(Error::WrongKey { .. })));
        let db = Database::open_in(environment(&memory, FaultPlan::new()), PATH, config()).expect("opened");
        let base = memory.files().into_iter().find(|path| path.extension().is_some_and(|end| end == "base"));
        let base = base.expect("there is a base");
        memory.corrupt(&base, 4000, 1).expect("in the file");
        let report = db.check(CheckDepth::Deep).expect("checked");
        assert!(!report.is_sound() && report.findings.iter().any(|finding| finding.file == base));
        drop(db);
        assert!(!check_closed(&memory, 4).expect("checked").is_sound());
        memory.remove_file(&base).expect("removed");
        let report = check_closed(&memory, 4).expect("checked");
        assert!(report.findings.iter().any(|finding| finding.what.contains("missing")));
    }

    #[test]
    fn nothing_is_found_wrong_while_others_write_flush_and_merge() {
        let memory = MemVfs::new();
        let config = LightningDbConfig {
            background_compaction: true,
            write_buffer_size: 256 << 10,
            wal_segment_size: 1 << 20,
            ..config()
        };
        let db = Database::create_in(environment(&memory, FaultPlan::new()), PATH, config).expect("created");
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in (0..30_000_u32).take_while(|n| *n < 12_000 || !done.load(Ordering::Relaxed)) {
                    let len = if n % 3000 == 7 { 100_000 } else { 100 };
                    db.put(&(n.wrapping_mul(2_654_435_761) % 5000).to_be_bytes(), &vec![1; len])
                        .expect("put");
                }
                done.store(true, Ordering::Relaxed);
            });
            let mut checks = 0;
            while checks < 8 && !(checks > 0 && done.load(Ordering::Relaxed)) {
                let report = db.check(CheckDepth::Deep).expect("checked");
                done.fetch_or(!report.findings.is_empty(), Ordering::Relaxed);
                assert_eq!(report.findings, []);
                checks += 1;
            }
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(db.check(CheckDepth::Deep).expect("checked").findings, []);
        assert!(db.engine.catalog.read(|manifest| manifest.next_run) > 5, "several runs came meanwhile");
    }

    #[test]
    fn nothing_and_something_else_are_not_a_database() {
        let memory = MemVfs::new();
        assert!(matches!(check_closed(&memory, 4), Err(Error::NotFound { .. })));
        memory.create_dir(PATH.as_ref()).expect("created");
        assert!(matches!(check_closed(&memory, 4), Err(Error::NotFound { .. })));
        let memory = MemVfs::new();
        let db =
            Database::create_in(environment(&memory, FaultPlan::new()), PATH, config()).expect("created");
        drop(db);
        let stopped = CheckOptions {
            encryption_key: KeySource::raw([4; 32]),
            progress: Some(Arc::new(|progress: CheckProgress| progress.phase != CheckPhase::Log)),
            ..CheckOptions::default()
        };
        let stopped = check_in(&environment(&memory, FaultPlan::new()), PATH, &stopped);
        assert!(matches!(stopped, Err(Error::Cancelled)));
    }
}
