//! Each implementation opens what the other sealed, and each suite refuses each change.

use lightning_db_crypto::{AeadSuite, Checksum, CryptoError, SuiteId};
use proptest::prelude::*;

use crate::{implementations, prepare};

proptest! {
    #[test]
    fn implementations_open_each_other(
        key: [u8; 32],
        nonce: [u8; 12],
        aad in prop::collection::vec(any::<u8>(), 0..100),
        plain in prop::collection::vec(any::<u8>(), 0..5000),
    ) {
        for sealer in implementations() {
            for opener in implementations() {
                let mut data = plain.clone();
                let tag = prepare(&*sealer, &key).seal_detached(&nonce, &aad, &mut data)?;
                prepare(&*opener, &key).open_detached(&nonce, &aad, &mut data, &tag)?;
                prop_assert_eq!(&data, &plain);
            }
        }
    }

    #[test]
    fn any_flipped_bit_is_refused(
        key: [u8; 32],
        plain in prop::collection::vec(any::<u8>(), 1..300),
        aad in prop::collection::vec(any::<u8>(), 1..50),
        at: prop::sample::Index,
    ) {
        let suites = implementations().into_iter().chain([Box::new(Checksum) as Box<dyn AeadSuite>]);
        for suite in suites {
            let prepared = prepare(&*suite, &key);
            let mut sealed = plain.clone();
            let tag = prepared.seal_detached(&[1; 12], &aad, &mut sealed)?;
            let (mut parts, lengths) = (Vec::new(), [12, aad.len(), sealed.len(), 16]);
            parts.extend_from_slice(&[1; 12]);
            parts.extend_from_slice(&aad);
            parts.extend_from_slice(&sealed);
            parts.extend_from_slice(&tag);
            let bit = at.index(parts.len() * 8);
            parts[bit / 8] ^= 1 << (bit % 8);

            let (nonce, rest) = parts.split_at(lengths[0]);
            let (aad, rest) = rest.split_at(lengths[1]);
            let (data, tag) = rest.split_at(lengths[2]);
            let (nonce, tag) = (nonce.try_into()?, tag.try_into()?);
            let mut data = data.to_vec();
            let opened = prepared.open_detached(&nonce, aad, &mut data, &tag);
            prop_assert!(matches!(opened, Err(CryptoError::OpenFailed)), "{}", suite.name());
            prop_assert!(data.iter().all(|byte| *byte == 0), "{}", suite.name());
        }
    }
}

#[test]
fn a_checksum_suite_hides_nothing_and_tells_its_parts_apart() {
    let key = prepare(&Checksum, &[1; 32]);
    let mut data = *b"plain";
    let tag = key.seal_detached(&[0; 12], b"where", &mut data).expect("short");
    assert_eq!(&data, b"plain");
    let other_key = prepare(&Checksum, &[2; 32]);
    other_key.open_detached(&[0; 12], b"where", &mut data, &tag).expect("it has no key");
    // The same bytes, cut into associated data and data at another place.
    let one = key.seal_detached(&[0; 12], &[0; 13], &mut [0; 1]).expect("short");
    let two = key.seal_detached(&[0; 12], &[0; 1], &mut [0; 13]).expect("short");
    assert_ne!(one, two);
}

#[test]
fn stored_ids_are_pinned() {
    for id in 0..=255 {
        match SuiteId::from_u8(id) {
            Some(suite) => {
                assert_eq!(suite.to_u8(), id);
                assert_eq!(suite.suite().id(), suite);
            }
            None => assert!(id > 1),
        }
    }
    assert_eq!((SuiteId::Checksum.to_u8(), SuiteId::Aes256Gcm.to_u8()), (0, 1));
}
