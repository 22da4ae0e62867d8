//! The program with the system's allocator; it starts the children, and is the child of those that keep this allocator.

use std::process::ExitCode;

fn main() -> ExitCode {
    lightning_db_bench::run()
}
