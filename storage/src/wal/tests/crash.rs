//! What is left after the process, or the machine, stops at any moment.

use std::collections::HashSet;
use std::io::ErrorKind;

use lightning_db_crypto::{AeadKey, AeadSuite, CryptoError, Nonce, SecretKey, SuiteId, Tag};

use super::*;
use crate::StorageError;
use crate::segment::testing::read_file;
use crate::vfs::{Calls, Effect, Fault, FaultPlan, FaultyVfs, Keep};

#[test]
fn a_killed_process_loses_nothing_it_appended() {
    for mode in [WalMode::Mapped, WalMode::Pwrite] {
        let calls = Story::new(mode).live(None, 60);
        assert!(calls > 150, "{calls}");
        for moment in 0..calls {
            let mut story = Story::new(mode);
            story.plan.record();
            story.live(Some(moment), 60);
            // The system writes four bytes wholly or not at all, which the simulated disk does not promise.
            let torn_word = story.plan.take_trace().last().is_some_and(|call| call.len == 4);
            if mode == WalMode::Pwrite && torn_word {
                continue;
            }
            story.stop_process();
            story.live(None, 10);
            story.stop_process();
            story.live(None, 1);
        }
    }
}

#[test]
fn a_power_cut_leaves_a_prefix_with_all_that_was_synced_life_after_life() {
    for seed in 0..400 {
        let mut random = dice(seed);
        let mode = if random().is_multiple_of(2) { WalMode::Mapped } else { WalMode::Pwrite };
        let mut story = Story::new(mode);
        for _ in 0..4 {
            let moment = random() % 220;
            story.live(Some(moment), 60);
            match random() % 4 {
                0 if mode == WalMode::Mapped => story.stop_process(),
                1 => story.cut_power(&mut random, Keep::Nothing),
                _ => story.cut_power(&mut random, Keep::Random),
            }
        }
        story.live(None, 5);
    }
}

#[test]
fn a_failed_sync_is_the_end_of_writing() {
    let mut story = Story::new(WalMode::Mapped);
    let mut writer = story.home.writer(WalStart::default()).unwrap();
    put(&mut writer, 1).unwrap();
    let sync = writer.sync_handle();
    sync.sync().unwrap();
    put(&mut writer, 2).unwrap();
    story.plan.add(Fault::new(Calls::Syncs, Effect::LoseWrites(ErrorKind::Other)));
    assert!(matches!(sync.sync(), Err(StorageError::Io { action: "sync", .. })));
    assert!(matches!(sync.sync(), Err(StorageError::Poisoned { .. })), "not tried again");
    assert!(matches!(put(&mut writer, 3), Err(StorageError::Poisoned { .. })));
    assert!(matches!(writer.rotate(), Err(StorageError::Poisoned { .. })));
    assert!(matches!(writer.write_marker(), Err(StorageError::Poisoned { .. })));
    assert!(matches!(sync.grow_ahead(), Err(StorageError::Poisoned { .. })));
    assert_eq!(sync.durable(), FrameNumber(2));
    story.cut_power(&mut dice(1), Keep::Everything);
    assert_eq!(story.home.recover().unwrap().0, puts(1));
}

#[test]
fn a_failed_write_is_the_end_of_writing() {
    for (mode, error) in [(WalMode::Mapped, ErrorKind::Other), (WalMode::Pwrite, ErrorKind::StorageFull)] {
        for call in 0..2 {
            let story = Story::new(mode);
            let mut writer = story.home.writer(WalStart::default()).unwrap();
            put(&mut writer, 1).unwrap();
            story.plan.add(Fault::new(Calls::Mutating, Effect::Fail(error)).after(call));
            put(&mut writer, 2).unwrap_err();
            assert!(
                matches!(put(&mut writer, 2), Err(StorageError::Poisoned { .. })),
                "no place is sealed twice"
            );
            story.home.memory.kill_process();
            assert_eq!(story.home.recover().unwrap().0, puts(1));
        }
    }
}

#[test]
fn what_was_given_up_never_comes_back() {
    let home = Home::new(SMALL);
    let mut writer = home.writer(WalStart::default()).unwrap();
    let mut ends = vec![0];
    for n in 1..=10 {
        ends.push(put(&mut writer, n).unwrap().position.offset);
    }
    home.memory.crash(&mut dice(0), Keep::Everything);
    let old = home.path(SegmentId(1));
    home.memory.corrupt(&old, ends[4] + 70, 1).unwrap();
    let (seen, start, cut) = home.recover().unwrap();
    assert_eq!(seen, puts(4));
    assert_eq!(
        cut,
        Some(CutReport { file: old.clone(), offset: ends[4], discarded_bytes: ends[10] - ends[4] })
    );

    home.memory.corrupt(&old, ends[4] + 70, 1).unwrap();
    let mut writer = home.writer(start).unwrap();
    assert_eq!(home.read().unwrap().0, puts(4));
    put(&mut writer, 5).unwrap();
    assert_eq!(home.read().unwrap().0, puts(5));

    // Nor when only the next segment's first frame says where this one ends.
    home.manifest.0.lock().segments.iter_mut().for_each(|info| info.accepted_through = None);
    assert_eq!(home.recover().unwrap().0, puts(5));
}

