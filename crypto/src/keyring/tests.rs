//! What a keyring promises.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::SEALED_OVERHEAD;
use crate::{OsEntropy, PassphraseCost, PassphraseProvider, RawProvider, SeededEntropy, SlotContext};

const DATABASE: DatabaseId = DatabaseId([0xdb; 16]);
const NOW: i64 = 1_700_000_000_000_000;

fn raw(byte: u8) -> RawProvider {
    RawProvider::new(SecretKey::from_bytes([byte; 32]))
}

fn passphrase(text: &str) -> PassphraseProvider {
    let cheap = PassphraseCost::new(8 * 1024, 1, 1).expect("within bounds");
    PassphraseProvider::new(text).expect("not empty").with_cost(cheap)
}

fn encrypted() -> Keyring {
    Keyring::create(Some(&raw(1)), DATABASE, &OsEntropy, NOW).expect("created")
}

fn plain() -> Keyring {
    Keyring::create(None, DATABASE, &OsEntropy, NOW).expect("created")
}

fn stored(keyring: &Keyring) -> Vec<u8> {
    keyring.to_bytes(&OsEntropy).expect("stored")
}

/// What somebody does who edits a keyring and knows the format.
fn with_checksum(mut content: Vec<u8>) -> Vec<u8> {
    let checksum = blake3::hash(&content);
    content.extend_from_slice(checksum.as_bytes());
    content
}

fn without_checksum(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len() - 32]
}

fn assert_same(one: &Keyring, two: &Keyring) {
    assert_eq!(format!("{one:?}"), format!("{two:?}"));
    assert_eq!(one.slots(), two.slots());
    assert_eq!(one.epochs(), two.epochs());
    assert_eq!(one.public_key(), two.public_key());
    assert_eq!(one.content_hasher().entry(0, b"k", b"v"), two.content_hasher().entry(0, b"k", b"v"));
    for epoch in one.epochs() {
        let key = |keyring: &Keyring| keyring.segment_key(epoch.id, 7, &[1; 24]).expect("there");
        assert_eq!(key(one), key(two));
    }
    let sealed = one.seal_small(&OsEntropy, "note", b"1", b"aad", b"content").expect("sealed");
    assert_eq!(two.open_small("note", b"1", b"aad", &sealed).expect("opened").as_slice(), b"content");
    two.public_key().verify(b"m", &one.signing_key().sign(b"m")).expect("signed");
}

#[test]
fn comes_back_as_it_was_stored() {
    let mut keyring = encrypted();
    keyring.start_epoch(&OsEntropy, NOW + 1).expect("started");
    keyring.add_slot(&passphrase("horse"), "people", &OsEntropy, NOW + 2).expect("added");
    let bytes = stored(&keyring);
    assert_same(&keyring, &Keyring::open(&bytes, Some(&raw(1))).expect("opened"));
    assert_same(&keyring, &Keyring::open(&bytes, Some(&passphrase("horse"))).expect("opened"));
    assert_same(&keyring, &keyring.duplicate());

    let plain = plain();
    assert_eq!(plain.suite_id(), SuiteId::Checksum);
    assert_same(&plain, &Keyring::open(&stored(&plain), None).expect("opened"));
}

#[test]
fn tells_what_needs_no_key() {
    let keyring = encrypted();
    let info = peek(&stored(&keyring)).expect("sound");
    assert!(info.encrypted());
    assert_eq!((info.database, info.generation), (DATABASE, 1));
    assert_eq!(info.public_key, keyring.public_key());
    assert_eq!(info.slots, keyring.slots());
    assert_eq!((info.slots[0].kind.as_str(), info.slots[0].label.as_str()), ("raw", "default"));
    assert!(!peek(&stored(&plain())).expect("sound").encrypted());
}

#[test]
fn a_wrong_or_missing_key_is_named() {
    let bytes = stored(&encrypted());
    for provider in [&raw(2) as &dyn KeyProvider, &passphrase("x")] {
        let error = Keyring::open(&bytes, Some(provider)).expect_err("another key");
        assert!(matches!(error, CryptoError::WrongKey { .. }), "{error}");
    }
    let with_passphrase =
        Keyring::create(Some(&passphrase("right")), DATABASE, &OsEntropy, NOW).expect("created");
    let error = Keyring::open(&stored(&with_passphrase), Some(&passphrase("wrong")));
    assert!(matches!(error, Err(CryptoError::WrongKey { .. })));
    assert!(matches!(Keyring::open(&bytes, None), Err(CryptoError::KeyRequired)));
    let replaced = Keyring::open(&stored(&plain()), Some(&raw(1)));
    assert!(matches!(replaced, Err(CryptoError::NotEncrypted)));
}

