//! The program; see the library beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    lightning_cli::run()
}
