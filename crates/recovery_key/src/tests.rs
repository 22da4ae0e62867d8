//! Words and shares as people give them back.

use std::sync::Arc;

use lightning_db::{Database, Error, LightningDbConfig};
use lightning_db_crypto::{CryptoError, KeyProvider, KeySource, OsEntropy, SeededEntropy};

use super::*;

fn key(seed: u64) -> RecoveryKey {
    RecoveryKey::generate(&SeededEntropy::new(seed)).expect("a key")
}

/// The test vector of BIP-39 for 32 bytes of 0x7f.
#[test]
fn words_are_those_of_the_standard() {
    let known = RecoveryKey(SecretKey::from_bytes([0x7f; 32]));
    let words = "legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth useful \
                 legal winner thank year wave sausage worth title";
    assert_eq!(known.words().as_str(), words);
    let again = RecoveryKey::read(words).expect("read");
    assert!(*again.secret() == *known.secret());
}

#[test]
fn words_are_read_however_they_are_laid_out() {
    let key = key(1);
    let words = key.words();
    let lines = words.split(' ').collect::<Vec<_>>().chunks(6).map(|six| six.join("  ")).collect::<Vec<_>>();
    let text = format!("# of the database in the cellar\n\n{}\n", lines.join("\n").to_uppercase());
    assert!(*RecoveryKey::read(&text).expect("read").secret() == *key.secret());
}

#[test]
fn a_wrong_word_is_told_by_its_place_and_not_repeated() {
    let words = key(2).words();
    let replaced = |place: usize, by: &str| {
        let mut all: Vec<&str> = words.split(' ').collect();
        all[place] = by;
        all.join(" ")
    };
    let unknown = RecoveryKey::read(&replaced(6, "hunter2")).expect_err("no word");
    assert_eq!(unknown, WordsError::UnknownWord { line: None, place: 7 });
    assert!(!unknown.to_string().contains("hunter2"));
    let other = if words.starts_with("abandon") { "zoo" } else { "abandon" };
    // One of 256 words passes the checksum; over all places hardly any does.
    let noticed = (0..24).filter(|place| {
        matches!(RecoveryKey::read(&replaced(*place, other)), Err(WordsError::Checksum { line: None }))
    });
    assert!(noticed.count() >= 20);
    let short = words.rsplit_once(' ').expect("words").0;
    assert_eq!(RecoveryKey::read(short).expect_err("short"), WordsError::Count { found: 23 });
    assert_eq!(RecoveryKey::read(" \n# nothing\n").expect_err("empty"), WordsError::Nothing);
}

#[test]
fn any_three_of_five_shares_are_enough() {
    let key = key(3);
    let shares = key.split(5, 3, &SeededEntropy::new(4)).expect("split");
    assert!(shares.iter().all(|share| share.split(' ').count() == 30));
    for a in 0..5 {
        for b in (0..5).filter(|b| *b != a) {
            for c in (0..5).filter(|c| ![a, b].contains(c)) {
                let text = [a, b, c].map(|index| shares[index].as_str()).join("\n");
                assert!(*RecoveryKey::read(&text).expect("enough").secret() == *key.secret());
            }
        }
    }
    let all = shares.iter().map(|share| share.as_str()).collect::<Vec<_>>().join("\n\n");
    assert!(*RecoveryKey::read(&all).expect("more than enough").secret() == *key.secret());
}

#[test]
fn too_few_shares_are_counted_and_one_twice_is_one() {
    let shares = key(5).split(4, 3, &SeededEntropy::new(6)).expect("split");
    let read = |indices: &[usize]| {
        let text = indices.iter().map(|index| shares[*index].as_str()).collect::<Vec<_>>().join("\n");
        RecoveryKey::read(&text).map(drop)
    };
    assert_eq!(read(&[0]), Err(WordsError::TooFew { found: 1, needed: 3 }));
    assert_eq!(read(&[0, 3]), Err(WordsError::TooFew { found: 2, needed: 3 }));
    assert_eq!(read(&[0, 3, 3, 0]), Err(WordsError::TooFew { found: 2, needed: 3 }));
    assert_eq!(read(&[0, 3, 3, 1]), Ok(()));
}

