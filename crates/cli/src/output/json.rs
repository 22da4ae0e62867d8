//! What programs read.

use lightning_db::Phase;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::bytes::Form;
use crate::failure::Failure;

/// `{"error": {"kind": …, "message": …}}`
pub(crate) fn failure(failure: &Failure) -> String {
    #[derive(Serialize)]
    struct Object {
        error: Inner,
    }
    #[derive(Serialize)]
    struct Inner {
        kind: &'static str,
        message: String,
    }
    let inner = Inner { kind: failure.kind(), message: failure.to_string() };
    serde_json::to_string(&Object { error: inner }).expect("two strings are valid JSON")
}

/// How long each phase took: `[{"phase": …, "seconds": …}]`
pub(crate) fn phases(phases: &[Phase]) -> Vec<Value> {
    let object = |phase: &Phase| json!({"phase": phase.name, "seconds": phase.duration.as_secs_f64()});
    phases.iter().map(object).collect()
}

/// A key with its value: `{"key": …, "value": …}`. In text form, bytes that are no text are given as hex digits
/// under `key_hex` or `value_hex` instead, so that nothing is lost.
pub(crate) struct Entry<'a> {
    /// How bytes are written.
    pub(crate) form: Form,
    /// The key.
    pub(crate) key: &'a [u8],
    /// The value.
    pub(crate) value: &'a [u8],
}

impl Serialize for Entry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        field(&mut map, self.form, ["key", "key_hex"], self.key)?;
        field(&mut map, self.form, ["value", "value_hex"], self.value)?;
        map.end()
    }
}

/// A key alone, written as in [`Entry`].
pub(crate) struct Key<'a> {
    /// How bytes are written.
    pub(crate) form: Form,
    /// The key.
    pub(crate) key: &'a [u8],
}

impl Serialize for Key<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        field(&mut map, self.form, ["key", "key_hex"], self.key)?;
        map.end()
    }
}

fn field<M: SerializeMap>(map: &mut M, form: Form, names: [&str; 2], bytes: &[u8]) -> Result<(), M::Error> {
    match (form, std::str::from_utf8(bytes)) {
        (Form::Hex, _) => map.serialize_entry(names[0], &hex::encode(bytes)),
        (Form::Text, Ok(text)) => map.serialize_entry(names[0], text),
        (Form::Text, Err(_)) => map.serialize_entry(names[1], &hex::encode(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_named_as_hex() {
        let show =
            |form| serde_json::to_string(&Entry { form, key: b"k\"", value: b"\xff" }).expect("an object");
        assert_eq!(show(Form::Text), r#"{"key":"k\"","value_hex":"ff"}"#);
        assert_eq!(show(Form::Hex), r#"{"key":"6b22","value":"ff"}"#);
    }

    #[test]
    fn a_failure_has_kind_and_message() {
        let text = failure(&Failure::NotFound("no such \"key\"".into()));
        assert_eq!(text, r#"{"error":{"kind":"not_found","message":"no such \"key\""}}"#);
    }
}
