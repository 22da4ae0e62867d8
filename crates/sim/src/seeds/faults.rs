//! Calls that fail while the machine goes on.

use std::io::ErrorKind;

use lightning_db_storage::vfs::{CallKind, Calls, Effect, Fault};

use super::run::Process;
use crate::random::Random;

/// Plans what goes wrong in a process's life: one thing, once or from then on.
pub(crate) fn plan(process: &Process<'_>, random: &mut Random) {
    let faults: [(&str, Calls, Effect); 9] = [
        ("write error", Calls::Mutating, Effect::Fail(ErrorKind::Other)),
        ("full disk", Calls::Only(CallKind::Write), Effect::Fail(ErrorKind::StorageFull)),
        ("torn write", Calls::Only(CallKind::Write), Effect::TearWrite(ErrorKind::Other)),
        ("torn map", Calls::Only(CallKind::MapStore), Effect::TearWrite(ErrorKind::Other)),
        ("failed sync", Calls::Syncs, Effect::Fail(ErrorKind::Other)),
        ("lossy sync", Calls::Syncs, Effect::LoseWrites(ErrorKind::Other)),
        ("read error", Calls::Reads, Effect::Fail(ErrorKind::Other)),
        ("short read", Calls::Reads, Effect::ShortRead),
        ("flipped bit", Calls::Only(CallKind::Read), Effect::FlipBit(random.below(4096))),
    ];
    let (name, calls, effect) = *random.pick(&faults);
    let mut fault = Fault::new(calls, effect).after(random.below(*random.clone().pick(&[10, 60, 300])));
    if random.once_in(3) {
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
