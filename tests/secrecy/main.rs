//! No row and no key, in any form, is in a file of a database or of a repository, or in anything that a program shows.

mod files;
#[cfg(unix)]
mod key_files;
#[cfg(target_os = "linux")]
mod memory;
mod shown;
#[path = "../support/mod.rs"]
mod support;