#[test]
fn damage_is_never_taken_for_a_wrong_key() {
    for (bytes, provider) in
        [(stored(&encrypted()), Some(&raw(1) as &dyn KeyProvider)), (stored(&plain()), None)]
    {
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            for result in [Keyring::open(&changed, provider), Keyring::open(&bytes[..at], provider)] {
                assert!(matches!(result, Err(CryptoError::Malformed { .. })), "byte {at}");
            }
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(matches!(Keyring::open(&longer, provider), Err(CryptoError::Malformed { .. })));
    }
}

#[test]
fn an_edit_with_a_new_checksum_never_opens() {
    for (bytes, provider) in
        [(stored(&encrypted()), Some(&raw(1) as &dyn KeyProvider)), (stored(&plain()), None)]
    {
        for at in 0..bytes.len() - 32 {
            for flip in [1, 0x80, 0xff] {
                let mut content = without_checksum(&bytes).to_vec();
                content[at] ^= flip;
                let result = Keyring::open(&with_checksum(content), provider);
                assert!(result.is_err(), "byte {at} is not protected");
            }
            let cut = with_checksum(bytes[..at].to_vec());
            assert!(Keyring::open(&cut, provider).is_err(), "{at} bytes");
        }
    }
}

#[test]
fn an_edit_behind_the_right_key_is_malformed() {
    let bytes = stored(&encrypted());
    let content = without_checksum(&bytes);
    let wrapped = content.len() - 4 - (32 + 8 + 80 + SEALED_OVERHEAD) - 1;
    let generation = 33;
    let master_commitment = 73;
    for at in [wrapped, generation, master_commitment, content.len() - 1] {
        let mut content = content.to_vec();
        content[at] ^= 2;
        let error = Keyring::open(&with_checksum(content), Some(&raw(1))).expect_err("edited");
        assert!(matches!(error, CryptoError::Malformed { .. }), "byte {at}: {error}");
    }
}

#[test]
fn later_formats_are_refused_by_name() {
    let bytes = stored(&encrypted());
    let edit = |at: usize, value: u8| {
        let mut content = without_checksum(&bytes).to_vec();
        content[at] = value;
        Keyring::open(&with_checksum(content), Some(&raw(1))).expect_err("refused")
    };
    let version = edit(8, 2);
    assert!(matches!(version, CryptoError::UnsupportedVersion { found: 2, supported: 1 }));
    assert!(matches!(edit(12, 4), CryptoError::UnsupportedFeatures(4)));
    assert!(matches!(edit(8, 0), CryptoError::Malformed { .. }));
    assert!(matches!(edit(0, b'X'), CryptoError::Malformed { .. }));
}

#[test]
fn counts_and_lengths_are_bounded_before_they_are_believed() {
    let content = without_checksum(&stored(&encrypted())).to_vec();
    // Number of slots, then the lengths of the first slot's kind, label, parameters, wrapped key.
    let kind = 113 + 4 + 8 + 32 + 32;
    let label = kind + 4 + "raw".len();
    let params = label + 4 + "default".len();
    for at in [109, kind, label, params, params + 4] {
        for length in [u32::MAX, 1 << 20] {
            let mut content = content.clone();
            content[at..at + 4].copy_from_slice(&length.to_le_bytes());
            let error = peek(&with_checksum(content)).expect_err("out of bounds").to_string();
            assert!(error.contains("above the limit"), "at {at}: {error}");
        }
    }
    assert!(matches!(peek(&vec![0; MAX_KEYRING_LEN + 1]), Err(CryptoError::Malformed { .. })));
}

#[test]
fn costs_from_the_file_are_bounded_before_any_work() {
    let provider = passphrase("x");
    let ctx = SlotContext { database: DATABASE, salt: [3; 32] };
    let good = provider.wrap(&ctx, &SecretKey::from_bytes([9; 32]), &OsEntropy).expect("wrapped");
    let cases = [
        [u32::MAX, 1, 1],
        [1024 * 1024 + 1, 1, 1],
        [8 * 1024 - 1, 1, 1],
        [8 * 1024, 0, 1],
        [8 * 1024, 17, 1],
        [8 * 1024, 1, 0],
        [8 * 1024, 1, 17],
        [0, 0, 0],
    ];
    let mut all: Vec<Vec<u8>> =
        cases.iter().map(|case| case.iter().flat_map(|n| n.to_le_bytes()).collect()).collect();
    all.extend([vec![], good.params[..11].to_vec(), [&good.params[..], &[0]].concat()]);
    for params in all {
        let result = provider.unwrap(&ctx, &WrappedKey { params: params.clone(), ..good.clone() });
        assert!(matches!(result, Err(CryptoError::Malformed { .. })), "{params:?}");
    }
}

