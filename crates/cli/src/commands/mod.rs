//! The commands, one a file.

pub(crate) mod backup;
pub(crate) mod backups;
pub(crate) mod check;
pub(crate) mod compact;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod export;
pub(crate) mod get;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod keys;
pub(crate) mod put;
pub(crate) mod restore;
pub(crate) mod restore_point;
pub(crate) mod scan;
pub(crate) mod stats;
pub(crate) mod verify;
