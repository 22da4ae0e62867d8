//! Planted bugs: whether the campaigns find what they are there to find.
//!
//! `crates/sim/mutants/` has a patch for each bug. All are applied at once to a copy of the last commit, and sleep there
//! until their name is in the environment; so one build serves all. Each bug then runs through the campaigns as CI runs
//! them, up to the first that fails. The same program without a bug must pass all of them.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Where the patches are.
const FOLDER: &str = "crates/sim/mutants";
/// Names the bug that is awake.
const VARIABLE: &str = "LIGHTNING_PLANTED";
/// The campaigns, those first that find most, with as many seeds as a run of CI has.
const CAMPAIGNS: [&[&str]; 5] = [
    &["seeds", "--only-fresh", "--from", "1", "--count", "1000", "--fail-fast"],
    &["crashes"],
    &["faults"],
    &["attack"],
    &["isolation"],
];
/// How a campaign says that it was called wrongly.
const WRONG_USAGE: i32 = 2;
/// A campaign that takes longer hangs.
const LONGEST: Duration = Duration::from_secs(1200);

/// Plants the bugs of these names, or all, and says what found each. With `--check`, only sees whether the patches apply.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<(), String> {
    let bugs = bugs(root)?;
    check(root, &bugs)?;
    if arguments.iter().any(|argument| argument == "--check") {
        println!("{} patches apply", bugs.len());
        return Ok(());
    }
    let is_wanted = |bug: &&Bug| arguments.is_empty() || arguments.contains(&bug.name);
    let wanted: Vec<&Bug> = bugs.iter().filter(|bug| !bug.is_switch()).filter(is_wanted).collect();
    if wanted.len() < arguments.len() {
        return Err(format!("there is no such bug: look into {FOLDER}"));
    }
    let home = root.join("target/mutants");
    let program = build(root, &home, &bugs)?;
    let mut missed = Vec::new();
    println!("| bug | found by | after | | what it says |\n|---|---|---|---|---|");
    for bug in wanted {
        match find(&program, &home, &bug.name)? {
            Some(found) => println!("| {} | {found} |", bug.name),
            None => {
                println!("| {} | nothing | | | |", bug.name);
                missed.push(bug.name.as_str());
            }
        }
    }
    let passes = find(&program, &home, "")?;
    println!(
        "| none | {} |",
        passes.as_ref().map_or("nothing, as it should be | | | ".to_owned(), Found::to_string)
    );
    match (missed.is_empty(), passes) {
        (true, None) => Ok(()),
        (false, _) => Err(format!("not found: {}", missed.join(", "))),
        (true, Some(found)) => Err(format!("without any bug a campaign fails: {found}")),
    }
}

/// One patch.
struct Bug {
    name: String,
    patch: PathBuf,
}

impl Bug {
    /// The first patch has no bug in it: it lets the others sleep.
    fn is_switch(&self) -> bool {
        self.patch.file_name().and_then(OsStr::to_str).is_some_and(|name| name.starts_with("00-"))
    }
}

/// All patches, in their order. A bug is called as its file, without the number.
fn bugs(root: &Path) -> Result<Vec<Bug>, String> {
    let folder = root.join(FOLDER);
    let unreadable = |error| format!("{} cannot be read: {error}", folder.display());
    let mut patches = Vec::new();
    for entry in fs::read_dir(&folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "patch") {
            patches.push(path);
        }
    }
    patches.sort();
    let named = |patch: PathBuf| {
        let stem = patch.file_stem()?.to_str()?.to_owned();
        let (_, name) = stem.split_once('-')?;
        Some(Bug { name: name.to_owned(), patch })
    };
    Ok(patches.into_iter().filter_map(named).collect())
}

/// Whether the patches apply, one after another; nothing is changed.
fn check(root: &Path, bugs: &[Bug]) -> Result<(), String> {
    let mut git = Command::new("git");
    git.args(["apply", "--check"]).args(bugs.iter().map(|bug| &bug.patch)).current_dir(root);
    let output = git.output().map_err(|error| format!("git did not start: {error}"))?;
    let told = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("planted bugs no longer apply:\n{told}")) }
}

/// Builds the campaigns with all bugs asleep in them, from a copy of the last commit.
fn build(root: &Path, home: &Path, bugs: &[Bug]) -> Result<PathBuf, String> {
    let tree = home.join("tree");
    fs::create_dir_all(home).map_err(|error| format!("{}: {error}", home.display()))?;
    let git = |directory: &Path, arguments: &[&OsStr]| {
        let mut git = Command::new("git");
        done(git.args(arguments).current_dir(directory))
    };
    let remove = || {
        let arguments = ["worktree", "remove", "--force"].map(OsStr::new);
        git(root, &[&arguments[..], &[tree.as_os_str()]].concat())
    };
    if tree.exists() {
        remove()?;
    }
    let arguments = ["worktree", "add", "--quiet", "--detach"].map(OsStr::new);
    git(root, &[&arguments[..], &[tree.as_os_str(), OsStr::new("HEAD")]].concat())?;
    let patches = bugs.iter().map(|bug| bug.patch.as_os_str());
    let applied = git(&tree, &std::iter::once(OsStr::new("apply")).chain(patches).collect::<Vec<_>>());
    let target = home.join("build");
    let built = applied.and_then(|()| {
        let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()));
        cargo.args(["build", "--quiet", "--profile", "sim", "--package", "lightning_db_sim"]);
        done(cargo.env("CARGO_TARGET_DIR", &target).current_dir(&tree))
    });
    remove()?;
    built.map(|()| target.join("sim/lightning_sim"))
}

