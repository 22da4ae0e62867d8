//! `scan DB`

use std::ffi::OsString;
use std::path::PathBuf;

use crate::bytes::Form;
use crate::failure::Outcome;
use crate::output::json::Entry;
use crate::session::Session;

/// What to scan.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A line is a key, a tab and a value. In keys and values that hold control characters or are not \
UTF-8, those bytes are written as \\xNN, \\n, \\r or \\t, and a backslash as \\\\; --hex and --json are exact.

Examples:
  lightning-cli scan ./mydb --prefix user: --limit 10
  lightning-cli scan ./mydb --start a --end b --reverse
  lightning-cli scan ./mydb --json"
)]
pub(crate) struct Command {
    /// The database's directory
    db: PathBuf,
    /// Only keys that begin with this
    #[arg(long, value_name = "P", allow_hyphen_values = true, conflicts_with_all = ["start", "end"])]
    prefix: Option<OsString>,
    /// Only keys from this one on
    #[arg(long, value_name = "K", allow_hyphen_values = true)]
    start: Option<OsString>,
    /// Only keys before this one
    #[arg(long, value_name = "K", allow_hyphen_values = true)]
    end: Option<OsString>,
    /// From the last key to the first
    #[arg(long)]
    reverse: bool,
    /// At most so many entries
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Keys and values are written as hex digits
    #[arg(long)]
    hex: bool,
}

impl Command {
    pub(crate) fn run(self, session: &Session) -> Outcome {
        let form = Form::of(self.hex);
        let parse = |name, text: Option<OsString>| text.map(|text| form.parse(name, text)).transpose();
        let prefix = parse("--prefix", self.prefix)?;
        let (mut start, mut end) = (parse("--start", self.start)?, parse("--end", self.end)?);
        if let Some(prefix) = prefix {
            end = after_prefix(&prefix);
            start = Some(prefix);
        }
        let db = session.open_read_only(&self.db)?;
        let (start, end) = (start.as_deref(), end.as_deref());
        let entries = if self.reverse { db.scan_reverse(start, end)? } else { db.scan(start, end)? };

        let mut out = session.output.stream();
        for entry in entries.take(self.limit.unwrap_or(usize::MAX)) {
            let (key, value) = entry?;
            if session.output.is_json() {
                out.object(&Entry { form, key: &key, value: &value })?;
            } else {
                out.line(format_args!("{}\t{}", form.show(&key), form.show(&value)))?;
            }
        }
        out.finish()
    }
}

/// The first key after all that begin with `prefix`; none if there can be no such key.
fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        assert_eq!(after_prefix(b"a"), Some(b"b".to_vec()));
        assert_eq!(after_prefix(b"a\xff\xff"), Some(b"b".to_vec()));
        assert_eq!(after_prefix(b"\xff"), None);
        assert_eq!(after_prefix(b""), None);
    }
}
