//! What must hold whatever the files of a database, of a repository or of a configuration hold. Built for fuzzing and
//! tests only.

mod database;
mod repository;
mod sample;
#[path = "../../fuzz/shared/mod.rs"]
mod shared;

pub use shared::Target;
pub(crate) use shared::{Input, edit};

pub use crate::config::fuzzing::{CONFIG_FILE, CONFIG_VALUES};
pub use crate::memtable::fuzzing::VERSIONS;
pub use database::{DATABASE, DATABASE_MANIFEST};
pub use repository::REPOSITORY_FILES;

/// All targets of this crate.
pub const TARGETS: &[Target] =
    &[CONFIG_FILE, CONFIG_VALUES, DATABASE, DATABASE_MANIFEST, REPOSITORY_FILES, VERSIONS];

#[cfg(test)]
#[test]
fn targets_hold_for_what_was_found_before() {
    shared::replay(TARGETS);
}
