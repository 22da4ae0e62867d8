//! No row and no key, in any form, is in a file of a database or of a repository, or in anything that a program shows.

mod files;
mod shown;
#[path = "../support/mod.rs"]
mod support;
