//! Options from a TOML file.

use std::path::Path;

use lightning_db_storage::StorageError;
use lightning_db_storage::vfs::{OpenHow, Vfs};
use toml::{Table, Value};

use super::LightningDbConfig;
use super::options::{Entry, Kind, OPTIONS, ReadKey};
use crate::error::{Error, Result};

/// More than any configuration needs; what is longer is another kind of file.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Changes `config` by what the file says.
pub(super) fn apply(
    config: &mut LightningDbConfig,
    vfs: &dyn Vfs,
    path: &Path,
    read_key: ReadKey<'_>,
) -> Result<()> {
    let text = read(vfs, path)?;
    let sections = parse(&text, path)?;
    refuse_unknown(&sections, path)?;
    for option in OPTIONS {
        let Some(Value::Table(section)) = sections.get(option.section) else { continue };
        set(config, option, section, path, read_key)?;
    }
    Ok(())
}

fn read(vfs: &dyn Vfs, path: &Path) -> Result<String> {
    let failed = |error| Error::from(StorageError::io("read", path, error));
    let file = vfs.open(path, OpenHow::Read).map_err(failed)?;
    let length = file.len().map_err(failed)?;
    if length > MAX_FILE_BYTES {
        return Err(refused(path, None, "it is longer than 1 MiB, so it is no configuration file"));
    }
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, 0).map_err(failed)?;
    String::from_utf8(bytes).map_err(|_| refused(path, None, "it is not UTF-8 text"))
}

/// Parses the text. The parser's own error shows the faulty line, in which a secret may stand; only its number is told.
fn parse(text: &str, path: &Path) -> Result<Table> {
    text.parse::<Table>().map_err(|error| {
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1;
        refused(path, None, &format!("line {line} is not TOML: {}", error.message()))
    })
}

fn refuse_unknown(sections: &Table, path: &Path) -> Result<()> {
    let mut unknown = Vec::new();
    for (section, value) in sections {
        let known: Vec<&Entry> = OPTIONS.iter().filter(|option| option.section == section).collect();
        match value {
            Value::Table(_) if known.is_empty() => unknown.push(format!("[{section}]")),
            Value::Table(keys) => {
                let strangers = keys.keys().filter(|key| !known.iter().any(|option| option.spells(key)));
                unknown.extend(strangers.map(|key| format!("{section}.{key}")));
            }
            _ => unknown.push(section.clone()),
        }
    }
    if unknown.is_empty() {
        return Ok(());
    }
    Err(refused(path, Some(&unknown.join(", ")), "there is no such key: look for a misspelling"))
}

/// Sets one option if its section has it, under its own name or the one with a unit.
fn set(
    config: &mut LightningDbConfig,
    option: &Entry,
    section: &Table,
    path: &Path,
    read_key: ReadKey<'_>,
) -> Result<()> {
    let name = |key: &str| format!("{}.{key}", option.section);
    let plain = section.get(option.name);
    let in_unit = option.name_in_unit().and_then(|key| section.get(&key).map(|value| (key, value)));
    let (key, result) = match (plain, in_unit) {
        (Some(_), Some((key, _))) => {
            let reason = format!("`{}` says the same: keep one of them", option.name);
            return Err(refused(path, Some(&name(&key)), &reason));
        }
        (Some(value), None) => (option.name.to_owned(), option.kind.set_value(config, value, read_key)),
        (None, Some((key, value))) => (key, option.kind.set_in_unit(config, value)),
        (None, None) => return Ok(()),
    };
    result.map_err(|reason| refused(path, Some(&name(&key)), &reason))
}

impl Entry {
    fn spells(&self, key: &str) -> bool {
        key == self.name || self.name_in_unit().as_deref() == Some(key)
    }

    /// The option's second name, which says the unit of its number.
    fn name_in_unit(&self) -> Option<String> {
        match self.kind {
            Kind::Size(_) => Some(format!("{}_mb", self.name)),
            Kind::Time(_) => Some(format!("{}_seconds", self.name)),
            _ => None,
        }
    }
}

impl Kind {
    /// Sets the option from a value of the type that it has in TOML.
    fn set_value(
        &self,
        config: &mut LightningDbConfig,
        value: &Value,
        read_key: ReadKey<'_>,
    ) -> Result<(), String> {
        match (self, value) {
            (Self::Flag(set), Value::Boolean(flag)) => {
                set(config, *flag);
                Ok(())
            }
            (Self::Flag(_), _) => Err("it is true or false, without quotes".into()),
            (Self::Number(set), Value::Integer(number)) => set(config, *number),
            (Self::Number(_), _) => Err("it is a whole number, without quotes".into()),
            (Self::Size(set), Value::Integer(bytes)) => set(config, unsigned(*bytes)?),
            (Self::Word(_), Value::Integer(number)) => self.set_text(config, &number.to_string(), read_key),
            (Self::Size(_) | Self::Time(_) | Self::Word(_) | Self::Key(_), Value::String(text)) => {
                self.set_text(config, text, read_key)
            }
            (Self::Size(_), _) => Err("it is a number of bytes, or text such as \"512MB\"".into()),
            (Self::Time(_), _) => Err("it is text such as \"30s\"".into()),
            (Self::Word(_) | Self::Key(_), _) => Err("it is text".into()),
        }
    }

    /// Sets a size from a number of MiB, or a duration from a number of seconds.
    fn set_in_unit(&self, config: &mut LightningDbConfig, value: &Value) -> Result<(), String> {
        let Value::Integer(number) = value else { return Err("it is a whole number, without quotes".into()) };
        let number = unsigned(*number)?;
        match self {
            Self::Size(set) => {
                set(config, number.checked_mul(1024 * 1024).ok_or("the size is beyond 64 bits")?)
            }
            Self::Time(set) => {
                set(config, std::time::Duration::from_secs(number));
                Ok(())
            }
            Self::Flag(_) | Self::Number(_) | Self::Word(_) | Self::Key(_) => Err("it has no unit".into()),
        }
    }
}

fn unsigned(number: i64) -> Result<u64, String> {
    u64::try_from(number).map_err(|_| "it cannot be negative".into())
}

fn refused(path: &Path, key: Option<&str>, reason: &str) -> Error {
    let option = key.map_or_else(|| path.display().to_string(), |key| format!("{key} in {}", path.display()));
    Error::config(option, reason)
}

#[cfg(test)]
mod tests;