#[test]
fn a_share_of_another_set_or_with_a_wrong_word_is_named() {
    let key = key(7);
    let (one, two) = (
        key.split(3, 2, &SeededEntropy::new(8)).expect("split"),
        key.split(3, 2, &SeededEntropy::new(9)).expect("split"),
    );
    let mixed = format!("{}\n{}", *one[0], *two[1]);
    assert_eq!(RecoveryKey::read(&mixed).expect_err("mixed"), WordsError::AnotherSet { line: 2 });
    let all: Vec<&str> = one[1].split(' ').collect();
    for place in 0..30 {
        let mut changed = all.clone();
        changed[place] = if all[place] == "zoo" { "able" } else { "zoo" };
        let text = format!("{}\n\n{}", *one[0], changed.join(" "));
        let error = RecoveryKey::read(&text).expect_err("changed");
        assert_eq!(error, WordsError::Checksum { line: Some(3) }, "word {place}");
        changed[place] = "hunter2";
        let text = format!("{}\n{}", *one[0], changed.join(" "));
        let expected = WordsError::UnknownWord { line: Some(2), place: place + 1 };
        assert_eq!(RecoveryKey::read(&text).expect_err("no word"), expected);
    }
    let mut swapped = all.clone();
    swapped.swap(10, 11);
    assert!(swapped == all || RecoveryKey::read(&format!("{}\n{}", *one[0], swapped.join(" "))).is_err());
    let short = format!("{}\n{}", *one[0], all[..29].join(" "));
    assert_eq!(RecoveryKey::read(&short).expect_err("short"), WordsError::Count { found: 29 });
}

#[test]
fn splitting_is_refused_where_it_makes_no_sense() {
    let key = key(10);
    for (count, needed) in [(1, 1), (3, 1), (3, 4), (17, 3), (0, 0), (2, 0)] {
        assert_eq!(key.split(count, needed, &OsEntropy).expect_err("refused"), WordsError::Shares);
    }
    assert_eq!(key.split(16, 16, &OsEntropy).expect("at most").len(), 16);
}

/// One share alone says nothing of the key: over many splits each byte of it takes many values.
#[test]
fn a_share_alone_tells_nothing() {
    let key = key(11);
    let mut seen = std::collections::HashSet::new();
    for seed in 0..200 {
        let shares = key.split(2, 2, &SeededEntropy::new(seed)).expect("split");
        assert!(seen.insert(shares[0].to_string()));
    }
}

fn config(source: KeySource) -> LightningDbConfig {
    LightningDbConfig { encryption_enabled: true, encryption_key: source, ..Default::default() }
}

#[test]
fn a_database_opens_with_words_in_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("words");
    let uri = format!("recovery-file:{}", path.display());
    let source = || KeySource::provider(Arc::new(RecoveryProvider::from_uri(&uri).expect("a URI")));
    let shares = key(12).split(3, 2, &OsEntropy).expect("split");
    let private = |text: &str| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(&path, text).expect("write");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("mode");
    };
    let db = Database::create(folder.path().join("db"), config(KeySource::raw([1; 32]))).expect("create");
    let held = KeySource::provider(Arc::new(RecoveryProvider::new(key(12))));
    db.add_key(held, "paper").expect("add");
    assert_eq!(db.key_slots()[1].kind, "recovery");
    db.put(b"k", b"v").expect("put");
    db.close().expect("close");
    drop(db);
    let open = || Database::open(folder.path().join("db"), config(source()));
    for text in [format!("{}\n{}", *shares[2], *shares[0]), key(12).words().to_string()] {
        private(&text);
        assert_eq!(open().expect("open").get(b"k").expect("get").as_deref(), Some(&b"v"[..]));
    }
    private(&shares[1]);
    assert!(matches!(open(), Err(Error::InvalidKey { reason, .. }) if reason.contains("1 of the 2 shares")));
    private(&key(13).words());
    assert!(matches!(open(), Err(Error::WrongKey { .. })));
}

#[test]
fn nothing_prints_a_word() {
    let key = key(14);
    let words = key.words();
    let provider = RecoveryProvider::new(RecoveryKey::read(&words).expect("read"));
    let shown = format!("{provider:?}");
    let printed = format!("{key:?} {shown} {:?}", KeySource::provider(Arc::new(provider)));
    assert!(words.split(' ').all(|word| !printed.contains(&format!(" {word} "))), "{printed}");
    let file = RecoveryProvider::from_file("/safe/words");
    assert_eq!((format!("{file:?}"), file.kind()), ("recovery-file:/safe/words".into(), "recovery"));
    for uri in ["file:/x", "recovery-file:", "recovery-file", "recovery-file:\0"] {
        let refused = RecoveryProvider::from_uri(uri);
        assert!(matches!(refused, Err(CryptoError::InvalidKey { .. })), "{refused:?}");
    }
}
