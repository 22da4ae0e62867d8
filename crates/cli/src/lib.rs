//! `lightning-cli`: databases of lightning_db from a terminal or a script.
//!
//! ```text
//! arguments.rs   what can be typed            commands/   one file for each command
//! session.rs     key, configuration, opening  output/     text and JSON, progress
//! failure.rs     errors and exit statuses     bytes.rs    keys and values as text
//! files.rs       the user's own files
//! ```

mod arguments;
mod bytes;
mod commands;
mod failure;
mod files;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod key;
mod output;
mod session;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use arguments::Cli;
use failure::Failure;
use output::Output;
use session::Session;

/// Does what the command line says, and returns the exit status.
#[must_use]
pub fn run() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error, &arguments),
    };
    let output = Output::new(cli.global.json, cli.global.quiet);
    let outcome = Session::new(cli.global, output).and_then(|session| cli.command.run(&session));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.failure(&failure);
            failure.status()
        }
    }
}

/// What cannot be parsed: help and version are no errors, everything else is wrong usage.
fn refuse(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    let wants_json = arguments.iter().any(|argument| argument == "--json");
    if error.use_stderr() && wants_json {
        let failure = Failure::Usage(error.render().to_string().trim().to_owned());
        Output::new(true, false).failure(&failure);
        return failure.status();
    }
    // Where help cannot be written to, nothing else can be either.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}
