//! Everything that CI runs, one campaign after another.

use std::process::Command;
use std::time::Instant;

use clap::Args;

/// What CI runs.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// How many fresh seeds of the general campaign.
    #[arg(long, default_value_t = 1100)]
    seeds: u64,
}

/// Lets the allocator of glibc keep what was freed: databases that live for milliseconds would otherwise spend a third of
/// the time in asking the system for memory.
const KEEP_MEMORY: [(&str, &str); 3] = [
    ("MALLOC_MMAP_THRESHOLD_", "1073741824"),
    ("MALLOC_TRIM_THRESHOLD_", "4294967296"),
    ("MALLOC_TOP_PAD_", "16777216"),
];

/// Runs every campaign, each as the command that one would type, and says how long it took.
///
/// # Errors
/// Which campaigns found something; all are run in any case.
pub fn run(options: &Options) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|error| format!("no program: {error}"))?;
    let seeds = options.seeds.to_string();
    let campaigns: [&[&str]; 6] = [
        &["seeds", "--count", &seeds],
        &["crashes"],
        &["faults"],
        &["attack"],
        &["isolation"],
        &["power", "--rounds", "4"],
    ];
    let mut failed = Vec::new();
    let began = Instant::now();
    for campaign in campaigns {
        let since = Instant::now();
        println!("== {}", campaign.join(" "));
        let status = Command::new(&program).args(campaign).envs(KEEP_MEMORY).status();
        let is_sound = status.as_ref().is_ok_and(std::process::ExitStatus::success);
        println!(
            "== {}: {} after {:.0?}",
            campaign[0],
            if is_sound { "sound" } else { "FAILED" },
            since.elapsed()
        );
        if !is_sound {
            failed.push(campaign[0]);
        }
    }
    println!("== all after {:.0?}", began.elapsed());
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
}
