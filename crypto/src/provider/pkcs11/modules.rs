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
use zeroize::Zeroizing;

/// Locked to look something up, never while a module is called: one that hangs is to stop nobody who uses another one.
static LOADED: Mutex<BTreeMap<PathBuf, Arc<Place>>> = Mutex::new(BTreeMap::new());

/// Where a module is, once somebody has loaded it.
type Place = Mutex<Option<Arc<Module>>>;

const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A loaded module.
pub(super) struct Module {
    pub(super) context: Pkcs11,
    /// Being logged in is a state of the process, not of a session. One at a time, or somebody with a
    /// wrong PIN would use the login of somebody with the right one.
    turn: Mutex<()>,
}

/// The module at `path`, initialized; nothing if somebody else is loading it until `deadline`.
pub(super) fn load(path: &Path, deadline: Instant) -> Result<Option<Arc<Module>>, Error> {
    let place = {
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(loaded.entry(path.into()).or_default())
    };
    let Some(mut place) = lock_until(&place, deadline) else { return Ok(None) };
    if let Some(module) = &*place {
        return Ok(Some(Arc::clone(module)));
    }
    let module = Arc::new(Module { context: Pkcs11::new(path)?, turn: Mutex::new(()) });
    module.initialize()?;
    *place = Some(Arc::clone(&module));
    Ok(Some(module))
}

fn lock_until<T>(mutex: &Mutex<T>, deadline: Instant) -> Option<MutexGuard<'_, T>> {
    loop {
        match mutex.try_lock() {
            Ok(guard) => return Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(POLL_INTERVAL),
            Err(TryLockError::WouldBlock) => return None,
        }
    }
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
        lock_until(&self.turn, deadline)
    }
}

/// The PINs that tokens have refused last, by module and serial number. A second try of one could lock the token, whoever in
/// this process tries it.
static REFUSED: Mutex<BTreeMap<(PathBuf, String), Zeroizing<String>>> = Mutex::new(BTreeMap::new());

/// Whether this token has refused this PIN already.
pub(super) fn is_refused(module: &Path, serial: &str, pin: &str) -> bool {
    let refused = REFUSED.lock().unwrap_or_else(PoisonError::into_inner);
    refused.get(&(module.into(), serial.into())).is_some_and(|refused| **refused == *pin)
}

/// This token has refused this PIN.
pub(super) fn remember_refused(module: &Path, serial: &str, pin: Zeroizing<String>) {
    let mut refused = REFUSED.lock().unwrap_or_else(PoisonError::into_inner);
    refused.insert((module.into(), serial.into()), pin);
}
