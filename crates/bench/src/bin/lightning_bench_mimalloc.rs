//! The same program with mimalloc instead of the system's allocator, for C and C++ code too.

use std::process::ExitCode;

// Brings in the archive in which `malloc` and its kin are mimalloc's; naming it is what links it.
use libmimalloc_sys as _;

fn main() -> ExitCode {
    lightning_db_bench::run()
}