#[test]
fn slots_come_and_go() {
    let mut keyring = encrypted();
    let first = keyring.slots()[0].id;
    assert!(matches!(keyring.remove_slot(first), Err(CryptoError::LastSlot)));
    let second = keyring.add_slot(&raw(2), "second", &OsEntropy, NOW).expect("added");
    assert_eq!(keyring.generation(), 2);
    let refused = keyring.add_slot(&raw(3), "second", &OsEntropy, NOW);
    assert!(matches!(refused, Err(CryptoError::DuplicateLabel(label)) if label == "second"));
    for label in ["", "a\nb", "\u{1b}[2J", &"x".repeat(129)] {
        let refused = keyring.add_slot(&raw(3), label, &OsEntropy, NOW);
        assert!(matches!(refused, Err(CryptoError::InvalidLabel { max: 128 })), "{label:?}");
    }

    keyring.remove_slot(first).expect("removed");
    assert!(matches!(keyring.remove_slot(first), Err(CryptoError::SlotNotFound(id)) if id == first));
    let bytes = stored(&keyring);
    assert!(matches!(Keyring::open(&bytes, Some(&raw(1))), Err(CryptoError::WrongKey { .. })));
    let mut keyring = Keyring::open(&bytes, Some(&raw(2))).expect("the second opens it");

    let third = keyring.add_slot(&raw(3), "third", &OsEntropy, NOW).expect("added");
    assert!(third > second && second > first, "a number was used again");
    keyring.rotate_slot(second, &passphrase("p"), &OsEntropy, NOW + 5).expect("rotated");
    assert_eq!(keyring.generation(), 5);
    let bytes = stored(&keyring);
    assert!(matches!(Keyring::open(&bytes, Some(&raw(2))), Err(CryptoError::WrongKey { .. })));
    let again = Keyring::open(&bytes, Some(&passphrase("p"))).expect("the new key opens it");
    let slot = again.slots().into_iter().find(|slot| slot.id == second).expect("kept its number");
    assert_eq!((slot.label.as_str(), slot.kind.as_str()), ("second", "passphrase"));
    assert_eq!(slot.created_micros, NOW + 5);
}

#[test]
fn a_keyring_holds_32_slots() {
    let mut keyring = encrypted();
    for n in 1..32 {
        keyring.add_slot(&raw(n), &n.to_string(), &OsEntropy, NOW).expect("within the limit");
    }
    let beyond = keyring.add_slot(&raw(99), "beyond", &OsEntropy, NOW);
    assert!(matches!(beyond, Err(CryptoError::TooLarge { max: 32, .. })));
    Keyring::open(&stored(&keyring), Some(&raw(31))).expect("the last slot opens it");
}

#[test]
fn without_encryption_there_are_no_slots() {
    let mut keyring = plain();
    let id = SlotId(1);
    for result in [
        keyring.add_slot(&raw(1), "x", &OsEntropy, NOW).map(|_| ()),
        keyring.rotate_slot(id, &raw(1), &OsEntropy, NOW),
        keyring.remove_slot(id),
    ] {
        assert!(matches!(result, Err(CryptoError::NotEncrypted)));
    }
}

/// Wraps well, and gives back something else.
#[derive(Debug)]
struct Forgetful;

impl KeyProvider for Forgetful {
    fn kind(&self) -> &'static str {
        "forgetful"
    }

    fn wrap(&self, ctx: &SlotContext, key: &SecretKey, _: &dyn Entropy) -> Result<WrappedKey, CryptoError> {
        let commitment = ctx.commitment_to(key);
        Ok(WrappedKey { params: vec![], bytes: vec![], commitment })
    }

    fn unwrap(&self, _: &SlotContext, _: &WrappedKey) -> Result<SecretKey, CryptoError> {
        Ok(SecretKey::from_bytes([0; 32]))
    }
}