#[test]
fn the_first_frame_of_a_segment_outlives_a_power_cut_before_any_other() {
    for seed in 0..100 {
        let home = Home::new(SMALL);
        let mut writer = home.writer(WalStart::default()).unwrap();
        put(&mut writer, 1).unwrap();
        writer.rotate().unwrap();
        (2..=40).for_each(|n| assert!(put(&mut writer, n).is_ok()));
        home.memory.crash(&mut dice(seed), Keep::Random);
        // All before the segment is flushed and taken out of the list: nothing else tells where it begins.
        let outcome = scan(&home.ctx, &home.segments()[1..], None, SequenceNumber(1)).unwrap();
        assert!(outcome.end.is_some());
        let seen = replay_all(&mut outcome.replay(&home.ctx).unwrap()).unwrap();
        assert!(puts(40)[1..].starts_with(&seen));
    }
}

/// A log that is written to, life after life, with what is known about it.
struct Story {
    home: Home,
    plan: FaultPlan,
    /// All that was ever to be appended and may still be there, in order.
    log: Vec<Seen>,
    /// How many of them were appended, and how many are durable, so far as the writer was told.
    appended: usize,
    durable: usize,
    /// How many must be there now.
    floor: usize,
    life: u64,
}

impl Story {
    fn new(mode: WalMode) -> Self {
        let plan = FaultPlan::new();
        let faulty = plan.clone();
        let vfs = move |memory: &MemVfs| -> Arc<dyn Vfs> {
            Arc::new(FaultyVfs::over_memory(memory.clone(), faulty.clone()))
        };
        let mut home = Home::over(MemVfs::new(), vfs, WalOptions { mode, ..SMALL }, true);
        let ctx = Arc::get_mut(&mut home.ctx).expect("nobody else has it");
        ctx.suite = Arc::new(OnceOnly { suite: Arc::clone(&ctx.suite), used: Arc::default() });
        Self { home, plan, log: Vec::new(), appended: 0, durable: 0, floor: 0, life: 0 }
    }

    /// Recovers, then appends `commits`, unless the machine stops after `moment` calls; how many calls there were.
    fn live(&mut self, moment: Option<u64>, commits: usize) -> u64 {
        let before = self.plan.mutating_calls();
        if let Some(moment) = moment {
            self.plan.crash_at(moment);
        }
        self.life += 1;
        if let Err(error) = self.recover_and_append(commits) {
            assert!(self.plan.crashed(), "{error}");
        }
        self.assert_sealed();
        self.plan.mutating_calls() - before
    }

    fn recover_and_append(&mut self, commits: usize) -> Result<()> {
        let (seen, start, _) = self.home.recover()?;
        assert!(seen.len() >= self.floor, "{} of {} are left", seen.len(), self.floor);
        assert!(self.log.starts_with(&seen));
        self.log = seen;
        (self.appended, self.durable, self.floor) = (self.log.len(), self.log.len(), self.log.len());
        let mut writer = self.home.writer(start)?;
        let sync = writer.sync_handle();
        for _ in 0..commits {
            self.append(&mut writer)?;
            if self.log.len().is_multiple_of(7) {
                sync.sync()?;
                self.durable = self.appended;
                sync.grow_ahead()?;
                if self.log.len().is_multiple_of(2) {
                    writer.write_marker()?;
                }
            }
        }
        Ok(())
    }

    fn append(&mut self, writer: &mut WalWriter) -> Result<()> {
        let n = self.log.len() as u64 + 1;
        let mut value = format!("life-{}-CANARY-{n}", self.life).into_bytes();
        if n.is_multiple_of(20) {
            value = value.repeat(12_000);
        }
        self.log.push(Seen::Commit(n, vec![(key(n), Some(value.clone()))]));
        let mut ops = CommitOps::new();
        ops.put(&key(n), &value);
        commit(writer, n, &mut ops)?;
        self.appended = self.log.len();
        Ok(())
    }

    fn stop_process(&mut self) {
        self.home.memory.kill_process();
        self.plan.clear();
        self.floor = self.floor.max(self.appended);
    }

    fn cut_power(&mut self, random: &mut dyn FnMut() -> u64, keep: Keep) {
        self.home.memory.crash(random, keep);
        self.plan.clear();
        (self.floor, self.appended) = (self.durable, self.durable);
    }

    /// No file has anything of a value in it.
    fn assert_sealed(&self) {
        for path in self.home.memory.files() {
            let bytes = read_file(&self.home.memory, &path);
            assert!(!bytes.windows(6).any(|window| window == b"CANARY"), "{} has plaintext", path.display());
        }
    }
}

type Used = Arc<Mutex<HashSet<([u8; 32], Nonce)>>>;

/// Refuses to seal twice under one key and nonce.
#[derive(Debug)]
struct OnceOnly {
    suite: Arc<dyn AeadSuite>,
    used: Used,
}

struct OnceOnlyKey {
    key: Box<dyn AeadKey>,
    bytes: [u8; 32],
    used: Used,
}

impl AeadSuite for OnceOnly {
    fn id(&self) -> SuiteId {
        self.suite.id()
    }

    fn name(&self) -> &'static str {
        self.suite.name()
    }

    fn key(&self, key: &SecretKey) -> Box<dyn AeadKey> {
        Box::new(OnceOnlyKey { key: self.suite.key(key), bytes: *key.expose(), used: Arc::clone(&self.used) })
    }
}

impl AeadKey for OnceOnlyKey {
    fn seal_detached(&self, nonce: &Nonce, aad: &[u8], in_out: &mut [u8]) -> Result<Tag, CryptoError> {
        assert!(self.used.lock().insert((self.bytes, *nonce)), "sealed twice under one key and nonce");
        self.key.seal_detached(nonce, aad, in_out)
    }

    fn open_detached(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        in_out: &mut [u8],
        tag: &Tag,
    ) -> Result<(), CryptoError> {
        self.key.open_detached(nonce, aad, in_out, tag)
    }
}
