//! Everything that CI runs, one campaign after another.

use std::io::{self, BufRead, BufReader, PipeReader};
use std::process::Command;
use std::time::Instant;

use clap::Args;

use crate::coverage::BELOW;
use crate::power;
use crate::random::seconds_since_1970;

/// What CI runs.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// How many fresh seeds of the general campaign.
    #[arg(long, default_value_t = 1100)]
    seeds: u64,
    /// The first seed of each campaign; unless told, the seconds since 1970, so that every run has fresh ones.
    #[arg(long)]
    seed: Option<u64>,
}

/// Lets the allocator of glibc keep what was freed: databases that live for milliseconds would otherwise spend a third of
/// the time in asking the system for memory.
const KEEP_MEMORY: [(&str, &str); 3] = [
    ("MALLOC_MMAP_THRESHOLD_", "1073741824"),
    ("MALLOC_TRIM_THRESHOLD_", "4294967296"),
    ("MALLOC_TOP_PAD_", "16777216"),
];

/// Runs every campaign, each as the command that one would type, says how long it took, and repeats at the end what
/// those said that failed: their tables of what was covered would hide it.
///
/// # Errors
/// Which campaigns found something; all are run in any case.
pub fn run(options: &Options) -> Result<(), String> {
    let seed = options.seed.unwrap_or_else(|| seconds_since_1970() * 1_000_000);
    println!("== everything from seed {seed} on: `lightning_sim ci --seed {seed}` draws the same");
    let (seeds, seed) = (options.seeds.to_string(), seed.to_string());
    let mut campaigns: Vec<Vec<&str>> = vec![
        vec!["seeds", "--count", &seeds, "--from", &seed],
        vec!["crashes", "--seed", &seed],
        vec!["faults", "--seed", &seed],
        vec!["attack", "--seed", &seed],
        vec!["isolation", "--seed", &seed],
        vec!["power", "--rounds", "4", "--seed", &seed],
    ];
    // Where the power can be cut, that nothing was tested is no success.
    if power::can_cut()
        && let Some(power) = campaigns.last_mut()
    {
        power.push("--require");
    }
    let mut failed = Vec::new();
    let began = Instant::now();
    for campaign in &campaigns {
        let since = Instant::now();
        println!("== {}", campaign.join(" "));
        let (is_sound, said) = run_one(campaign).map_err(|error| format!("{}: {error}", campaign[0]))?;
        let verdict = if is_sound { "sound" } else { "FAILED" };
        println!("== {}: {verdict} after {:.0?}", campaign[0], since.elapsed());
        if !is_sound {
            failed.push((campaign[0], said));
        }
    }
    println!("== all after {:.0?}", began.elapsed());
    for (name, said) in &failed {
        println!("== {name} FAILED, and said:\n{}", said.join("\n"));
    }
    let names: Vec<_> = failed.iter().map(|(name, _)| *name).collect();
    if names.is_empty() { Ok(()) } else { Err(format!("failed: {}", names.join(", "))) }
}

/// Whether it went well, and what it said besides the counts that reached their floors.
fn run_one(campaign: &[&str]) -> io::Result<(bool, Vec<String>)> {
    let (reader, writer) = io::pipe()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(campaign).envs(KEEP_MEMORY).stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn()?;
    // It holds the writing end, and the pipe would never end.
    drop(command);
    let said = pass_on(reader);
    Ok((child.wait()?.success(), said?))
}

fn pass_on(reader: PipeReader) -> io::Result<Vec<String>> {
    let mut said = Vec::new();
    for line in BufReader::new(reader).lines() {
        let line = line?;
        println!("{line}");
        if !line.contains("   at least ") || line.ends_with(BELOW) {
            said.push(line);
        }
    }
    Ok(said)
}