#[test]
fn a_slot_counts_only_after_it_has_opened() {
    let mut keyring = encrypted();
    let before = (keyring.slots(), keyring.generation());
    let added = keyring.add_slot(&Forgetful, "new", &OsEntropy, NOW);
    assert!(matches!(added, Err(CryptoError::Provider { .. })));
    let rotated = keyring.rotate_slot(before.0[0].id, &Forgetful, &OsEntropy, NOW);
    assert!(matches!(rotated, Err(CryptoError::Provider { .. })));
    assert_eq!((keyring.slots(), keyring.generation()), before);
    Keyring::open(&stored(&keyring), Some(&raw(1))).expect("the old key opens it");
}

#[test]
fn epochs_start_and_are_destroyed() {
    let mut keyring = encrypted();
    let old = keyring.current_epoch();
    assert!(matches!(keyring.destroy_epoch(old), Err(CryptoError::EpochIsCurrent(id)) if id == old));
    let sealed = keyring.seal_small(&OsEntropy, "note", b"", b"", b"old").expect("sealed");
    let new = keyring.start_epoch(&OsEntropy, NOW + 9).expect("started");
    assert_eq!((keyring.current_epoch(), keyring.generation()), (new, 2));
    assert_eq!(keyring.open_small("note", b"", b"", &sealed).expect("old epoch").as_slice(), b"old");

    keyring.destroy_epoch(old).expect("destroyed");
    let keyring = Keyring::open(&stored(&keyring), Some(&raw(1))).expect("opened");
    let lost = keyring.open_small("note", b"", b"", &sealed);
    assert!(matches!(lost, Err(CryptoError::EpochNotFound(id)) if id == old));
    assert!(keyring.segment_key(old, 1, &[0; 24]).is_err());
    assert_eq!(keyring.epochs().len(), 1);
}

#[test]
fn copies_that_go_their_own_ways_give_their_data_keys_numbers_of_their_own() {
    let mut one = encrypted();
    let first = one.current_epoch();
    let mut other = Keyring::open(&stored(&one), Some(&raw(1))).expect("opened");
    let (of_one, of_other) = (one.start_epoch(&OsEntropy, NOW), other.start_epoch(&OsEntropy, NOW));
    let (of_one, of_other) = (of_one.expect("started"), of_other.expect("started"));
    assert_ne!(of_one, of_other);
    let sealed = other.seal_small(&OsEntropy, "note", b"", b"", b"there").expect("sealed");

    let relative = one.open_relative(&stored(&other)).expect("of the same database");
    one.adopt_epochs(&relative).expect("adopted");
    assert_eq!(one.open_small("note", b"", b"", &sealed).expect("opened").as_slice(), b"there");
    assert_eq!((one.current_epoch(), one.epochs().len()), (of_one, 3));
    one.adopt_epochs(&relative).expect("nothing new");
    assert_eq!(one.epochs().len(), 3);

    let narrowed = one.narrowed(&[first].into());
    let numbers: Vec<_> = narrowed.epochs().iter().map(|epoch| epoch.id).collect();
    assert_eq!((numbers, narrowed.current_epoch()), (vec![first, of_one], of_one));
    let stranger = Keyring::create(Some(&raw(1)), DatabaseId([9; 16]), &OsEntropy, NOW).expect("created");
    assert!(matches!(one.open_relative(&stored(&stranger)), Err(CryptoError::WrongKey { .. })));
}

#[test]
fn two_data_keys_of_one_number_are_never_mixed() {
    let seeded = |seed| SeededEntropy::new(seed);
    let mut one = encrypted();
    let mut other = Keyring::open(&stored(&one), Some(&raw(1))).expect("opened");
    let number = one.start_epoch(&seeded(7), NOW).expect("started");
    // The same number, and then another key.
    struct Drawn(SeededEntropy, SeededEntropy);
    impl std::fmt::Debug for Drawn {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Drawn")
        }
    }
    impl Entropy for Drawn {
        fn fill(&self, buf: &mut [u8]) -> Result<(), CryptoError> {
            if buf.len() == 4 { self.0.fill(buf) } else { self.1.fill(buf) }
        }
    }
    assert_eq!(other.start_epoch(&Drawn(seeded(7), seeded(8)), NOW).expect("started"), number);
    assert!(matches!(one.adopt_epochs(&other), Err(CryptoError::Malformed { .. })));
}

