//! What a backup costs: the bytes that it adds to the repository.

use super::*;

const ENTRIES: u32 = 12_000;

fn small_buffers() -> LightningDbConfig {
    LightningDbConfig { write_buffer_size: 128 << 10, background_compaction: true, ..config() }
}

fn key_of(number: u32) -> Vec<u8> {
    format!("key {number:08}").into_bytes()
}

/// A value that does not compress, another one for each round.
fn value_of(number: u32, round: u8) -> Vec<u8> {
    let mut random = u64::from(number) << 8 | u64::from(round);
    let mut word = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 56) as u8
    };
    (0..100).map(|_| word()).collect()
}

fn load(world: &World) {
    let numbers: Vec<u32> = (0..ENTRIES).map(|step| step.wrapping_mul(7919) % ENTRIES).collect();
    for part in numbers.chunks(100) {
        let items: Vec<_> = part.iter().map(|number| (key_of(*number), value_of(*number, 0))).collect();
        world.db.put_batch(&items).expect("batch");
    }
}

/// One in a hundred gets another value.
fn change(world: &World, round: u8) {
    for number in (u32::from(round)..ENTRIES).step_by(100) {
        world.db.put(&key_of(number), &value_of(number, round)).expect("put");
    }
}

fn reopen(world: &mut World) {
    world.db.close().expect("closed");
    world.db = Database::open_in(world.environment.clone(), "/db", small_buffers()).expect("opened");
}

#[test]
fn a_backup_costs_what_changed_whatever_state_the_one_before_was_in() {
    for (merge_first, reopen_after) in [(false, false), (false, true), (true, true)] {
        // Loaded without merges: they begin when it is opened again, and are under way during the first backup.
        let mut world =
            World::with(41, LightningDbConfig { background_compaction: false, ..small_buffers() });
        load(&world);
        reopen(&mut world);
        if merge_first {
            world.db.compact().expect("compact");
        }
        let first = world.backup();
        assert!(first.segment_bytes > 100 * u64::from(ENTRIES) && first.log_bytes == 0);
        for round in 1..4 {
            if reopen_after {
                reopen(&mut world);
            }
            change(&world, round);
            world.db.compact().expect("merges rewrite what the repository has");
            let next = world.backup();
            let percent = next.segment_bytes as f64 / first.segment_bytes as f64 * 100.0;
            assert!(
                next.is_continued && percent < 3.0,
                "round {round}: {percent:.1}% of {first:?}: {next:?}"
            );
        }
        let (_, model) = world.restore(RecoveryTarget::Latest, false).expect("restored");
        assert_eq!(model, contents(&world.db).expect("contents"));
        assert_eq!(model.len(), ENTRIES as usize);
    }
}
