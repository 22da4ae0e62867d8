//! A process that runs seeds: an abort, a hang or a stack that overflows takes only it, and tells which seed it was.
//!
//! ```text
//! in:   SEED
//! out:  SEED \t TRACE \t PROBLEM or nothing \t NAME=COUNT \t NAME=COUNT …
//! ```

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::{Outcome, run_seed};
use crate::coverage::Coverage;

/// Runs the seeds that come on standard input, one a line.
///
/// # Errors
/// When input or output fail.
pub fn work() -> Result<(), String> {
    let mut output = std::io::stdout();
    for line in std::io::stdin().lines() {
        let line = line.map_err(|error| error.to_string())?;
        let seed: u64 = line.trim().parse().map_err(|_| format!("{line:?} is no seed"))?;
        let outcome = run_seed(seed, false);
        let told = writeln!(output, "{}", encode(seed, &outcome)).and_then(|()| output.flush());
        told.map_err(|error| error.to_string())?;
        if outcome.is_stuck {
            // Its threads wait for ever: a new process is cheaper.
            return Ok(());
        }
    }
    Ok(())
}

fn encode(seed: u64, outcome: &Outcome) -> String {
    let problem = outcome.problem.as_deref().unwrap_or("").replace(['\t', '\n'], " ");
    let mut line = format!("{seed}\t{}\t{problem}", outcome.trace);
    for (name, count) in outcome.coverage.iter() {
        line.push_str(&format!("\t{name}={count}"));
    }
    line
}

fn decode(line: &str) -> Option<Outcome> {
    let mut parts = line.split('\t').skip(1);
    let trace = parts.next()?.parse().ok()?;
    let problem = parts.next().filter(|problem| !problem.is_empty()).map(str::to_owned);
    let mut coverage = Coverage::default();
    for part in parts {
        let (name, count) = part.rsplit_once('=')?;
        coverage.add(name, count.parse().ok()?);
    }
    Some(Outcome { coverage, trace, problem, is_stuck: false })
}

/// A worker, as the one who gives it seeds sees it.
pub(super) struct Worker {
    process: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Worker {
    /// Starts one.
    ///
    /// # Errors
    /// When the system starts no process.
    pub(super) fn start() -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command.arg("worker").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut process = command.spawn().map_err(|error| format!("no worker: {error}"))?;
        let (Some(input), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            return Err("a worker without input or output".to_owned());
        };
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { process, input, lines })
    }

    /// Runs a seed.
    ///
    /// # Errors
    /// What became of the worker, if it did not live to tell: it has ended then.
    pub(super) fn run(&mut self, seed: u64, at_most: Duration) -> Result<Outcome, String> {
        let asked = writeln!(self.input, "{seed}").and_then(|()| self.input.flush());
        asked.map_err(|error| format!("the worker takes no seeds: {error}"))?;
        match self.lines.recv_timeout(at_most) {
            Ok(line) => decode(&line).ok_or_else(|| format!("the worker said {line:?}")),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                let _ = self.process.kill();
                Err(format!("hangs: not done after {at_most:?}"))
            }
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
                let status = self.process.wait().map_or_else(|error| error.to_string(), |it| it.to_string());
                Err(format!("ended its process: {status}"))
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_told_whole() {
        let mut coverage = Coverage::default();
        coverage.add("option/a=b", 3);
        let outcome = Outcome { coverage, trace: 77, problem: Some("a\tb\nc".to_owned()), is_stuck: false };
        let told = decode(&encode(5, &outcome)).expect("understood");
        assert_eq!((told.trace, told.problem.as_deref()), (77, Some("a b c")));
        assert_eq!(told.coverage, outcome.coverage);
    }
}