#[test]
fn small_objects_open_only_as_what_and_where_they_were_sealed() {
    let other = |provider: Option<&dyn KeyProvider>| {
        Keyring::create(provider, DatabaseId([0xee; 16]), &OsEntropy, NOW).expect("created")
    };
    for (keyring, other) in [(encrypted(), other(Some(&raw(1)))), (plain(), other(None))] {
        let sealed = keyring.seal_small(&OsEntropy, "note", b"1", b"aad", b"content").expect("sealed");
        assert!(keyring.open_small("note", b"1", b"aad", &sealed).is_ok());
        assert!(keyring.open_small("memo", b"1", b"aad", &sealed).is_err());
        assert!(keyring.open_small("note", b"2", b"aad", &sealed).is_err());
        assert!(keyring.open_small("note", b"1", b"", &sealed).is_err());
        assert!(other.open_small("note", b"1", b"aad", &sealed).is_err(), "another database's");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 0x10;
            assert!(keyring.open_small("note", b"1", b"aad", &changed).is_err(), "byte {at}");
            assert!(keyring.open_small("note", b"1", b"aad", &sealed[..at]).is_err(), "{at} bytes");
        }
    }
}

#[test]
fn each_segment_has_a_key_of_its_own() {
    let mut keyring = encrypted();
    let first = keyring.current_epoch();
    let second = keyring.start_epoch(&OsEntropy, NOW).expect("started");
    let mut keys = HashSet::new();
    for epoch in [first, second] {
        for segment in [0, 1, u64::MAX] {
            for salt in [[0; 24], [1; 24]] {
                keys.insert(*keyring.segment_key(epoch, segment, &salt).expect("there").expose());
            }
        }
    }
    assert_eq!(keys.len(), 12);
    let mut twin = keyring.duplicate();
    twin.database = DatabaseId([0xee; 16]);
    assert!(twin.segment_key(first, 0, &[0; 24]).is_err(), "a data key is bound to its database");
}

#[test]
fn nothing_is_sealed_twice_the_same_way() {
    let mut keyring = encrypted();
    let mut salts = HashSet::new();
    for round in 0..50 {
        let bytes = stored(&keyring);
        // A restart and a copy opened twice go on from the same bytes.
        for copy in [0, 1] {
            let opened = Keyring::open(&bytes, Some(&raw(1))).expect("opened");
            let sealed = opened.seal_small(&OsEntropy, "note", b"", b"", b"same").expect("sealed");
            assert!(salts.insert(sealed[4..28].to_vec()), "round {round}, copy {copy}");
        }
        assert_ne!(bytes, stored(&keyring));
        let slot = keyring.slots()[0].id;
        keyring.rotate_slot(slot, &raw(1), &OsEntropy, NOW).expect("rotated");
        assert!(salts.insert(keyring.slots[0].salt.to_vec()), "round {round}");
        assert!(salts.insert(keyring.slots[0].wrapped.bytes[..24].to_vec()), "round {round}");
    }
}

#[test]
fn no_secret_is_stored_in_the_clear_or_printed() {
    let keyring =
        Keyring::create(Some(&passphrase("correct horse")), DATABASE, &OsEntropy, NOW).expect("created");
    let bytes = stored(&keyring);
    let printed =
        format!("{keyring:?} {keyring:#?} {:?} {:?}", keyring.signing_key(), keyring.content_hasher());
    let secrets = [keyring.master.expose(), keyring.epochs[0].key.expose(), keyring.signing.seed().expose()];
    for secret in secrets {
        assert!(!bytes.windows(8).any(|window| window == &secret[..8]));
        assert!(!printed.contains(&hex::encode(&secret[..4])));
        assert!(!printed.contains(&format!("{}, {}, {}", secret[0], secret[1], secret[2])));
    }
    assert!(!format!("{:?}", passphrase("correct horse")).contains("horse"));
    assert_eq!(format!("{:?}", keyring.suite().key(&keyring.master)), "AeadKey([redacted])");
    assert_eq!(format!("{:?}", raw(7)), "RawProvider(SecretKey([redacted]))");
}

#[derive(Debug)]
struct NoEntropy;

impl Entropy for NoEntropy {
    fn fill(&self, _: &mut [u8]) -> Result<(), CryptoError> {
        Err(CryptoError::Entropy("there is none here".into()))
    }
}

