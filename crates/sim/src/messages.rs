//! What the program says to whoever keeps its messages: read as it is said, and held to have no secret in it.

use std::fmt::{Debug, Write as _};
use std::sync::Once;

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// The first message that told a secret, since somebody asked.
static TOLD: Mutex<Option<String>> = Mutex::new(None);
/// What counts as a secret.
static SECRETS: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// From now on all messages of this process are read. `secrets` are looked for as they are, as hexadecimal digits, and as
/// the numbers that `{:?}` makes of bytes.
pub(crate) fn read_for(secrets: &[&[u8]]) {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(|| {
        *SECRETS.lock() = secrets.iter().flat_map(|secret| spellings(secret)).collect();
        // Somebody else may read them already: a test of this program.
        let _ = tracing::subscriber::set_global_default(Reader);
    });
}

/// The first message that told a secret, if one did since this was asked last.
pub(crate) fn first_that_told() -> Option<String> {
    TOLD.lock().take()
}

fn spellings(secret: &[u8]) -> [Vec<u8>; 3] {
    let numbers = format!("{secret:?}");
    let hex = secret.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    [secret.to_vec(), hex.into_bytes(), numbers.trim_matches(['[', ']']).as_bytes().to_vec()]
}

struct Reader;

/// A message with all of its fields.
struct Text(String);

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        let _ = write!(self.0, " {}={value}", field.name());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

fn read(metadata: &Metadata<'_>, record: impl FnOnce(&mut Text)) {
    let mut text = Text(format!("{} {}:", metadata.target(), metadata.name()));
    record(&mut text);
    let secrets = SECRETS.lock();
    let tells = |secret: &Vec<u8>| crate::seeds::contains(text.0.as_bytes(), secret);
    if secrets.iter().any(tells) {
        TOLD.lock().get_or_insert(text.0);
    }
}

impl Subscriber for Reader {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("lightning_db")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        read(span.metadata(), |text| span.record(text));
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        let mut text = Text(String::new());
        values.record(&mut text);
        let secrets = SECRETS.lock();
        if secrets.iter().any(|secret| crate::seeds::contains(text.0.as_bytes(), secret)) {
            TOLD.lock().get_or_insert(text.0);
        }
    }

    fn event(&self, event: &Event<'_>) {
        read(event.metadata(), |text| event.record(text));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_however_it_is_spelt() {
        read_for(&[b"\x91secret"]);
        tracing::info!(target: "lightning_db::test", "nothing of note");
        assert_eq!(first_that_told(), None);
        tracing::info!(target: "lightning_db::test", bytes = ?b"a\x91secret", "as numbers");
        assert!(first_that_told().is_some_and(|text| text.contains("as numbers")));
        tracing::debug!(target: "lightning_db::test", hex = "00917365637265740", "as digits");
        assert!(first_that_told().is_some_and(|text| text.contains("as digits")));
        let _span = tracing::trace_span!(target: "lightning_db::test", "of", what = "145, 115, 101, 99, 114, 101, 116").entered();
        assert!(first_that_told().is_some());
        assert_eq!(first_that_told(), None);
    }
}
