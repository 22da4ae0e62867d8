//! What must hold for whatever is typed, and for whatever a file to be imported holds. Built for fuzzing and tests only.

#[path = "../../../fuzz/shared/mod.rs"]
mod shared;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use clap::Parser;
use shared::Input;
pub use shared::Target;

use crate::arguments::Cli;
use crate::bytes::Form;
use crate::commands::import::rows::Rows;
use crate::commands::restore::{incarnation, target};
use crate::failure::Failure;

/// All targets of this crate.
pub const TARGETS: &[Target] = &[CLI_ARGUMENTS, CLI_VALUES, CSV];

/// Whole command lines, with a zero between two arguments: understood or refused, and nothing is done yet.
pub const CLI_ARGUMENTS: Target = Target {
    name: "cli_arguments",
    run: arguments,
    seeds: || {
        let lines = [
            "create\0./db\0--key\0env:KEY",
            "scan\0./db\0--prefix\0a\0--reverse\0--limit\x005",
            "restore\0./repo\0./again\0--to\0time:2026-05-01T12:00:00Z\0--exclusive",
            "import\0csv\0f.csv\0./db\0--key-column\0id\0--no-encryption\0--json",
            "verify\0./repo\0--level\x004",
        ];
        lines.map(|line| line.as_bytes().to_vec()).to_vec()
    },
    room: 4 << 20,
};

/// Values of arguments: keys in hex, moments, histories.
pub const CLI_VALUES: Target = Target {
    name: "cli_values",
    run: values,
    seeds: || {
        let texts = ["00ff", "latest", "backup:7", "seq:18446744073709551615", "name:a:b", "a\\x00\n"];
        let times =
            ["time:2026-05-01T12:00:00.5Z", "time:-009999-01-02T01:59:59Z", "time:2026-05-01T14:00:00+02:00"];
        texts.iter().chain(&times).map(|text| text.as_bytes().to_vec()).collect()
    },
    room: 64 << 10,
};

/// Rows of a file to be imported.
pub const CSV: Target = Target {
    name: "csv",
    run: csv,
    seeds: || {
        vec![b"\0id,name\n1,\"a \"\"b\"\"\"\n2,\n".to_vec(), b"\x01a,b\n,x\n".to_vec(), b"\0a,a\n".to_vec()]
    },
    room: 1 << 20,
};

fn arguments(data: &[u8]) {
    let words = data.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec()));
    let words = std::iter::once(OsString::from("lightning-cli")).chain(words);
    if let Err(error) = Cli::try_parse_from(words) {
        assert!(!error.render().to_string().is_empty());
    }
}

fn values(data: &[u8]) {
    let shown = Form::Hex.show(data);
    assert_eq!(Form::Hex.parse("KEY", shown.into_owned().into()).ok().as_deref(), Some(data));
    assert_eq!(Form::Text.parse("KEY", OsString::from_vec(data.to_vec())).ok().as_deref(), Some(data));
    assert!(!Form::Text.show(data).contains(char::is_control));
    if let Ok(bytes) = Form::Hex.parse("KEY", OsString::from_vec(data.to_vec())) {
        assert!(Form::Hex.show(&bytes).as_bytes().eq_ignore_ascii_case(data));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Err(reason) = target(text) {
        assert!(!reason.is_empty());
    }
    if let Ok(id) = incarnation(text) {
        assert!(id.to_string().eq_ignore_ascii_case(text));
    }
}

fn csv(data: &[u8]) {
    let mut input = Input::new(data);
    let key_column = (input.byte() & 1 == 1).then_some("b");
    let mut rows = match Rows::new(Path::new("f.csv"), input.rest(), key_column) {
        Ok(rows) => rows,
        Err(failure) => return assert!(matches!(failure, Failure::Input { .. })),
    };
    loop {
        match rows.next() {
            Ok(Some((key, value))) => {
                let value: serde_json::Value = serde_json::from_slice(&value).expect("a row is JSON");
                let columns = value.as_object().expect("a row is an object");
                let key = String::from_utf8(key).expect("text");
                assert!(!key.is_empty() && columns.values().any(|value| *value == *key));
            }
            Ok(None) => return,
            Err(failure) => return assert!(matches!(failure, Failure::Input { .. })),
        }
    }
}

#[cfg(test)]
#[test]
fn targets_hold_for_what_was_found_before() {
    shared::replay(TARGETS);
}
