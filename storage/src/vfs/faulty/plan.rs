//! Which calls fail, and how.

use std::error::Error;
use std::fmt::{self, Debug, Display, Formatter};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::vfs::{CallCounts, CallKind};

/// Decides for each call of a [`FaultyVfs`](super::FaultyVfs) whether it fails; counts and
/// records the calls. Clones share it, so a test keeps one to change its mind later.
#[derive(Clone, Default)]
pub struct FaultPlan {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    faults: Vec<Fault>,
    /// Mutating calls that still go through before the crash.
    crash_after: Option<u64>,
    /// What a write that the crash strikes still writes.
    crash_tear: Option<u64>,
    strikes: u64,
    first_strike: Option<Call>,
    crashed: bool,
    counts: CallCounts,
    mutating: u64,
    trace: Option<Vec<Call>>,
}

/// One thing that goes wrong: the next call of the chosen kind, unless told otherwise.
#[derive(Debug, Clone)]
pub struct Fault {
    calls: Calls,
    effect: Effect,
    skip: u64,
    lasting: bool,
    path_part: Option<String>,
}

/// A set of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calls {
    /// All that can change what a power cut would leave, syncs included.
    Mutating,
    /// Syncs of files and of directories.
    Syncs,
    /// Reads of file content, maps included.
    Reads,
    /// One kind.
    Only(CallKind),
}

/// What happens to a call. A fault lets calls pass to which its effect cannot happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The call is not made and returns this error. `Unsupported` on
    /// [`CallKind::MapWrite`] is a file system that refuses maps.
    Fail(ErrorKind),
    /// A write of more than four bytes writes its first half, a shorter one nothing, and returns this error.
    TearWrite(ErrorKind),
    /// A write of more than four bytes writes only so many of them, counted round, and returns this error.
    ShortWrite {
        /// How many bytes.
        bytes: u64,
        /// The error.
        error: ErrorKind,
    },
    /// A write does nothing, and says that it succeeded.
    IgnoreWrite,
    /// A write goes elsewhere, over what is there, and says that it succeeded.
    MisdirectWrite(Elsewhere),
    /// A read returns what is elsewhere.
    MisdirectRead(Elsewhere),
    /// A read returns what was there before the newest write; where that is not known, what is in the file that this one
    /// replaced by a rename. Only over a [`MemVfs`](crate::vfs::MemVfs); others return what is there.
    StaleRead,
    /// The sync of a file returns this error, and what it should have synced will never
    /// reach the disk, though reads still see it; only over a [`MemVfs`](crate::vfs::MemVfs).
    LoseWrites(ErrorKind),
    /// As [`LoseWrites`](Self::LoseWrites), and reads do not see it either.
    DropWrites(ErrorKind),
    /// A `read_at` returns only half of what it could.
    ShortRead,
    /// This bit of what a read returns is flipped, counted round when it is shorter.
    FlipBit(u64),
}

/// The wrong place for a read or write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Elsewhere {
    /// So many bytes further on, counted round the file or the map.
    Offset(u64),
    /// The same offset, counted round, of this one of the other files, counted round; those with the same ending are
    /// taken first. Only over a [`MemVfs`](crate::vfs::MemVfs); in others the call goes where it should.
    File(u64),
}

/// One recorded call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// What was called.
    pub kind: CallKind,
    /// The path it was given, or under which its file was opened.
    pub path: PathBuf,
    /// The second path of a rename or link.
    pub to: Option<PathBuf>,
    /// Where in the file or map, in bytes; zero when that means nothing.
    pub offset: u64,
    /// How many bytes; zero when that means nothing.
    pub len: u64,
}

/// The error of every call from a planned crash on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InjectedCrash;

impl InjectedCrash {
    /// Whether `error` comes from a planned crash.
    #[must_use]
    pub fn caused(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|source| source.is::<Self>())
    }
}

impl Display for InjectedCrash {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("injected crash")
    }
}

impl Error for InjectedCrash {}

impl Fault {
    /// `effect` on the next one of `calls`.
    #[must_use]
    pub fn new(calls: Calls, effect: Effect) -> Self {
        Self { calls, effect, skip: 0, lasting: false, path_part: None }
    }

    /// Lets `count` calls pass first.
    #[must_use]
    pub fn after(mut self, count: u64) -> Self {
        self.skip = count;
        self
    }

    /// Strikes all later calls too, not one only.
    #[must_use]
    pub fn lasting(mut self) -> Self {
        self.lasting = true;
        self
    }

    /// Only calls with a path that contains `part`; of a rename or link, either path.
    #[must_use]
    pub fn on(mut self, part: &str) -> Self {
        self.path_part = Some(part.to_owned());
        self
    }

    fn strikes(&self, call: &Call) -> bool {
        let mut paths = call.to.iter().chain([&call.path]);
        let mut here = |part: &String| paths.any(|path| path.to_string_lossy().contains(part.as_str()));
        self.calls.contain(call.kind)
            && self.effect.fits(call.kind)
            && self.path_part.as_ref().is_none_or(&mut here)
    }
}

impl Calls {
    /// Whether calls of this kind are among them.
    #[must_use]
    pub fn contain(self, kind: CallKind) -> bool {
        match self {
            Self::Mutating => kind.is_mutating(),
            Self::Syncs => kind.is_sync(),
            Self::Reads => kind.is_read(),
            Self::Only(only) => kind == only,
        }
    }
}

