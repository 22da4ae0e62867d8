//! `import FORMAT FILE DB`

mod csv;
pub(crate) mod rows;

use clap::Subcommand;

use crate::failure::Outcome;
use crate::session::Session;

/// What to import.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lightning-cli import csv flights.csv ./mydb --key file:./mydb.key
  lightning-cli import csv users.csv ./public --key-column email --no-encryption")]
pub(crate) struct Command {
    #[command(subcommand)]
    format: Format,
}

#[derive(Debug, Subcommand)]
enum Format {
    /// A CSV file with a header row; each row becomes a JSON object under its key
    Csv(csv::Csv),
}

impl Command {
    pub(crate) fn run(self, session: &Session) -> Outcome {
        match self.format {
            Format::Csv(csv) => csv.run(session),
        }
    }
}
