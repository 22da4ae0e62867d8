//! What providers read that is not sealed.

use super::exec::{ExecProvider, presentable};
use super::file;
use crate::{CryptoError, DatabaseId, SecretKey, ServiceUri, SlotContext, UriGrammar, WrappedBy};

const GRAMMAR: UriGrammar = UriGrammar {
    scheme: "x",
    attributes: &["token"],
    parameters: &["pin-source"],
    refused: &[("pin-value", "no")],
    example: "x:token=T",
};

/// Reads `data` as a key file's content, as what a key command answers, as a service's URI, and as parameters of a slot.
pub(crate) fn check(data: &[u8]) {
    if let Some(key) = file::parse_key(data) {
        let digits = hex::encode(key.expose());
        let line = file::without_line_end(data);
        assert!(data == key.expose() || line.eq_ignore_ascii_case(digits.as_bytes()));
    }
    assert!(data.len() - file::without_line_end(data).len() <= 2);
    if let Ok(answer) = ExecProvider::new("x").decode(data, SecretKey::LEN) {
        assert!((1..=SecretKey::LEN).contains(&answer.len()));
        assert!(hex::encode(&*answer).eq_ignore_ascii_case(&String::from_utf8_lossy(data.trim_ascii())));
    }
    if let Ok(uri) = std::str::from_utf8(data)
        && let Ok(parsed) = ServiceUri::parse(&GRAMMAR, uri)
    {
        assert!(uri.starts_with("x:") && parsed.get("token").is_some());
        assert!(parsed.get("token").is_none_or(|value| value.len() < uri.len() && !value.contains('\0')));
    }
    if let Some((database, params)) = data.split_first_chunk::<16>() {
        let ctx = SlotContext { database: DatabaseId(*database), salt: [0; 32] };
        match WrappedBy::from_params("x", &ctx, params) {
            Ok(by) => assert_eq!(by.to_params(&ctx).expect("short"), params),
            Err(CryptoError::Malformed { .. } | CryptoError::WrongDatabase { .. }) => {}
            Err(error) => panic!("an unexpected error: {error}"),
        }
    }
    let shown = presentable(&String::from_utf8_lossy(data));
    assert!(!shown.contains(char::is_control));
    let longest = shown.split(|c: char| !c.is_ascii_hexdigit()).map(str::len).max();
    assert!(longest.is_none_or(|digits| digits < 32), "what may be a key is shown");
}
