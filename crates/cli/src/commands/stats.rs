//! `stats DB`

use std::path::PathBuf;

use serde_json::Value;

use crate::failure::Outcome;
use crate::output::table::Table;
use crate::session::Session;

/// Of what to show the figures.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  lightning-cli stats ./mydb
  lightning-cli stats ./mydb --json")]
pub(crate) struct Command {
    /// The database's directory
    db: PathBuf,
}

impl Command {
    pub(crate) fn run(self, session: &Session) -> Outcome {
        let stats = session.open_read_only(&self.db)?.stats()?;
        session.output.report(every_field(&serde_json::json!(stats)), &stats)
    }
}

fn every_field(object: &Value) -> Table {
    let mut table = Table::new(&["figure", "#value"]);
    for (name, value) in object.as_object().into_iter().flatten() {
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) if number.is_f64() => format!("{:.2}", number.as_f64().unwrap_or_default()),
            other => other.to_string(),
        };
        table.row([name.clone(), value]);
    }
    table
}
