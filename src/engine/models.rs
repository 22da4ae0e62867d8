//! Every order in which threads can commit, and in which the current version can change under readers. Run by
//! `cargo xtask models`.

use std::sync::Arc;

use lightning_db_storage::SequenceNumber;
use lightning_db_sync::modelled::loom::{self, thread};

use super::queue::Queue;
use super::version::{Layer, TreeState, Version, Versions};
use crate::memtable::MemValue;
use crate::shared_bytes::SharedBytes;

/// The jobs that were done, in their order. An outcome is a place in it.
type Done = Vec<u32>;
type Commits = Queue<Done, u32, usize>;

/// As the engine leads: its own job first, then those that wait.
fn lead(queue: &Commits, done: &mut Done, own: Option<u32>) -> Option<usize> {
    let tickets = queue.take_waiting(done);
    let place = own.map(|job| {
        done.push(job);
        done.len() - 1
    });
    for ticket in tickets.iter() {
        done.push(ticket.job);
        ticket.settle(done.len() - 1);
    }
    place
}

/// How a commit comes to be done.
#[derive(Clone, Copy)]
enum Way {
    /// By its own thread as soon as it can: the job is too large to be copied.
    Patient,
    /// By its own thread if the writer is free.
    Hasty,
    /// In turn with all that wait, as when each turn takes a sync.
    InTurn,
}

/// As the engine commits.
fn commit(queue: &Commits, job: u32, way: Way) {
    let writer = match way {
        Way::Patient => Some(queue.writer()),
        Way::Hasty => queue.free_writer(),
        Way::InTurn => None,
    };
    let place = match writer {
        Some(mut done) => lead(queue, &mut done, Some(job)),
        None => queue.hand_over(job, |done| _ = lead(queue, done, None)),
    };
    let place = place.expect("every job has an outcome");
    assert_eq!(queue.writer()[place], job, "the outcome is that of one's own job");
}

#[test]
fn every_commit_is_done_once_and_has_its_own_outcome() {
    use Way::{Hasty, InTurn, Patient};
    for ways in [[Hasty, Patient, Hasty], [InTurn, Patient, InTurn], [InTurn, InTurn, Hasty]] {
        bounded(move || {
            let queue: Arc<Commits> = Arc::new(Queue::new(Vec::new()));
            let run = |job: u32| {
                let queue = Arc::clone(&queue);
                thread::spawn(move || commit(&queue, job, ways[job as usize]))
            };
            let threads = [run(1), run(2)];
            commit(&queue, 0, ways[0]);
            for thread in threads {
                thread.join().expect("a thread");
            }
            let mut done = queue.writer().clone();
            done.sort_unstable();
            assert_eq!(done, [0, 1, 2]);
        });
    }
}

#[test]
fn commits_of_one_thread_stay_in_their_order() {
    bounded(|| {
        let queue: Arc<Commits> = Arc::new(Queue::new(Vec::new()));
        let other = thread::spawn({
            let queue = Arc::clone(&queue);
            move || [1, 2].into_iter().for_each(|job| commit(&queue, job, Way::InTurn))
        });
        commit(&queue, 10, Way::Hasty);
        commit(&queue, 11, Way::InTurn);
        other.join().expect("a thread");
        let done = queue.writer();
        let place = |job| done.iter().position(|known| *known == job);
        assert_eq!(done.len(), 4);
        assert!(place(1) < place(2) && place(10) < place(11), "{:?}", *done);
    });
}

/// `LOOM_MAX_PREEMPTIONS` asks for more.
fn bounded(work: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound.get_or_insert(3);
    model.check(work);
}

/// A database in which commit `n` writes key `n`.
struct Data {
    versions: Versions,
}

impl Data {
    fn new() -> Arc<Self> {
        let tree = TreeState {
            base: Default::default(),
            runs: Vec::new(),
            segments: Default::default(),
            flushed: SequenceNumber(0),
        };
        let version = Version { active: Layer::new(7, true), frozen: Vec::new(), tree: Arc::new(tree) };
        Arc::new(Self { versions: Versions::new(version, SequenceNumber(0)) })
    }

    /// The caller is the one writer.
    fn commit(&self, sequence: u64) {
        let value = MemValue::Put(SharedBytes::from(&b"v"[..]));
        let layer = Arc::clone(&self.versions.current().active);
        layer.memtable.insert(&sequence.to_le_bytes(), SequenceNumber(sequence), value);
        self.versions.publish(SequenceNumber(sequence));
    }

    /// The caller is the one writer.
    fn freeze(&self) {
        self.versions.change(|version| {
            let frozen = [&version.active].into_iter().chain(&version.frozen).cloned().collect();
            Version { active: Layer::new(7, true), frozen, tree: Arc::clone(&version.tree) }
        });
    }

    /// The oldest frozen memtable goes into the trees.
    fn flush(&self) {
        let Some(layer) = self.versions.current().frozen.last().cloned() else { return };
        let flushed = layer.memtable.last_sequence().expect("nothing empty is frozen");
        self.versions.change(|version| {
            let left = version.frozen.iter().filter(|frozen| !Arc::ptr_eq(frozen, &layer)).cloned().collect();
            let tree = TreeState {
                base: version.tree.base,
                runs: Vec::new(),
                segments: version.tree.segments.clone(),
                flushed,
            };
            Version { active: Arc::clone(&version.active), frozen: left, tree: Arc::new(tree) }
        });
    }
}

/// What a reader of this view must find: every commit up to its number, and nothing later in its trees.
fn assert_whole(version: &Version, sequence: SequenceNumber) {
    assert!(version.tree.flushed <= sequence, "the trees have what the reader must not see");
    for number in 1..=sequence.0 {
        let in_memory = |layer: &Arc<Layer>| {
            layer.memtable.get(&number.to_le_bytes(), sequence).expect("in memory").is_some()
        };
        let found = version.tree.flushed.0 >= number || version.layers().any(in_memory);
        assert!(found, "commit {number} is not in a view of {}", sequence.0);
    }
}

#[test]
fn a_view_is_never_torn() {
    bounded(|| {
        let data = Data::new();
        let writer = thread::spawn({
            let data = Arc::clone(&data);
            move || {
                data.commit(1);
                data.freeze();
                data.commit(2);
                data.flush();
                data.commit(3);
            }
        });
        let view = data.versions.view();
        assert_whole(&view.version, view.sequence);
        data.versions.with_view(assert_whole);
        writer.join().expect("the writer");
        // What was held does not change.
        assert_whole(&view.version, view.sequence);
    });
}

#[test]
fn flushes_beside_commits_lose_nothing() {
    bounded(|| {
        let data = Data::new();
        data.commit(1);
        data.freeze();
        let run = |work: fn(&Data)| {
            let data = Arc::clone(&data);
            thread::spawn(move || work(&data))
        };
        let flusher = run(Data::flush);
        let writer = run(|data| {
            data.commit(2);
            data.freeze();
            data.commit(3);
        });
        let view = data.versions.view();
        assert_whole(&view.version, view.sequence);
        flusher.join().expect("the flusher");
        writer.join().expect("the writer");
        data.versions.with_view(|version, sequence| {
            assert_eq!((version.frozen.len(), version.tree.flushed, sequence.0), (1, SequenceNumber(1), 3));
            assert_whole(version, sequence);
        });
    });
}
