//! Runs one campaign; its exit status is the verdict.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Looks for the ways in which lightning_db could lose data. Exit status: 0 nothing found, 1 something found, 2 wrong usage.
#[derive(Parser)]
#[command(name = "lightning_sim", version)]
struct Arguments {
    #[command(subcommand)]
    campaign: Campaign,
}

#[derive(Subcommand)]
enum Campaign {}

fn main() -> ExitCode {
    match Arguments::parse().campaign {}
}