#[test]
fn without_random_bytes_nothing_is_drawn_and_nothing_changes() {
    let mut keyring = encrypted();
    let slot = keyring.slots()[0].id;
    let before = format!("{keyring:?}");
    let results = [
        Keyring::create(Some(&raw(1)), DATABASE, &NoEntropy, NOW).map(|_| ()),
        keyring.to_bytes(&NoEntropy).map(|_| ()),
        keyring.seal_small(&NoEntropy, "note", b"", b"", b"").map(|_| ()),
        keyring.start_epoch(&NoEntropy, NOW).map(|_| ()),
        keyring.add_slot(&raw(2), "second", &NoEntropy, NOW).map(|_| ()),
        keyring.rotate_slot(slot, &raw(2), &NoEntropy, NOW),
    ];
    for result in results {
        assert!(matches!(result, Err(CryptoError::Entropy(_))));
    }
    assert_eq!(format!("{keyring:?}"), before);
}

#[test]
fn is_shared_by_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Keyring>();
    shared::<SecretKey>();
    shared::<crate::KeySource>();
    shared::<CryptoError>();
}

/// Written by the first version of the format. It must open for ever.
#[test]
fn the_first_format_opens() {
    let fixture = include_str!("fixtures/keyring_v1.hex").replace('\n', "");
    let bytes = hex::decode(fixture).expect("hex digits");
    let keyring = Keyring::open(&bytes, Some(&raw(0x42))).expect("the format is kept");
    assert_same(&keyring, &Keyring::open(&bytes, Some(&passphrase("correct horse"))).expect("kept"));
    assert_same(&keyring, &fixture_v1());
    let sealed = hex::decode(include_str!("fixtures/sealed_v1.hex").trim()).expect("hex digits");
    let opened = keyring.open_small("note", b"1", b"aad", &sealed).expect("the format is kept");
    assert_eq!(opened.as_slice(), b"content");
}

fn fixture_v1() -> Keyring {
    let entropy = SeededEntropy::new(42);
    let mut keyring = Keyring::create(Some(&raw(0x42)), DATABASE, &entropy, NOW).expect("created");
    keyring.begin_epoch(EpochId(2), &entropy, NOW + 1).expect("started");
    keyring.add_slot(&passphrase("correct horse"), "people", &entropy, NOW + 2).expect("added");
    keyring
}

proptest! {
    #[test]
    fn no_bytes_panic(content in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Keyring::open(&content, Some(&raw(1))).is_err());
        prop_assert!(Keyring::open(&with_checksum(content), Some(&raw(1))).is_err());
    }

    #[test]
    fn no_edit_of_a_keyring_opens(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let bytes = stored(&encrypted());
        let mut content = without_checksum(&bytes).to_vec();
        for (at, value) in edits {
            let at = at.index(content.len());
            content[at] = value;
        }
        prop_assume!(content != without_checksum(&bytes));
        prop_assert!(Keyring::open(&with_checksum(content), Some(&raw(1))).is_err());
    }
}

/// A service that does not answer, and takes its time for that.
#[derive(Debug, Default)]
struct Silent(std::sync::atomic::AtomicUsize);

impl KeyProvider for Silent {
    fn kind(&self) -> &'static str {
        "raw"
    }

    fn wrap(&self, _: &SlotContext, _: &SecretKey, _: &dyn Entropy) -> Result<WrappedKey, CryptoError> {
        Err(CryptoError::Unreachable { provider: "silent".into(), reason: "nobody answers".into() })
    }

    fn unwrap(&self, _: &SlotContext, _: &WrappedKey) -> Result<SecretKey, CryptoError> {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Err(CryptoError::Unreachable { provider: "silent".into(), reason: "nobody answers".into() })
    }
}

#[test]
fn a_service_that_does_not_answer_is_asked_once_for_all_slots() {
    let mut keyring = encrypted();
    for byte in 2..5 {
        keyring.add_slot(&raw(byte), &byte.to_string(), &OsEntropy, NOW).expect("added");
    }
    let bytes = keyring.to_bytes(&OsEntropy).expect("bytes");
    let silent = Silent::default();
    let asked = || silent.0.swap(0, std::sync::atomic::Ordering::Relaxed);
    assert!(matches!(Keyring::open(&bytes, Some(&silent)), Err(CryptoError::Unreachable { .. })));
    assert_eq!(asked(), 1);
    let rotated = keyring.rotate_master(&[&raw(1), &silent], &[], &OsEntropy, NOW);
    assert!(matches!(rotated, Err(CryptoError::Unreachable { .. })), "{rotated:?}");
    assert_eq!(asked(), 1);
}
