//! The attack: every byte of a small database and its repository damaged, everything exchanged and set back.
//!
//! ```text
//! specimen.rs      the database: a life with something of everything in it, at several moments
//! layout.rs        what its files are for, and where blocks and frames are in them
//! bytes.rs         cases: flips, cuts, zeros, extensions, removals
//! exchange.rs      cases: blocks, frames and files that change places, or come from elsewhere or from earlier
//! case.rs          one case, and what may come of it
//! database.rs      what a damaged database does        repository.rs   what a damaged repository does
//! open.rs          bytes that change while a database is open
//! whole.rs         another database in the place of everything
//! undetectable.rs  what nobody can notice: the whole list
//! run.rs           all cases on all processors, watched
//! ```

mod bytes;
mod case;
mod damage;
mod database;
mod exchange;
mod layout;
mod open;
mod repository;
mod run;
mod specimen;
mod targets;
mod undetectable;
mod whole;

use clap::Args;

use crate::coverage::Coverage;
use run::run_cases;

/// How much is attacked.
#[derive(Debug, Args)]
pub struct Options {
    /// Every bit of every byte, every case looked at closely, instead of what fits into two minutes.
    #[arg(long)]
    pub long: bool,
    /// Only the cases whose name contains this; a failure prints the name of its case.
    #[arg(long)]
    pub only: Option<String>,
    /// What the attacked database is made of.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Attacks, and prints what was done how often.
///
/// # Errors
/// What was found, or what was done too rarely.
pub fn run(options: &Options) -> Result<(), String> {
    let made = targets::make(options.seed).map_err(|error| format!("the database to attack: {error}"))?;
    let mut cases = targets::cases(&made, options.long);
    if let Some(part) = &options.only {
        cases.retain(|case| case.to_string().contains(part.as_str()));
    }
    println!("attack: {} cases, seed {}", cases.len(), options.seed);
    let mut coverage = run_cases(&cases, options.seed)?;
    if options.only.is_none() {
        open::attack(&made, &mut coverage)?;
        whole::replace(&made.killed.story, &made.stranger, &mut coverage)?;
        require(&mut coverage);
    }
    println!("{coverage}");
    match coverage.missing().as_slice() {
        [] => Ok(()),
        missing => Err(format!("what was covered too little: {missing:?}")),
    }
}

/// What must have happened, and how often.
fn require(coverage: &mut Coverage) {
    for (name, floor) in FLOORS {
        coverage.require(name, floor);
    }
    for which in undetectable::Undetectable::ALL {
        coverage.require(&format!("not noticed/{}", which.title()), 1);
    }
}

const FLOORS: [(&str, u64); 27] = [
    ("case/cut", 15_000),
    ("case/extension", 300),
    ("case/files swapped", 100),
    ("case/flip", 30_000),
    ("case/foreign file", 100),
    ("case/foreign group", 70),
    ("case/older file", 50),
    ("case/older group", 100),
    ("case/parts grafted", 30),
    ("case/parts swapped", 500),
    ("case/removal", 50),
    ("case/set back", 4),
    ("case/zeros", 300),
    ("looked/Reading", 40_000),
    ("looked/Writing", 4_000),
    ("open/refused", 300),
    ("open/served", 300),
    ("outcome/refused when opened", 10_000),
    ("outcome/refused when read", 2_000),
    ("outcome/served, and a check tells", 15_000),
    ("target/closed", 1_000),
    ("target/killed", 15_000),
    ("target/large", 2_000),
    ("target/plain", 5_000),
    ("target/plain repository", 1_500),
    ("target/repository", 10_000),
    ("target/restarted", 4_000),
];
