//! The names of a repository's objects. Numbers have a fixed width, so that a list is in their order.
//!
//! | name | what |
//! |---|---|
//! | `repository` | the repository's identity |
//! | `manifests/<number>` | backup or deletion number so and so: the one truth |
//! | `segments/<id>-<hash>` | a segment of the database, as ciphertext |
//! | `wal/<incarnation>/<first>-<last>-<hash>` | frames of the log |
//! | `keyrings/<generation>-<hash>` | a keyring |
//! | `head` | the newest manifest, a hint |

use lightning_db_storage::{FrameNumber, Incarnation, SegmentId};

/// The repository's identity.
pub(crate) const REPOSITORY: &str = "repository";
/// The newest manifest, a hint.
pub(crate) const HEAD: &str = "head";
/// Where the manifests are.
pub(crate) const MANIFESTS: &str = "manifests";
/// Where the segments are.
pub(crate) const SEGMENTS: &str = "segments";
/// Where the log is.
pub(crate) const LOG: &str = "wal";
/// Where the keyrings are.
pub(crate) const KEYRINGS: &str = "keyrings";

/// Numbers of records have so many digits,
const NUMBER_DIGITS: usize = 16;
/// and so are at most this.
pub(crate) const MAX_NUMBER: u64 = 9_999_999_999_999_999;

pub(crate) fn manifest(number: u64) -> String {
    format!("{MANIFESTS}/{number:016}")
}

/// The number of a manifest's name; `None` for every name that [`manifest`] does not make.
pub(crate) fn parse_manifest(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(MANIFESTS)?.strip_prefix('/')?;
    let canonical = digits.len() == NUMBER_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|number| canonical && *number > 0)
}

pub(crate) fn segment(id: SegmentId, hash: &[u8; 32]) -> String {
    format!("{SEGMENTS}/{:016x}-{}", id.0, hex::encode(hash))
}

pub(crate) fn log_piece(
    incarnation: Incarnation,
    first: FrameNumber,
    last: FrameNumber,
    hash: &[u8; 32],
) -> String {
    format!("{LOG}/{incarnation}/{:016x}-{:016x}-{}", first.0, last.0, hex::encode(hash))
}

pub(crate) fn keyring(generation: u64, hash: &[u8; 32]) -> String {
    format!("{KEYRINGS}/{generation:016x}-{}", hex::encode(hash))
}

/// Whether a repository may hold an object of this name.
pub(crate) fn is_known(name: &str) -> bool {
    let hex_parts = |text: &str, lens: &[usize]| {
        let parts: Vec<&str> = text.split('-').collect();
        let hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        parts.len() == lens.len() && parts.iter().zip(lens).all(|(part, len)| part.len() == *len && hex(part))
    };
    match name.split('/').collect::<Vec<_>>()[..] {
        [REPOSITORY | HEAD] => true,
        [MANIFESTS, _] => parse_manifest(name).is_some(),
        [SEGMENTS | KEYRINGS, object] => hex_parts(object, &[16, 64]),
        [LOG, incarnation, object] => hex_parts(incarnation, &[32]) && hex_parts(object, &[16, 16, 64]),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_made_are_known_and_others_are_not() {
        let piece = log_piece(Incarnation([0xab; 16]), FrameNumber(1), FrameNumber(2), &[3; 32]);
        let made = [manifest(7), segment(SegmentId(1), &[2; 32]), keyring(1, &[9; 32]), piece];
        for name in made.iter().map(String::as_str).chain([REPOSITORY, HEAD]) {
            assert!(is_known(name), "{name}");
        }
        assert_eq!(parse_manifest(&manifest(42)), Some(42));
        let foreign = [
            "",
            "../x",
            "segments/../../etc/passwd",
            "manifests/7",
            "manifests/0000000000000000",
            "tmp-1",
            "wal/x/y",
        ];
        for name in foreign {
            assert!(!is_known(name), "{name}");
        }
    }
}