impl Effect {
    fn fits(self, kind: CallKind) -> bool {
        match self {
            Self::Fail(_) => true,
            Self::TearWrite(_) | Self::ShortWrite { .. } => {
                matches!(kind, CallKind::Write | CallKind::MapStore)
            }
            Self::IgnoreWrite | Self::MisdirectWrite(_) => {
                matches!(kind, CallKind::Write | CallKind::MapStore | CallKind::MapPublish)
            }
            Self::LoseWrites(_) | Self::DropWrites(_) => {
                matches!(kind, CallKind::SyncData | CallKind::SyncAll)
            }
            Self::ShortRead => kind == CallKind::Read,
            Self::FlipBit(_) | Self::MisdirectRead(_) | Self::StaleRead => kind.is_read(),
        }
    }
}

impl FaultPlan {
    /// A plan in which nothing fails.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a fault. Of several that strike one call, the first added wins.
    pub fn add(&self, fault: Fault) {
        self.state.lock().faults.push(fault);
    }

    /// After `count` more mutating calls the machine stops: the next one and every call
    /// after it, reads too, fail with [`InjectedCrash`]. A write that is struck writes its
    /// first half, or nothing if it is of four bytes or fewer. What the disk then holds is up to the
    /// file system below, such as [`MemVfs::crash`](crate::vfs::MemVfs::crash).
    pub fn crash_at(&self, count: u64) {
        self.state.lock().crash_after = Some(count);
    }

    /// As [`crash_at`](Self::crash_at), but a write that is struck writes its first `bytes` bytes, counted round: none
    /// to all of them.
    pub fn crash_at_byte(&self, count: u64, bytes: u64) {
        let mut state = self.state.lock();
        state.crash_after = Some(count);
        state.crash_tear = Some(bytes);
    }

    /// Whether the planned crash has happened.
    #[must_use]
    pub fn crashed(&self) -> bool {
        self.state.lock().crashed
    }

    /// How many calls were struck by faults since the beginning.
    #[must_use]
    pub fn strikes(&self) -> u64 {
        self.state.lock().strikes
    }

    /// The first call that was struck by a fault.
    #[must_use]
    pub fn first_strike(&self) -> Option<Call> {
        self.state.lock().first_strike.clone()
    }

    /// Takes all faults away, the crash too. Counts and recorded calls stay.
    pub fn clear(&self) {
        let mut state = self.state.lock();
        state.faults.clear();
        state.crash_after = None;
        state.crash_tear = None;
        state.crashed = false;
    }

    /// Calls and bytes since the beginning; calls that failed are counted.
    #[must_use]
    pub fn counts(&self) -> CallCounts {
        self.state.lock().counts.clone()
    }

    /// How many mutating calls there were: the limit of useful [`crash_at`](Self::crash_at).
    #[must_use]
    pub fn mutating_calls(&self) -> u64 {
        self.state.lock().mutating
    }

    /// Starts recording calls.
    pub fn record(&self) {
        self.state.lock().trace.get_or_insert_default();
    }

    /// The calls recorded since [`record`](Self::record) or the last time this was asked.
    #[must_use]
    pub fn take_trace(&self) -> Vec<Call> {
        self.state.lock().trace.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Decides about a call. `Ok` carries what the caller has to do beside making it.
    pub(super) fn decide(&self, call: Call) -> io::Result<Option<Effect>> {
        let mut state = self.state.lock();
        state.counts.add(call.kind);
        state.mutating += u64::from(call.kind.is_mutating());
        if let Some(trace) = &mut state.trace {
            trace.push(call.clone());
        }
        if state.crashed {
            return Err(crash());
        }
        if call.kind.is_mutating() && state.crashes_now() {
            let torn = match state.crash_tear {
                None => Effect::TearWrite(ErrorKind::Other),
                Some(bytes) => Effect::ShortWrite { bytes, error: ErrorKind::Other },
            };
            return if torn.fits(call.kind) { Ok(Some(torn)) } else { Err(crash()) };
        }
        match state.strike(&call) {
            Some(Effect::Fail(kind)) => Err(injected(kind, &call.path)),
            effect => Ok(effect),
        }
    }

    /// The error of a call that was struck by a failing effect.
    pub(super) fn error(&self, kind: ErrorKind, path: &Path) -> io::Error {
        if self.crashed() { crash() } else { injected(kind, path) }
    }

    pub(super) fn count_bytes(&self, read: usize, written: usize) {
        let mut state = self.state.lock();
        state.counts.bytes_read += read as u64;
        state.counts.bytes_written += written as u64;
    }
}

impl Debug for FaultPlan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultPlan").field("faults", &self.state.lock().faults).finish_non_exhaustive()
    }
}

impl State {
    fn crashes_now(&mut self) -> bool {
        match &mut self.crash_after {
            None => return false,
            Some(0) => self.crashed = true,
            Some(left) => *left -= 1,
        }
        self.crashed
    }

    fn strike(&mut self, call: &Call) -> Option<Effect> {
        let mut struck = None;
        for (index, fault) in self.faults.iter_mut().enumerate().filter(|(_, fault)| fault.strikes(call)) {
            if fault.skip > 0 {
                fault.skip -= 1;
            } else {
                struck = struck.or(Some(index));
            }
        }
        let index = struck?;
        self.strikes += 1;
        self.first_strike.get_or_insert_with(|| call.clone());
        let effect = self.faults[index].effect;
        if !self.faults[index].lasting {
            self.faults.remove(index);
        }
        Some(effect)
    }
}

fn crash() -> io::Error {
    io::Error::other(InjectedCrash)
}

fn injected(kind: ErrorKind, path: &Path) -> io::Error {
    io::Error::new(kind, format!("injected fault at {}", path.display()))
}
