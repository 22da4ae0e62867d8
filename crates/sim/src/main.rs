//! Runs one campaign; its exit status is the verdict.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use lightning_sim::sweep::{crashes, faults};
use lightning_sim::{attack, ci, isolation, power, seeds, soak};

/// Looks for the ways in which lightning_db could lose data. Exit status: 0 nothing found, 1 something found, 2 wrong usage.
#[derive(Parser)]
#[command(name = "lightning_sim", version)]
struct Arguments {
    #[command(subcommand)]
    campaign: Campaign,
}

#[derive(Subcommand)]
enum Campaign {
    /// All that CI runs: about ten minutes on two processors.
    Ci(ci::Options),
    /// The general campaign: everything at once, against a model, through crashes and faults.
    Seeds(seeds::Options),
    /// Runs one seed of the general campaign, and prints what it does.
    Replay(seeds::Replay),
    /// Runs the seeds that come on standard input.
    #[command(hide = true)]
    Worker,
    /// Crashes at every call of short workloads that changes something, and inside the recoveries after them.
    Crashes(crashes::Options),
    /// Faults in every call of short workloads, and disks that are full at every size.
    Faults(faults::Options),
    /// Concurrent transactions at each level: no anomaly that the level forbids.
    Isolation(isolation::Options),
    /// A process on a real file system whose power is cut.
    Power(power::Options),
    /// Every byte of a small database and its repository damaged, exchanged and set back.
    Attack(attack::Options),
    /// Real files and real threads for an hour: nothing may grow.
    Soak(soak::Options),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().campaign {
        Campaign::Ci(options) => ci::run(&options),
        Campaign::Seeds(options) => seeds::run(&options),
        Campaign::Replay(replay) => seeds::replay(&replay),
        Campaign::Worker => seeds::work(),
        Campaign::Crashes(options) => crashes::run(&options),
        Campaign::Faults(options) => faults::run(&options),
        Campaign::Isolation(options) => isolation::run(&options),
        Campaign::Power(options) => power::run(&options),
        Campaign::Attack(options) => attack::run(&options),
        Campaign::Soak(options) => soak::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("lightning_sim: {what}");
            ExitCode::FAILURE
        }
    }
}
