//! The parent: starts a child for each engine, and has them run each row in turns.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child as Process, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::Result;
use crate::child::{Answer, PREPARE};
use crate::engine::{Allocator, Variant};
use crate::matrix::{Group, Row};
use crate::measure::{Outcome, Reading};
use crate::options::Options;
use crate::report::{self, GroupResult, Machine, Report, RowResult};

/// How long a child may take for a row before it is given up.
const PATIENCE: Duration = Duration::from_secs(600);

/// Measures what the options say, and writes the reports.
///
/// # Errors
/// When nothing can be started or no report written; what engines cannot do is in the report.
pub fn run(options: &Options) -> Result<()> {
    let mut report = Report::new(Machine::here(), options);
    for group in options.groups() {
        report.groups.push(measure(options, group)?);
        report::write(
            &report,
            options.json.as_deref(),
            options.html.as_deref(),
            options.markdown.as_deref(),
        )?;
    }
    println!("{}", report::table(&report));
    let _ = fs::remove_dir(&options.directory);
    Ok(())
}

/// Runs a group's rows, all engines in turns.
///
/// # Errors
/// When no child can be started.
pub(crate) fn measure(options: &Options, group: Group) -> Result<GroupResult> {
    let rows: Vec<&Row> = group.rows().iter().filter(|row| options.wants_row(row.id)).collect();
    let began = Instant::now();
    let mut players: Vec<Player> = Vec::new();
    for variant in options.engines() {
        eprintln!("{:5.0} s  {}  {}  prepare", began.elapsed().as_secs_f64(), group.id(), variant.id());
        players.push(Player::start(options, variant, group)?);
    }
    for round in 1..=options.rounds {
        for (index, row) in rows.iter().enumerate() {
            // Whoever comes first in one round comes later in the next.
            let first = (round as usize + index) % players.len().max(1);
            players.rotate_left(first);
            for player in &mut players {
                let shown = player.run(row.id);
                let name = player.variant.id();
                eprintln!(
                    "{:5.0} s  {}  round {round}  {}  {name}  {shown}",
                    began.elapsed().as_secs_f64(),
                    group.id(),
                    row.id
                );
            }
        }
    }
    players.sort_by_key(|player| player.variant);
    let (keys, cache_bytes) = group.sizes(options.keys(), options.value_bytes);
    let result = GroupResult {
        group,
        keys,
        value_bytes: options.value_bytes,
        cache_bytes,
        settings: players.iter().map(|player| (player.variant, player.settings.clone())).collect(),
        rows: rows.iter().map(|row| row_result(row, &players)).collect(),
    };
    players.into_iter().for_each(Player::stop);
    Ok(result)
}

fn row_result(row: &Row, players: &[Player]) -> RowResult {
    let results = players.iter().map(|player| {
        let outcomes = player.outcomes.get(row.id).map_or(&[][..], Vec::as_slice);
        (player.variant, merged(outcomes))
    });
    let rounds = players.iter().map(|player| {
        let outcomes = player.outcomes.get(row.id).into_iter().flatten();
        let values = outcomes.filter_map(|outcome| match outcome {
            Outcome::Measured(reading) => Some(reading.value),
            Outcome::Absent(_) => None,
        });
        (player.variant, values.collect())
    });
    RowResult {
        id: row.id.to_owned(),
        title: row.title.to_owned(),
        unit: row.unit,
        results: results.collect(),
        rounds: rounds.collect(),
    }
}

/// The medians of all rounds; why there is no figure, if any round had none: a wrong answer once is wrong.
fn merged(outcomes: &[Outcome]) -> Outcome {
    let mut readings = Vec::new();
    for outcome in outcomes {
        match outcome {
            Outcome::Measured(reading) => readings.push(reading.clone()),
            Outcome::Absent(_) => return outcome.clone(),
        }
    }
    Reading::median_of(&readings).map_or_else(|| Outcome::Absent("it was not run".into()), Outcome::Measured)
}

