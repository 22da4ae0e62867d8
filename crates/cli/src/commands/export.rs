//! `export DB FILE`

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use lightning_db::Database;
use serde::Serialize;

use crate::bytes::Form;
use crate::failure::{Failure, Outcome};
use crate::files;
use crate::output::human::counted;
use crate::output::json;
use crate::output::progress::Progress;
use crate::session::Session;

const PROGRESS_ENTRIES: u64 = 1024;

/// What to export.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A line of JSON Lines is {\"key\": …, \"value\": …}; what is not UTF-8 is there as hex digits under key_hex or \
value_hex. CSV has the columns key and value and takes text only, unless --hex. The file is not encrypted.

Examples:
  lightning-cli export ./mydb all.jsonl
  lightning-cli export ./mydb all.csv --hex"
)]
pub(crate) struct Command {
    /// The database's directory
    db: PathBuf,
    /// The new file; its ending is .jsonl (or .ndjson) or .csv
    file: PathBuf,
    /// Keys and values are written as hex digits
    #[arg(long)]
    hex: bool,
}

#[derive(Clone, Copy)]
enum Format {
    JsonLines,
    Csv,
}

#[derive(Serialize)]
struct Exported<'a> {
    exported: u64,
    file: &'a Path,
    last_sequence: u64,
}

impl Command {
    pub(crate) fn run(self, session: &Session) -> Outcome {
        let format = format_of(&self.file)?;
        let db = session.open_read_only(&self.db)?;
        let progress = Progress::new(session.output, "exporting", 0);
        let exported = files::create(&self.file, |out| self.write(&db, format, out, &progress))?;
        drop(progress);
        let last_sequence = db.last_sequence().into();
        let text = format!("exported {} to {}", counted(exported, "entry", "entries"), self.file.display());
        session.output.done(text, &Exported { exported, file: &self.file, last_sequence })
    }

    fn write(&self, db: &Database, format: Format, out: &mut dyn Write, progress: &Progress) -> Outcome<u64> {
        let form = Form::of(self.hex);
        let mut sink = Sink::new(format, form, out).map_err(|error| self.failed(error))?;
        let mut count = 0;
        for entry in db.scan(None, None)? {
            let (key, value) = entry?;
            sink.entry(&key, &value).map_err(|error| match error.kind() {
                io::ErrorKind::InvalidData => Failure::Input {
                    path: self.db.clone(),
                    reason: format!(
                        "the entry with the key {} is not text: export it with --hex, or to .jsonl",
                        form.show(&key)
                    ),
                },
                _ => self.failed(error),
            })?;
            count += 1;
            if count % PROGRESS_ENTRIES == 0 {
                progress.at(count);
            }
        }
        sink.finish().map_err(|error| self.failed(error))?;
        Ok(count)
    }

    fn failed(&self, error: io::Error) -> Failure {
        Failure::file("write", &self.file, error)
    }
}

fn format_of(file: &Path) -> Outcome<Format> {
    match file.extension().and_then(|ending| ending.to_str()) {
        Some("jsonl" | "ndjson") => Ok(Format::JsonLines),
        Some("csv") => Ok(Format::Csv),
        _ => Err(Failure::Usage(format!(
            "{}: the ending says the format: use .jsonl (or .ndjson) or .csv",
            file.display()
        ))),
    }
}

/// Where entries go.
enum Sink<'a> {
    JsonLines { out: &'a mut dyn Write, form: Form },
    Csv { out: Box<csv::Writer<&'a mut dyn Write>>, form: Form },
}

impl<'a> Sink<'a> {
    fn new(format: Format, form: Form, out: &'a mut dyn Write) -> io::Result<Self> {
        match format {
            Format::JsonLines => Ok(Self::JsonLines { out, form }),
            Format::Csv => {
                let mut out = csv::Writer::from_writer(out);
                out.write_record(["key", "value"])?;
                Ok(Self::Csv { out: Box::new(out), form })
            }
        }
    }

    fn entry(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        match self {
            Self::JsonLines { out, form } => {
                serde_json::to_writer(&mut **out, &json::Entry { form: *form, key, value })?;
                out.write_all(b"\n")
            }
            Self::Csv { out, form: Form::Hex } => {
                Ok(out.write_record([hex::encode(key), hex::encode(value)])?)
            }
            Self::Csv { out, form: Form::Text } => {
                let text = |bytes| std::str::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData);
                Ok(out.write_record([text(key)?, text(value)?])?)
            }
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::JsonLines { out, .. } => out.flush(),
            Self::Csv { mut out, .. } => out.flush(),
        }
    }
}
