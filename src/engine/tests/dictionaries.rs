//! Dictionaries: the base's segments get one where the codec takes it, and carry it themselves.

use lightning_db_storage::segment::SegmentKind;

use super::support::{World, assert_accounts, small};
use crate::config::LightningDbConfig;

/// How many of the base's segments carry a dictionary, and how many bytes the base takes, after rows that resemble each
/// other were written and merged twice.
fn written(world: &World, config: &LightningDbConfig) -> (usize, u64) {
    let db = world.create(config);
    let row =
        |n: u32| format!(r#"{{"flight":{},"origin":"JFK","destination":"LAX","late":{}}}"#, n * 7919, n % 61);
    let rows = |from: u32| (from..from + 2000).map(move |n| (n.to_be_bytes().to_vec(), row(n).into_bytes()));
    for from in (0..30_000).step_by(2000) {
        db.put_batch(&rows(from).collect::<Vec<_>>()).expect("put");
    }
    db.compact().expect("the first merge trains");
    for n in 0..30_000u32 {
        db.put(&n.to_be_bytes(), row(n + 1).as_bytes()).expect("put");
    }
    db.compact().expect("the second one uses what was learnt");
    assert_accounts(&db);
    db.close().expect("close");
    drop(db);
    let db = world.open(config).expect("open");
    for (n, entry) in db.scan(None, None).expect("scan").enumerate() {
        let (key, value) = entry.expect("readable");
        assert_eq!((key, value), ((n as u32).to_be_bytes().to_vec(), row(n as u32 + 1).into_bytes()));
    }
    db.engine.catalog.read(|manifest| {
        let base = || manifest.segments.iter().filter(|info| info.kind == SegmentKind::Base);
        (base().filter(|info| info.dictionary.is_some()).count(), base().map(|info| info.live_bytes).sum())
    })
}

#[test]
fn zstd_pages_share_a_dictionary_and_are_smaller_for_it() {
    let config = |compression_type| LightningDbConfig { compression_type, ..small() };
    let (with, zstd_bytes) = written(&World::new(1), &config(1));
    let (without, lz4_bytes) = written(&World::new(2), &config(2));
    assert!(with > 0, "no segment carries a dictionary");
    assert_eq!(without, 0, "LZ4 takes none");
    assert!(zstd_bytes * 5 < lz4_bytes * 4, "{zstd_bytes} bytes beside {lz4_bytes}");
}
