//! What must hold for all bytes that are read from a database's files. Built for fuzzing and tests only.
//!
//! Some targets take the part of somebody without the key, who can write any bytes into the files: nothing that was
//! changed may be taken for what was written. The others take the part of somebody with it, or of a writer with a bug:
//! what is read may be anything, and reading must neither panic, nor run for ever, nor take memory without bound.

mod compression;
mod page;
#[path = "../../../fuzz/shared/mod.rs"]
mod shared;
pub(crate) mod structures;
mod tree;

pub use shared::Target;
pub(crate) use shared::{Input, edit, flips};

pub use crate::manifest::fuzzing::{MANIFEST, MANIFEST_BODY};
pub use crate::segment::fuzzing::{SEGMENT, SEGMENT_CONTENT};
pub use crate::wal::fuzzing::{ARCHIVE_PIECE, LOG, LOG_CONTENT, LOG_RECORDS};
pub use compression::COMPRESSION;
pub use page::PAGE;
pub use structures::{FILE_NAME, FILTER, STRUCTURES};
pub use tree::TREE;

/// All targets of this crate.
pub const TARGETS: &[Target] = &[
    ARCHIVE_PIECE,
    COMPRESSION,
    FILE_NAME,
    FILTER,
    LOG,
    LOG_CONTENT,
    LOG_RECORDS,
    MANIFEST,
    MANIFEST_BODY,
    PAGE,
    SEGMENT,
    SEGMENT_CONTENT,
    STRUCTURES,
    TREE,
];

#[cfg(test)]
#[test]
fn targets_hold_for_what_was_found_before() {
    shared::replay(TARGETS);
}
