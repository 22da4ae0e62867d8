//! Where the key of a database comes from: `--key`, the environment, or whoever sits at the terminal.

use std::io::{self, IsTerminal};

use lightning_db::{Error, KeySource};

use crate::failure::{Failure, Outcome};

const VARIABLE: &str = "LIGHTNING_DB_KEY";

/// What a passphrase is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// To open something: once.
    ToOpen,
    /// To set it: twice, since a slip would lock everybody out.
    ToSet,
}

/// The key that `flag` or else the environment names; none if neither does.
///
/// # Errors
/// `Usage` if the text is no key URI; `InvalidKey` if nobody answers.
pub(crate) fn find(flag: Option<&str>, ask: Ask) -> Outcome<KeySource> {
    if let Some(uri) = flag {
        return from_uri("--key", uri, ask);
    }
    match std::env::var(VARIABLE) {
        Ok(uri) => from_uri(VARIABLE, &uri, ask),
        Err(std::env::VarError::NotPresent) => Ok(KeySource::none()),
        Err(std::env::VarError::NotUnicode(_)) => Err(Failure::Usage(format!("{VARIABLE} is not UTF-8"))),
    }
}

/// The key that `uri` names. `origin` says in an error where the text came from; the text itself may be a secret that
/// was given by mistake.
///
/// # Errors
/// `Usage` if the text is no key URI; `InvalidKey` if nobody answers.
pub(crate) fn from_uri(origin: &str, uri: &str, ask: Ask) -> Outcome<KeySource> {
    if uri == "passphrase:prompt" {
        return prompt(ask);
    }
    lightning_db_key_services::key_source(uri).map_err(|error| Failure::Usage(format!("{origin}: {error}")))
}

/// Whether there is somebody to ask.
pub(crate) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks for a passphrase at the terminal, without showing it.
///
/// # Errors
/// `InvalidKey` if there is no terminal, or the two answers differ.
pub(crate) fn prompt(ask: Ask) -> Outcome<KeySource> {
    let first = read("Passphrase: ")?;
    if ask == Ask::ToSet && *first != *read("The same passphrase again: ")? {
        return Err(unusable("the two passphrases differ".into()));
    }
    Ok(KeySource::passphrase(first.as_str()))
}

fn read(question: &str) -> Outcome<zeroize::Zeroizing<String>> {
    rpassword::prompt_password(question).map(zeroize::Zeroizing::new).map_err(|error| {
        unusable(format!("there is no terminal to ask at ({error}): use passphrase-file: or passphrase-env:"))
    })
}

fn unusable(reason: String) -> Failure {
    Error::InvalidKey { origin: "passphrase:prompt".into(), reason }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_no_uri_is_refused_and_not_repeated() {
        for text in ["hunter2", "raw:hunter2", "passphrase:hunter2"] {
            let failure = from_uri("--key", text, Ask::ToOpen).expect_err(text);
            assert!(matches!(failure, Failure::Usage(_)));
            assert!(!failure.to_string().contains("hunter2"), "{failure}");
            assert!(failure.to_string().starts_with("--key: "), "{failure}");
        }
    }

    #[test]
    fn the_flag_names_the_key() {
        let key = find(Some("file:/k"), Ask::ToOpen).expect("a URI");
        assert_eq!(format!("{key:?}"), "KeySource(file:/k)");
    }
}
