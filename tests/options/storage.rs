//! Pages, compression, encryption.

use std::path::Path;

use lightning_db::{DatabaseStats, Error, KeySource, LightningDbConfig};

use crate::support::{KEY, Machine, Model, Random, assert_holds, contains, plain, small};

/// Rows that compress well, merged into the base.
fn loaded(config: &LightningDbConfig) -> (Machine, DatabaseStats) {
    let machine = Machine::new(1);
    let db = machine.create(config);
    for index in 0..2000u32 {
        let row =
            format!("{{\"flight\":{index},\"origin\":\"JFK\",\"carrier\":\"UA\",\"delay\":{}}}", index % 60);
        db.put(format!("row-{index:06}").as_bytes(), row.as_bytes()).expect("put");
    }
    db.compact().expect("compact");
    let stats = db.stats().expect("stats");
    db.close().expect("close");
    (machine, stats)
}

#[test]
fn page_size_makes_few_large_pages_or_many_small_ones() {
    let pages = |page_size| loaded(&LightningDbConfig { page_size, ..small() }).1.pages;
    let (many, few) = (pages(1024), pages(16_384));
    assert!(many > 8 * few, "{many} pages of 1 KiB, {few} of 16 KiB");
}

#[test]
fn page_size_holds_for_what_is_written_from_now_on() {
    let (machine, before) = loaded(&LightningDbConfig { page_size: 1024, ..small() });
    let db = machine.reopen(&LightningDbConfig { page_size: 16_384, ..small() });
    assert_eq!(db.stats().expect("stats").pages, before.pages, "nothing is rewritten for it");
    for index in 0..2000u32 {
        db.put(format!("row-{index:06}").as_bytes(), b"another row").expect("put");
    }
    db.compact().expect("compact");
    assert!(db.stats().expect("stats").pages * 8 < before.pages);
}

#[test]
fn compression_enabled_makes_files_smaller() {
    let bytes =
        |compression_enabled| loaded(&LightningDbConfig { compression_enabled, ..small() }).1.live_bytes;
    assert!(bytes(true) * 3 < bytes(false) * 2);
}

#[test]
fn compression_type_chooses_the_codec() {
    let bytes = |compression_type| loaded(&LightningDbConfig { compression_type, ..small() }).1.live_bytes;
    let [adaptive, zstd, lz4, snappy] = [0, 1, 2, 3].map(bytes);
    assert!(zstd < lz4 && zstd < snappy && lz4 != snappy, "{zstd} {lz4} {snappy}");
    assert!(adaptive <= lz4.max(snappy), "{adaptive}");
}

#[test]
fn compression_level_makes_zstd_work_harder() {
    let bytes = |compression_level| {
        let config =
            LightningDbConfig { compression_type: 1, compression_level, page_size: 16_384, ..small() };
        loaded(&config).1.live_bytes
    };
    assert!(bytes(19) < bytes(-7));
}

#[test]
fn every_codec_reads_what_the_others_wrote() {
    let (machine, _) = loaded(&LightningDbConfig { compression_type: 1, ..small() });
    for compression_type in [2, 3, 0] {
        let db = machine.reopen(&LightningDbConfig { compression_type, ..small() });
        assert_eq!(db.scan(None, None).expect("scan").filter(Result::is_ok).count(), 2000);
        db.put(b"row-000000", b"again").expect("put");
        db.compact().expect("compact");
    }
}

fn is_in_a_file(machine: &Machine, needle: &[u8]) -> bool {
    machine.disk.files().iter().any(|path| contains(&machine.read(path), needle))
}

#[test]
fn encryption_enabled_hides_the_rows() {
    let stored = |config| LightningDbConfig { compression_enabled: false, ..config };
    let (open, _) = loaded(&stored(plain()));
    assert!(is_in_a_file(&open, b"\"carrier\":\"UA\""), "nothing hides them otherwise");
    let (hidden, stats) = loaded(&stored(small()));
    assert!(!is_in_a_file(&hidden, b"\"carrier\":\"UA\"") && !is_in_a_file(&hidden, &KEY));
    assert!(stats.encrypted);
    assert!(matches!(hidden.open(&plain()), Err(Error::KeyRequired { .. })));
    assert!(matches!(open.open(&small()), Err(Error::NotEncrypted { .. })));
}

#[test]
fn encryption_key_is_the_only_one_that_opens() {
    let (machine, _) = loaded(&small());
    let with = |encryption_key| machine.open(&LightningDbConfig { encryption_key, ..small() });
    assert!(matches!(with(KeySource::raw([1; 32])), Err(Error::WrongKey { .. })));
    assert!(matches!(with(KeySource::passphrase("guess")), Err(Error::WrongKey { .. })));
    assert!(with(KeySource::file(Path::new("/nowhere/key"))).is_err());
    assert!(with(KeySource::raw(KEY)).is_ok());
}

#[cfg(feature = "fips")]
#[test]
fn with_the_fips_module_use_simd_cannot_choose_another_cipher() {
    let config = LightningDbConfig { use_simd: false, ..small() };
    let refused = Machine::new(2).open(&config).expect_err("the portable cipher is not validated");
    assert!(matches!(&refused, Error::InvalidConfig { option, .. } if *option == "use_simd"), "{refused}");
}

#[cfg(not(feature = "fips"))]
#[test]
fn use_simd_chooses_who_encrypts_and_each_reads_what_the_other_wrote() {
    let (machine, mut random, mut model) = (Machine::new(2), Random(2), Model::new());
    machine.create(&small()).close().expect("close");
    for round in 0..4 {
        let db = machine.reopen(&LightningDbConfig { use_simd: round % 2 == 0, ..small() });
        for _ in 0..50 {
            let (key, value) = (random.key(100), random.value(500));
            db.put(&key, &value).expect("put");
            model.insert(key, value);
        }
        assert_holds(&db, &model, "written by both");
        if round < 2 { db.compact().expect("compact") } else { machine.kill(db) }
    }
}
