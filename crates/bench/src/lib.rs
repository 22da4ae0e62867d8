//! Measures lightning_db beside other embedded databases: the same data, the same cache, the same durability, in turns.
//!
//! The parent process starts one child for each engine, with the allocator that it is to have, and tells them in turns to
//! run one row of the matrix at a time; so what disturbs the machine disturbs all alike, and what a process has in memory
//! is one engine's.

pub mod child;
pub mod conductor;
pub mod data;
pub mod engine;
pub mod matrix;
pub mod measure;
pub mod options;
pub mod regress;
pub mod report;
pub mod workload;

use std::process::ExitCode;

use clap::Parser;

use crate::options::{Command, Options};

/// What goes wrong, in words: the program shows it and goes on with the next row.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// A result with the program's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// The program, whichever allocator it is linked with.
#[must_use]
pub fn run() -> ExitCode {
    let options = Options::parse();
    let outcome = match &options.command {
        Some(Command::Child(child)) => child::serve(child),
        Some(Command::Crash(crash)) => workload::open::write_and_die(crash),
        Some(Command::Report(report)) => report::again(report),
        Some(Command::Regress) => regress::run(&options),
        None => conductor::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lightning_bench: {error}");
            ExitCode::FAILURE
        }
    }
}
