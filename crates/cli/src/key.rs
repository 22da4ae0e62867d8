//! Where the key of a database comes from: `--key`, the environment, or whoever sits at the terminal.

use std::io::{self, IsTerminal};
use std::sync::Arc;

use lightning_db::{Error, KeySource};
use lightning_db_recovery_key::{RecoveryKey, RecoveryProvider, WordsError};

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
    match uri {
        "passphrase:prompt" => return prompt(ask),
        "recovery:prompt" => return recovery(),
        _ => {}
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

/// Asks for the words of a recovery key, or for shares of one until there are enough, without showing them.
fn recovery() -> Outcome<KeySource> {
    let key = gather(&mut |question| read(question))?;
    Ok(KeySource::provider(Arc::new(RecoveryProvider::new(key))))
}

/// A mistake in one share costs that share only. Nothing typed begins again, and ends it where there is nothing yet.
fn gather(ask: &mut dyn FnMut(&str) -> Outcome<zeroize::Zeroizing<String>>) -> Outcome<RecoveryKey> {
    let mut text = zeroize::Zeroizing::new(String::with_capacity(8192));
    loop {
        let line = ask("Recovery words, or one share (nothing to begin again): ")?;
        if line.trim().is_empty() {
            if text.is_empty() {
                let reason = "no words were given".to_owned();
                return Err(Error::InvalidKey { origin: "recovery:prompt".into(), reason }.into());
            }
            text.clear();
            continue;
        }
        let sound = text.len();
        text.push_str(&line);
        text.push('\n');
        match RecoveryKey::read(&text) {
            Ok(key) => return Ok(key),
            Err(error @ WordsError::TooFew { .. }) => eprintln!("{error}"),
            Err(error) => {
                eprintln!("{error}: type it again");
                text.truncate(sound);
            }
        }
    }
}

fn read(question: &str) -> Outcome<zeroize::Zeroizing<String>> {
    rpassword::prompt_password(question).map(zeroize::Zeroizing::new).map_err(|error| {
        unusable(format!("there is no terminal to ask at ({error}): use passphrase-file:, passphrase-env: or recovery-file:"))
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
    fn a_slip_in_one_share_costs_that_share_only() {
        use lightning_db_recovery_key::OsEntropy;
        let shares = |key: &RecoveryKey| key.split(3, 3, &OsEntropy).expect("split");
        let (key, other) = (RecoveryKey::generate(&OsEntropy), RecoveryKey::generate(&OsEntropy));
        let (key, other) = (key.expect("a key"), other.expect("a key"));
        let (parts, foreign) = (shares(&key), shares(&other));
        let mut slip = parts[1].to_string();
        slip.truncate(slip.len() - 3);
        let answers = [
            foreign[0].as_str(),
            "",
            parts[0].as_str(),
            &slip,
            foreign[1].as_str(),
            parts[1].as_str(),
            parts[2].as_str(),
        ];
        let mut answers = answers.into_iter();
        let mut ask = |_: &str| {
            Ok(zeroize::Zeroizing::new(answers.next().expect("not asked more than needed").to_owned()))
        };
        assert_eq!(*gather(&mut ask).expect("a key").words(), *key.words());
        assert!(gather(&mut |_| Ok(zeroize::Zeroizing::new(String::new()))).is_err(), "it ends");
    }

    #[test]
    fn the_flag_names_the_key() {
        let key = find(Some("file:/k"), Ask::ToOpen).expect("a URI");
        assert_eq!(format!("{key:?}"), "KeySource(file:/k)");
    }
}
