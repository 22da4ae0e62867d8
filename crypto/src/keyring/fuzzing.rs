//! Keyrings from bytes that nobody, or a holder of the key, made up.

use std::sync::OnceLock;

use super::{Keyring, codec, peek};
use crate::fuzzing::{Input, Target, edit, flips};
use crate::{DatabaseId, KeyProvider, RawProvider, SEALED_OVERHEAD, SecretKey, SeededEntropy, seal_object};

/// The stored form, changed without the key: it never opens. Its checksum is made to fit.
pub const KEYRING: Target = Target {
    name: "keyring",
    run: keyring,
    seeds: || {
        let mut seeds = flips(&[0], sample().1.len() - codec::CHECKSUM_LEN);
        seeds.extend([vec![0], [vec![0x80], sample().1.clone()].concat()]);
        seeds
    },
    room: 1 << 20,
};

/// The sealed body, changed by who has the key: what opens is stored again as the same bytes.
pub const KEYRING_BODY: Target = Target {
    name: "keyring_body",
    run: keyring_body,
    seeds: || {
        let body = codec::encode_body(&sample().0).to_vec();
        vec![[vec![0], body.clone()].concat(), [vec![1], body[..60].to_vec()].concat()]
    },
    room: 1 << 20,
};

/// A keyring with two slots and three epochs, and its stored form.
fn sample() -> &'static (Keyring, Vec<u8>) {
    static SAMPLE: OnceLock<(Keyring, Vec<u8>)> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let entropy = SeededEntropy::new(1);
        let mut keyring =
            Keyring::create(Some(&provider(1)), DatabaseId([5; 16]), &entropy, 10).expect("a keyring");
        keyring.add_slot(&provider(2), "second", &entropy, 20).expect("a slot");
        for time in [30, 40] {
            keyring.start_epoch(&entropy, time).expect("an epoch");
        }
        let bytes = keyring.to_bytes(&entropy).expect("its stored form");
        (keyring, bytes)
    })
}

fn provider(byte: u8) -> impl KeyProvider {
    RawProvider::new(SecretKey::from_bytes([byte; 32]))
}

fn with_checksum(mut content: Vec<u8>) -> Vec<u8> {
    let checksum = blake3::hash(&content);
    content.extend_from_slice(checksum.as_bytes());
    content
}

fn keyring(data: &[u8]) {
    let (_, stored) = sample();
    let mut input = Input::new(data);
    let how = input.byte();
    let content = stored[..stored.len() - codec::CHECKSUM_LEN].to_vec();
    let bytes = if how & 0x80 == 0 {
        let mut content = content;
        edit(&mut content, &mut input);
        with_checksum(content)
    } else if how & 1 == 0 {
        input.rest().to_vec()
    } else {
        with_checksum(input.rest().to_vec())
    };
    let told = peek(&bytes);
    for key in [1, 2, 3] {
        match Keyring::open(&bytes, Some(&provider(key))) {
            Ok(opened) => {
                assert_eq!(&bytes, stored, "a changed keyring opened");
                assert_eq!(opened.slots(), told.as_ref().expect("it opened").slots);
            }
            Err(_) => assert!(&bytes != stored || key == 3, "the keyring does not open"),
        }
    }
    // Without encryption everybody has the key.
    if let Ok(opened) = Keyring::open(&bytes, None) {
        stores_the_same(&opened);
    }
}

fn keyring_body(data: &[u8]) {
    let (keyring, _) = sample();
    let mut input = Input::new(data);
    let edits_clear = input.byte() & 1 == 1;
    let mut clear = codec::encode_clear(keyring);
    if edits_clear {
        edit(&mut clear, &mut Input::new(input.chunk()));
    }
    let plain = if edits_clear { codec::encode_body(keyring).to_vec() } else { input.rest().to_vec() };
    clear.extend_from_slice(&((plain.len() + SEALED_OVERHEAD) as u32).to_le_bytes());
    let context = keyring.database.as_bytes();
    let (suite, entropy) = (&*keyring.suite, SeededEntropy::new(2));
    let sealed = seal_object(suite, &keyring.master, &entropy, codec::BODY_LABEL, context, &clear, &plain)
        .expect("sealed");
    clear.extend_from_slice(&sealed);
    if let Ok(opened) = Keyring::open(&with_checksum(clear), Some(&provider(1))) {
        assert_eq!(*codec::encode_body(&opened), plain);
        stores_the_same(&opened);
    }
}

/// What was opened comes back from its own stored form, and can be changed.
fn stores_the_same(opened: &Keyring) {
    let entropy = SeededEntropy::new(3);
    let provider = (!opened.slots.is_empty()).then(|| provider(1));
    let provider = provider.as_ref().map(|provider| provider as &dyn KeyProvider);
    let bytes = opened.to_bytes(&entropy).expect("its stored form");
    let again = Keyring::open(&bytes, provider).expect("what was just stored");
    assert_eq!((again.slots(), again.epochs()), (opened.slots(), opened.epochs()));
    assert_eq!(codec::encode_clear(&again), codec::encode_clear(opened));
    assert_eq!(*codec::encode_body(&again), *codec::encode_body(opened));
    let mut changed = again.duplicate();
    if changed.start_epoch(&entropy, 1).is_ok() {
        let bytes = changed.to_bytes(&entropy).expect("its stored form");
        Keyring::open(&bytes, provider).expect("a keyring with one more epoch");
    }
}
