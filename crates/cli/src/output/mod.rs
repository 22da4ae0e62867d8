//! Results on standard output, failures on standard error, for people or as JSON.

pub(crate) mod human;
pub(crate) mod json;
pub(crate) mod progress;
pub(crate) mod table;

use std::fmt::Display;
use std::io::{self, BufWriter, StdoutLock, Write};

use serde::Serialize;

use crate::failure::{Failure, Outcome};

/// In which form output is written, and how much of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
    quiet: bool,
}

impl Output {
    /// As `--json` and `--quiet` say.
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet }
    }

    /// Whether output is for a program.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Whether nothing but results and failures is wanted.
    pub(crate) fn is_terse(self) -> bool {
        self.json || self.quiet
    }

    /// Says what a command has done; `--quiet` suppresses the text.
    ///
    /// # Errors
    /// `Output` when it cannot be written.
    pub(crate) fn done(self, text: impl Display, object: &impl Serialize) -> Outcome {
        if self.quiet && !self.json {
            return Ok(());
        }
        self.report(text, object)
    }

    /// Writes what a command was asked for.
    ///
    /// # Errors
    /// `Output` when it cannot be written.
    pub(crate) fn report(self, text: impl Display, object: &impl Serialize) -> Outcome {
        let mut out = self.stream();
        if self.json {
            out.object(object)?
        } else {
            out.line(text)?
        }
        out.finish()
    }

    /// Standard output, for results of many lines.
    pub(crate) fn stream(self) -> Stream {
        Stream(BufWriter::new(io::stdout().lock()))
    }

    /// Says why a command failed, unless nobody reads any more.
    pub(crate) fn failure(self, failure: &Failure) {
        if failure.is_broken_pipe() {
            return;
        }
        let text = if self.json { json::failure(failure) } else { format!("lightning-cli: {failure}") };
        // Where an error cannot be written, only the exit status is left to tell of it.
        let _ = writeln!(io::stderr(), "{text}");
    }
}

/// Buffered standard output. What is not [finished](Self::finish) may be lost.
pub(crate) struct Stream(BufWriter<StdoutLock<'static>>);

impl Stream {
    /// Writes a line of text.
    ///
    /// # Errors
    /// `Output` when it cannot be written.
    pub(crate) fn line(&mut self, text: impl Display) -> Outcome {
        writeln!(self.0, "{text}").map_err(Failure::Output)
    }

    /// Writes bytes as they are, and ends the line.
    ///
    /// # Errors
    /// `Output` when they cannot be written.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Outcome {
        self.0.write_all(bytes).and_then(|()| self.0.write_all(b"\n")).map_err(Failure::Output)
    }

    /// Writes one JSON object on a line of its own.
    ///
    /// # Errors
    /// `Output` when it cannot be written.
    pub(crate) fn object(&mut self, object: &impl Serialize) -> Outcome {
        serde_json::to_writer(&mut self.0, object).map_err(|error| Failure::Output(error.into()))?;
        self.raw(b"")
    }

    /// Sends everything on its way.
    ///
    /// # Errors
    /// `Output` when it cannot be written.
    pub(crate) fn finish(mut self) -> Outcome {
        self.0.flush().map_err(Failure::Output)
    }
}