/// A child, and what it said.
struct Player {
    variant: Variant,
    directory: PathBuf,
    process: Option<(Process, ChildStdin, Receiver<String>)>,
    /// Why it cannot play, if it cannot.
    fault: Option<String>,
    settings: Vec<(String, String)>,
    outcomes: BTreeMap<&'static str, Vec<Outcome>>,
}

impl Player {
    fn start(options: &Options, variant: Variant, group: Group) -> Result<Self> {
        let plan = options.plan(variant, group);
        let mut command = Command::new(program(variant.allocator())?);
        command.arg("child").arg("--plan").arg(serde_json::to_string(&plan)?);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (stdin, stdout) = (process.stdin.take(), process.stdout.take());
        let (Some(stdin), Some(stdout)) = (stdin, stdout) else { return Err("no pipes to a child".into()) };
        let (lines, heard) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(std::result::Result::ok) {
                if lines.send(line).is_err() {
                    break;
                }
            }
        });
        let mut player = Self {
            variant,
            directory: plan.directory,
            process: Some((process, stdin, heard)),
            fault: None,
            settings: Vec::new(),
            outcomes: BTreeMap::new(),
        };
        match player.ask(PREPARE) {
            Ok(Answer::Prepared(settings)) => player.settings = settings,
            Ok(Answer::Failed(reason)) => player.fault = Some(reason),
            Ok(Answer::Ran(_)) => player.fault = Some("it answered something else".into()),
            Err(error) => player.give_up(&error.to_string()),
        }
        Ok(player)
    }

    /// Runs a row, and returns what to show of it.
    fn run(&mut self, row: &'static str) -> String {
        let outcome = match &self.fault {
            Some(fault) => Outcome::Absent(fault.clone()),
            None => match self.ask(row) {
                Ok(Answer::Ran(outcome)) => outcome,
                Ok(Answer::Failed(reason)) => Outcome::Absent(format!("failed: {reason}")),
                Ok(Answer::Prepared(_)) => Outcome::Absent("it answered something else".into()),
                Err(error) => {
                    self.give_up(&error.to_string());
                    Outcome::Absent(error.to_string())
                }
            },
        };
        let shown = match &outcome {
            Outcome::Measured(reading) => format!("{:.3e}", reading.value),
            Outcome::Absent(reason) => format!("- ({reason})"),
        };
        self.outcomes.entry(row).or_default().push(outcome);
        shown
    }

    fn ask(&mut self, what: &str) -> Result<Answer> {
        let (_, stdin, heard) = self.process.as_mut().ok_or("its process has ended")?;
        writeln!(stdin, "{what}").map_err(|_| "its process has ended")?;
        match heard.recv_timeout(PATIENCE) {
            Ok(line) => Ok(serde_json::from_str(&line)?),
            Err(RecvTimeoutError::Timeout) => Err(format!("no answer to {what} in {PATIENCE:?}").into()),
            Err(RecvTimeoutError::Disconnected) => Err(format!("its process ended during {what}").into()),
        }
    }

    fn give_up(&mut self, reason: &str) {
        self.fault = Some(reason.to_owned());
        if let Some((mut process, ..)) = self.process.take() {
            // It may have ended by itself.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Ends the child, which closes its database, and removes what it made.
    fn stop(mut self) {
        if let Some((mut process, stdin, _)) = self.process.take() {
            drop(stdin);
            let _ = process.wait();
        }
        let _ = fs::remove_dir_all(&self.directory);
        if let Some(group) = self.directory.parent() {
            // The last one out finds it empty.
            let _ = fs::remove_dir(group);
        }
    }
}

/// The program with an allocator: both are built together and lie side by side.
fn program(allocator: Allocator) -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let name = match allocator {
        Allocator::System => "lightning_bench",
        Allocator::Mimalloc => "lightning_bench_mimalloc",
    };
    let program = here.with_file_name(name);
    if program.exists() {
        Ok(program)
    } else {
        Err(format!("{} is not there: build all of the crate", program.display()).into())
    }
}
