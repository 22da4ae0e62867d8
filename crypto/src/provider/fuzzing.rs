//! What providers read that is not sealed.

use super::exec::{ExecProvider, presentable};
use super::file;
use crate::SecretKey;

/// Reads `data` as a key file's content, and as what a key command answers.
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
    let shown = presentable(&String::from_utf8_lossy(data));
    assert!(!shown.contains(char::is_control));
    let longest = shown.split(|c: char| !c.is_ascii_hexdigit()).map(str::len).max();
    assert!(longest.is_none_or(|digits| digits < 32), "what may be a key is shown");
}
