//! How far long work has come, shown on a terminal and nowhere else.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Output;

const REDRAW: Duration = Duration::from_millis(120);

/// A line that says how far the work has come. It disappears when dropped.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// A line for work of `total` steps, or of unknown length if that is 0. `what` says what is done.
    pub(crate) fn new(output: Output, what: &str, total: u64) -> Self {
        let bar = if total == 0 { ProgressBar::new_spinner() } else { ProgressBar::new(total) };
        let shown = !output.is_terse() && io::stderr().is_terminal();
        bar.set_draw_target(if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() });
        let template = if total == 0 {
            "{spinner} {msg} {human_pos} ({elapsed})"
        } else {
            "{msg} [{bar:30}] {percent}% ({elapsed}, {eta} left)"
        };
        bar.set_style(ProgressStyle::with_template(template).expect("the template is a constant"));
        bar.set_message(what.to_owned());
        if shown {
            bar.enable_steady_tick(REDRAW);
        }
        Self(bar)
    }

    /// So many steps are done.
    pub(crate) fn at(&self, done: u64) {
        self.0.set_position(done);
    }

    /// So many of so many steps of one phase are done.
    pub(crate) fn of(&self, phase: &str, done: u64, total: u64) {
        if self.0.message() != phase {
            self.0.set_message(phase.to_owned());
        }
        self.0.set_length(total);
        self.0.set_position(done);
    }
}

impl lightning_db::Progress for Progress {
    fn advance(&self, phase: &'static str, done: u64, total: u64) {
        self.of(phase, done, total);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
