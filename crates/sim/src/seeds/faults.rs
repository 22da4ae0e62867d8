//! Calls that fail while the machine goes on, or until its power fails.

use std::io::ErrorKind;

use lightning_db_storage::vfs::{CallKind, Calls, Effect, Fault};

use super::run::Process;
use crate::random::Random;

/// The fault that whoever tries a failed sync again would not notice.
const LOG_FORGETS: &str = "sync of the log that forgets";

/// Plans what goes wrong in a process's life: one thing, once or from then on.
pub(crate) fn plan(process: &Process<'_>, random: &mut Random) {
    let forgets = Effect::LoseWrites(ErrorKind::Other);
    let faults: [(&str, Calls, Effect); 12] = [
        (LOG_FORGETS, Calls::Syncs, forgets),
        (LOG_FORGETS, Calls::Syncs, forgets),
        (LOG_FORGETS, Calls::Syncs, forgets),
        ("write error", Calls::Mutating, Effect::Fail(ErrorKind::Other)),
        ("full disk", Calls::Only(CallKind::Write), Effect::Fail(ErrorKind::StorageFull)),
        ("torn write", Calls::Only(CallKind::Write), Effect::TearWrite(ErrorKind::Other)),
        ("torn map", Calls::Only(CallKind::MapStore), Effect::TearWrite(ErrorKind::Other)),
        ("failed sync", Calls::Syncs, Effect::Fail(ErrorKind::Other)),
        ("lossy sync", Calls::Syncs, forgets),
        ("read error", Calls::Reads, Effect::Fail(ErrorKind::Other)),
        ("short read", Calls::Reads, Effect::ShortRead),
        ("flipped bit", Calls::Only(CallKind::Read), Effect::FlipBit(random.below(4096))),
    ];
    let (name, calls, effect) = *random.pick(&faults);
    let mut fault = Fault::new(calls, effect).after(random.below(*random.clone().pick(&[10, 60, 300])));
    if name == LOG_FORGETS {
        // One sync of the log fails and forgets, the next succeeds, and the power fails before long: what was
        // acknowledged in between must be there.
        fault = Fault::new(calls, effect).after(random.below(*random.clone().pick(&[4, 16, 64]))).on(".wal");
        process.plan.crash_at(random.below(*random.clone().pick(&[60, 300])));
    } else if random.once_in(3) {
        fault = fault.lasting();
    }
    if matches!(effect, Effect::FlipBit(_)) {
        // Where an unsynced log ends is told from its bytes alone: a flipped bit there is an end.
        fault = fault.on(if random.once_in(2) { ".base" } else { ".run" });
    }
    process.run.hit(&format!("fault/{name}"));
    process.run.note(&format!("fault: {name}"));
    process.plan.add(fault);
}
