//! Modules that are loaded. A process initializes each of them once, whoever uses it: this is a rule
//! of PKCS#11, and the reason for state that belongs to the process.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError},
    thread,
    time::{Duration, Instant},
};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
};

static LOADED: Mutex<BTreeMap<PathBuf, Arc<Module>>> = Mutex::new(BTreeMap::new());

const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A loaded module.
pub(super) struct Module {
    pub(super) context: Pkcs11,
    /// Being logged in is a state of the process, not of a session. One at a time, or somebody with a
    /// wrong PIN would use the login of somebody with the right one.
    turn: Mutex<()>,
}

/// The module at `path`, initialized.
pub(super) fn load(path: &Path) -> Result<Arc<Module>, Error> {
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(module) = loaded.get(path) {
        return Ok(Arc::clone(module));
    }
    let module = Arc::new(Module { context: Pkcs11::new(path)?, turn: Mutex::new(()) });
    module.initialize()?;
    loaded.insert(path.into(), Arc::clone(&module));
    Ok(module)
}

impl Module {
    /// Initializes the module, unless somebody did. It is never finalized: others in the process may use it.
    pub(super) fn initialize(&self) -> Result<(), Error> {
        match self.context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(()),
            outcome => outcome,
        }
    }

    /// Waits until nobody else uses the module; nothing if that takes until `deadline`.
    pub(super) fn take_turn(&self, deadline: Instant) -> Option<MutexGuard<'_, ()>> {
        loop {
            match self.turn.try_lock() {
                Ok(guard) => return Some(guard),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(POLL_INTERVAL),
                Err(TryLockError::WouldBlock) => return None,
            }
        }
    }
}
