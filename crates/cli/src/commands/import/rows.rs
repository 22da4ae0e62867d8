//! The rows of a CSV file as keys and values.

use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use csv::{Reader, ReaderBuilder, StringRecord};
use serde::Serializer;

use crate::failure::{Failure, Outcome};

/// The longest key that a database takes.
const MAX_KEY_LEN: usize = 65_535;

/// A key and a value.
pub(crate) type Entry = (Vec<u8>, Vec<u8>);

/// Reads rows one by one.
pub(crate) struct Rows<R> {
    reader: Reader<R>,
    path: PathBuf,
    columns: Vec<String>,
    key_index: usize,
    record: StringRecord,
}

impl<R: Read> Rows<R> {
    /// Reads the header. The key is in the column called `key_column`, or else in the first.
    ///
    /// # Errors
    /// `Input` if there is no header, two columns have one name, or none is called `key_column`.
    pub(crate) fn new(path: &Path, input: R, key_column: Option<&str>) -> Outcome<Self> {
        let mut reader = ReaderBuilder::new().from_reader(input);
        let header = reader.headers().map_err(|error| refused(path, &error))?;
        let columns: Vec<String> = header.iter().map(str::to_owned).collect();
        let fail = |reason| Err(Failure::Input { path: path.to_path_buf(), reason });
        if columns.is_empty() {
            return fail("it is empty: the first row must name the columns".into());
        }
        let mut seen = HashSet::new();
        if let Some(twice) = columns.iter().find(|name| !seen.insert(name.as_str())) {
            return fail(format!("two columns are called {twice:?}: give each a name of its own"));
        }
        let key_index = match key_column {
            None => 0,
            Some(wanted) => match columns.iter().position(|name| name == wanted) {
                Some(index) => index,
                None => {
                    return fail(format!("no column is called {wanted:?}; there are {}", columns.join(", ")));
                }
            },
        };
        Ok(Self { reader, path: path.to_path_buf(), columns, key_index, record: StringRecord::new() })
    }

    /// The next row: its key, and the whole row as a JSON object of strings in the order of the columns.
    ///
    /// # Errors
    /// `Input` naming the line that cannot be read or whose key a database does not take.
    pub(crate) fn next(&mut self) -> Outcome<Option<Entry>> {
        if !self.reader.read_record(&mut self.record).map_err(|error| refused(&self.path, &error))? {
            return Ok(None);
        }
        let key = &self.record[self.key_index];
        let line = self.record.position().map_or(0, csv::Position::line);
        if key.is_empty() || key.len() > MAX_KEY_LEN {
            let reason =
                format!("line {line}: the key has {} bytes; it must have 1 to {MAX_KEY_LEN}", key.len());
            return Err(Failure::Input { path: self.path.clone(), reason });
        }
        let mut value = Vec::new();
        serde_json::Serializer::new(&mut value).collect_map(self.columns.iter().zip(&self.record)).map_err(
            |error| Failure::Input { path: self.path.clone(), reason: format!("line {line}: {error}") },
        )?;
        Ok(Some((key.as_bytes().to_vec(), value)))
    }

    /// How many bytes of the file have been read.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.reader.position().byte()
    }
}

fn refused(path: &Path, error: &csv::Error) -> Failure {
    Failure::Input { path: path.to_path_buf(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8], key_column: Option<&str>) -> Outcome<Vec<(String, String)>> {
        let mut rows = Rows::new(Path::new("f.csv"), text, key_column)?;
        let mut entries = Vec::new();
        while let Some((key, value)) = rows.next()? {
            let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
            entries.push((text(key), text(value)));
        }
        Ok(entries)
    }

    #[test]
    fn a_row_becomes_an_object_in_the_order_of_its_columns() {
        let text = b"id,name,a\n007,\"say \"\"hi\"\",\nyou\",\n";
        let entries = read(text, None).expect("valid");
        let value = r#"{"id":"007","name":"say \"hi\",\nyou","a":""}"#;
        assert_eq!(entries, [("007".to_owned(), value.to_owned())]);
        assert_eq!(read(text, Some("name")).expect("valid")[0].0, "say \"hi\",\nyou");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, column, told) in [
            (&b""[..], None, "empty"),
            (b"a,a\n1,2\n", None, "two columns"),
            (b"a,b\n1,2\n", Some("c"), "there are a, b"),
            (b"a,b\n1,2\n1\n", None, "line: 3"),
            (b"a,b\n1,2\n,2\n", None, "line 3"),
            (b"a,b\n1,\xff\n", None, "line 2"),
        ] {
            let failure = read(text, column).expect_err(told);
            let told_text = failure.to_string();
            assert!(told_text.contains(told) && told_text.starts_with("f.csv: "), "{told_text}");
        }
    }
}
