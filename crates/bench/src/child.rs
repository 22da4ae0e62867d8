//! The process that measures one engine: it runs the rows that its parent names, one at a time.

use std::io::{BufRead, Write};

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::measure::Outcome;
use crate::options::{Child, Plan};
use crate::workload::{self, Workload};

/// The name that asks for the preparations instead of a row.
pub const PREPARE: &str = "prepare";

/// One line of a child's output.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The data is loaded; these are the engine's settings.
    Prepared(Vec<(String, String)>),
    /// A row was run.
    Ran(Outcome),
    /// It could not be done.
    Failed(String),
}

/// Does what each line of the input names, and answers each with a line, until the input ends.
///
/// # Errors
/// Those of the pipe to the parent; those of an engine are answers.
pub fn serve(child: &Child) -> Result<()> {
    let plan: Plan = serde_json::from_str(&child.plan)?;
    let mut workload: Option<Box<dyn Workload>> = None;
    for line in std::io::stdin().lock().lines() {
        let answer = match line?.trim() {
            PREPARE => prepare(&plan, &mut workload),
            row => match &mut workload {
                Some(workload) => workload.run(row).map(Answer::Ran),
                None => Err("nothing is prepared".into()),
            },
        };
        let answer = answer.unwrap_or_else(|error| Answer::Failed(error.to_string()));
        let mut output = std::io::stdout().lock();
        serde_json::to_writer(&mut output, &answer)?;
        writeln!(output)?;
        output.flush()?;
    }
    Ok(())
}

fn prepare(plan: &Plan, workload: &mut Option<Box<dyn Workload>>) -> Result<Answer> {
    let prepared = workload.insert(workload::prepare(plan)?);
    let settings = prepared.settings().into_iter().map(|(name, value)| (name.to_owned(), value));
    Ok(Answer::Prepared(settings.collect()))
}