fn done(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|error| format!("{command:?} did not start: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} failed")) }
}

/// What found a bug.
struct Found {
    campaign: &'static str,
    /// How many seeds it ran, if it tells.
    after: Option<String>,
    seconds: u64,
    /// What it says, or how it ended.
    told: String,
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let after = self.after.as_deref().unwrap_or_default();
        write!(f, "{} | {after} | {} s | {}", self.campaign, self.seconds, self.told)
    }
}

/// Runs the campaigns with a bug awake, or with none, up to the first that fails. What they print is kept.
fn find(program: &Path, home: &Path, bug: &str) -> Result<Option<Found>, String> {
    for campaign in CAMPAIGNS {
        let name = campaign[0];
        let log = home.join(format!("{}-{name}.log", if bug.is_empty() { "none" } else { bug }));
        let begun = Instant::now();
        let failure = fails(program, campaign, bug, &log)?;
        let seconds = begun.elapsed().as_secs();
        if let Some(failure) = failure {
            let told = fs::read_to_string(&log).unwrap_or_default();
            let (after, told) = (seeds_run(&told), first_finding(&told).unwrap_or(failure));
            return Ok(Some(Found { campaign: name, after, seconds, told }));
        }
    }
    Ok(None)
}

/// How a campaign failed, if it did.
fn fails(program: &Path, campaign: &[&str], bug: &str, log: &Path) -> Result<Option<String>, String> {
    let started = File::create(log).and_then(|output| {
        let errors = output.try_clone()?;
        let mut command = Command::new(program);
        command.args(campaign).env(VARIABLE, bug).stdin(Stdio::null()).stdout(output).stderr(errors).spawn()
    });
    let mut running = started.map_err(|error| format!("{} did not start: {error}", program.display()))?;
    let begun = Instant::now();
    loop {
        match running.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(None),
            Ok(Some(status)) if status.code() == Some(WRONG_USAGE) => {
                return Err(format!("{campaign:?} is no campaign: see {}", log.display()));
            }
            Ok(Some(status)) => return Ok(Some(status.to_string())),
            Ok(None) if begun.elapsed() < LONGEST => thread::sleep(Duration::from_millis(200)),
            _ => {
                // It is over in any case; whether it could be killed makes no difference.
                let _ = running.kill().and_then(|()| running.wait());
                return Ok(Some("hung".to_owned()));
            }
        }
    }
}

/// How many seeds a campaign says at the end that it ran.
fn seeds_run(told: &str) -> Option<String> {
    let total = told.lines().rev().find_map(|line| line.split_once(" seeds, "))?.0.trim();
    total.parse::<u64>().ok().map(|seeds| format!("{seeds} seeds"))
}

/// The first line about a seed that failed, or the last line of all; cut to fit a table.
fn first_finding(told: &str) -> Option<String> {
    const LONGEST: usize = 110;
    let seed = told.lines().find(|line| line.starts_with("seed ") && line.contains(": "));
    let line = seed.and_then(|line| line.split_once(": ")).map(|(_, what)| what).or(told.lines().last())?;
    Some(line.replace('|', "/").chars().take(LONGEST).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_planted_bug_still_applies_and_says_what_it_breaks() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the project");
        let bugs = bugs(root).expect("the patches");
        assert!(bugs.len() > 12);
        check(root, &bugs).expect("all of them");
        for bug in bugs {
            let text = fs::read_to_string(&bug.patch).expect("a patch");
            assert!(text.starts_with("# "), "{} does not say what it breaks", bug.name);
            let wakes = text.contains(&format!("planted(\"{}\")", bug.name));
            assert!(wakes || bug.is_switch(), "{} cannot be woken", bug.name);
        }
    }

    #[test]
    fn what_is_told_is_cut_to_its_first_finding() {
        let told = "seeds from 1 on, 2 at once\n1 seeds, 3 crash recoveries\nseed 17: key k | lost\n  again: x\n\
            18 seeds, 9 crash recoveries, 1 failures\nlightning_sim: 1 seeds failed: 17";
        assert_eq!(first_finding(told).as_deref(), Some("key k / lost"));
        assert_eq!(seeds_run(told).as_deref(), Some("18 seeds"));
        assert_eq!((first_finding(""), seeds_run("nothing")), (None, None));
        assert_eq!(first_finding("a\nbroken").as_deref(), Some("broken"));
    }
}
