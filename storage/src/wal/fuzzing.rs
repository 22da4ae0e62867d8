//! Logs whose files were changed, and logs whose frames were made up by who has the key.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use lightning_db_crypto::{EpochId, Tag};
use parking_lot::Mutex;

use super::frame::{FRAME_HEADER_LEN, FrameCipher, FrameHead, FrameKind, MAX_PAYLOAD_LEN, Slot};
use super::links::CloseNote;
use super::record::Record;
use super::*;
use crate::fuzzing::structures::canonical;
use crate::fuzzing::{Input, Target, edit};
use crate::segment::testing::{context_in, read_file, replace_file};
use crate::segment::{HEADER_LEN, SegmentKind};
use crate::vfs::{Keep, MemVfs};

/// The files of a log, changed without the key: what is replayed is a beginning of what was written, and all of it up to the
/// last place that the manifest knows of.
pub const LOG: Target = Target {
    name: "log",
    run: files,
    seeds: || vec![vec![0], vec![1, 1, 0, 0, 200, 9], vec![0, 2, 3, 1, 0, 0], vec![1, 2, 1, 1, 5, 0, 6, 0]],
    room: 16 << 20,
};

/// A log with any frames in it: all ways to read it agree.
pub const LOG_CONTENT: Target =
    Target { name: "log_content", run: content, seeds: content_seeds, room: 24 << 20 };

/// What frames hold, once opened, and their clear headers.
pub const LOG_RECORDS: Target =
    Target { name: "log_records", run: records, seeds: record_seeds, room: 64 << 10 };

/// Pieces of log in a repository.
pub const ARCHIVE_PIECE: Target =
    Target { name: "archive_piece", run: archive_piece, seeds: || sample().pieces.clone(), room: 8 << 20 };

/// A commit with its operations, or a restore point.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Commit(CommitHead, Vec<(Vec<u8>, Option<Vec<u8>>)>),
    Point(RestorePoint),
}

/// A log of three segments, of which the manifest knows the ends of the first two.
struct Sample {
    ctx: Arc<SealContext>,
    infos: Vec<WalSegmentInfo>,
    files: Vec<Vec<u8>>,
    written: Vec<Seen>,
    /// How many of them are in the first two segments.
    promised: usize,
    pieces: Vec<Vec<u8>>,
}

#[derive(Clone, Default)]
struct Listed(Arc<Mutex<Vec<WalSegmentInfo>>>);

struct Supply(Arc<SealContext>, Listed);

impl SegmentSupply for Supply {
    fn next(&mut self) -> Result<PreparedSegment> {
        let mut listed = self.1.0.lock();
        let options = WalOptions { segment_size: MIN_SEGMENT_SIZE, mode: WalMode::Pwrite };
        let prepared = prepare_segment(&self.0, &options, SegmentId(listed.len() as u64 + 1), EpochId(1))?;
        listed.push(prepared.info().clone());
        Ok(prepared)
    }

    fn finished(&mut self, segment: WalSegmentInfo) {
        let mut listed = self.1.0.lock();
        listed.iter_mut().filter(|entry| entry.id == segment.id).for_each(|entry| *entry = segment.clone());
    }
}

fn sample() -> &'static Sample {
    static SAMPLE: OnceLock<Sample> = OnceLock::new();
    SAMPLE.get_or_init(|| write_sample().expect("a log in memory"))
}

fn write_sample() -> Result<Sample> {
    let vfs = MemVfs::new();
    let ctx = Arc::new(context_in(Arc::new(vfs.clone()), "/db", 1, true));
    let listed = Listed::default();
    let mut supply = Supply(Arc::clone(&ctx), listed.clone());
    let first = supply.next()?;
    let mut writer = WalWriter::start(Arc::clone(&ctx), first, WalStart::default(), Box::new(supply))?;
    for number in 1..=12u64 {
        let long = vec![number as u8; if number == 5 { 150 << 10 } else { 20 }];
        let mut ops = CommitOps::new();
        ops.put(&number.to_le_bytes(), &long);
        ops.delete(b"another key");
        let (sequence, time_micros) = (SequenceNumber(number), number as i64);
        writer.append(&mut [LogEntry::Commit { sequence, time_micros, ops: &mut ops }])?;
        if number == 6 || number == 3 {
            writer.append(&mut [LogEntry::RestorePoint { name: "a point", sequence, time_micros }])?;
            writer.rotate()?;
        }
    }
    let through = writer.position().frame;
    drop(writer);
    let infos = listed.0.lock().clone();
    let files =
        infos.iter().map(|info| read_file(&vfs, &ctx.segment_path(SegmentKind::Wal, info.id))).collect();
    let outcome = scan(&ctx, &infos, None, SequenceNumber(0))?;
    let written = read_all(&mut outcome.replay(&ctx)?)?;
    let promised = |seen: &Seen| match seen {
        Seen::Commit(head, _) => head.sequence.0 <= 6,
        Seen::Point(_) => true,
    };
    let pieces = pieces(&ctx, &infos, through)?;
    Ok(Sample {
        promised: written.iter().filter(|seen| promised(seen)).count(),
        pieces: pieces.iter().map(ArchivePiece::encode).collect(),
        ctx,
        infos,
        files,
        written,
    })
}

/// Everything up to a frame, as pieces.
fn pieces(ctx: &SealContext, infos: &[WalSegmentInfo], through: FrameNumber) -> Result<Vec<ArchivePiece>> {
    let mut pieces = Vec::new();
    let mut at: Option<WalPosition> = None;
    for info in infos {
        while at.is_none_or(|at| at.frame < through) {
            let Some(piece) = export_range(ctx, info, at.as_ref(), through)? else { break };
            at = Some(piece.end);
            let is_last = info.accepted_through.is_some_and(|end| end.frame == piece.end.frame);
            pieces.push(piece);
            if is_last {
                break;
            }
        }
    }
    Ok(pieces)
}

fn read_all(source: &mut dyn LogSource) -> Result<Vec<Seen>> {
    let mut seen = Vec::new();
    while let Some(event) = source.next_event()? {
        let head = match event {
            LogEvent::RestorePoint(point) => {
                seen.push(Seen::Point(point));
                continue;
            }
            LogEvent::Commit(head) => head,
        };
        let mut ops = Vec::new();
        loop {
            let (key, len) = match source.next_op()? {
                None => break,
                Some(LogOp::Put { key, value }) => {
                    ops.push((key.to_vec(), Some(value.to_vec())));
                    continue;
                }
                Some(LogOp::Delete { key }) => {
                    ops.push((key.to_vec(), None));
                    continue;
                }
                Some(LogOp::PutStreamed { key, len }) => (key.to_vec(), len),
            };
            let (mut value, mut chunk) = (Vec::new(), Vec::new());
            while source.read_value(&mut chunk)? {
                value.extend_from_slice(&chunk);
            }
            assert_eq!(value.len() as u64, len, "a streamed value is whole, or there is an error");
            ops.push((key, Some(value)));
        }
        assert_eq!(ops.len() as u64, head.ops, "a commit is whole, or there is an error");
        seen.push(Seen::Commit(head, ops));
    }
    Ok(seen)
}

fn commits(seen: &[Seen]) -> u64 {
    seen.iter().filter(|seen| matches!(seen, Seen::Commit(..))).count() as u64
}

/// A directory with these files of a log, on a machine that was started again or not.
fn directory(files: &[Vec<u8>], restarted: bool) -> (MemVfs, SealContext) {
    let vfs = MemVfs::new();
    let ctx = context_in(Arc::new(vfs.clone()), "/db", 1, true);
    for (number, file) in files.iter().enumerate() {
        replace_file(&vfs, &ctx.segment_path(SegmentKind::Wal, SegmentId(number as u64 + 1)), file);
    }
    if restarted {
        vfs.crash(&mut || 0, Keep::Everything);
    }
    (vfs, ctx)
}

fn files(data: &[u8]) {
    let sample = sample();
    let mut input = Input::new(data);
    let how = input.byte();
    let mut files = sample.files.clone();
    while !input.is_empty() {
        let which = usize::from(input.byte()) % files.len();
        let edits = input.chunk();
        // Most of a file is empty: changes go to where something is, and just behind.
        let file = &mut files[which];
        let used = file.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let rest = file.split_off((used + 100).min(file.len()));
        edit(file, &mut Input::new(edits));
        file.extend_from_slice(&rest);
    }
    let (_, ctx) = directory(&files, how & 1 == 1);
    for info in &sample.infos {
        let _ = damaged_places(&ctx, info);
    }
    let Ok(outcome) = scan(&ctx, &sample.infos, None, SequenceNumber(0)) else {
        assert_ne!(files, sample.files, "an undamaged log is refused");
        return;
    };
    let seen = read_all(&mut outcome.replay(&ctx).expect("what was just read")).expect("what was just read");
    assert_eq!(commits(&seen), outcome.commits, "both readings agree");
    assert!(sample.written.starts_with(&seen), "what is replayed was never written so");
    assert!(seen.len() >= sample.promised, "something that the manifest promises is missing");
    assert!(files != sample.files || seen == sample.written);
}

/// Writes the frames that the input asks for into two segments, the first frames of which are sound if it says so.
fn made_up(input: &mut Input<'_>) -> (Vec<Vec<u8>>, Vec<WalSegmentInfo>) {
    let sample = sample();
    let mut infos = sample.infos[..2].to_vec();
    let mut chain = Chain { number: FrameNumber(0), tag: [0; 16], offset: 0 };
    let mut files = Vec::new();
    for info in &mut infos {
        info.accepted_through = None;
        let cipher = FrameCipher::new(&sample.ctx, info).expect("its key");
        let mut file = info.header(&sample.ctx).encode().to_vec();
        let frames = input.byte();
        for _ in 0..frames % 24 {
            chain.append(&cipher, &mut file, input);
        }
        if frames & 0x80 != 0 {
            info.accepted_through = Some(WalPosition {
                segment: info.id,
                offset: chain.offset,
                frame: chain.number,
                tag: chain.tag,
                sequence: SequenceNumber(input.below(32) as u64),
                within_commit: input.byte() & 1 == 1,
            });
        }
        file.resize(MIN_SEGMENT_SIZE as usize, 0);
        files.push(file);
    }
    (files, infos)
}

/// The end of what was made up so far.
struct Chain {
    number: FrameNumber,
    tag: Tag,
    offset: u64,
}

impl Chain {
    fn append(&mut self, cipher: &FrameCipher, file: &mut Vec<u8>, input: &mut Input<'_>) {
        let kinds =
            [FrameKind::Open, FrameKind::Commits, FrameKind::Part, FrameKind::Marker, FrameKind::Close];
        let (kind, how) = (kinds[usize::from(input.byte()) % 5], input.byte());
        let payload = input.chunk();
        let mut frame = vec![0; FRAME_HEADER_LEN];
        frame.extend_from_slice(payload);
        let wrong = |bit: u8| u64::from(how >> bit & 3 == 3);
        let number = FrameNumber(self.number.0.wrapping_add(1).wrapping_add(wrong(2)));
        let head = FrameHead {
            length: frame.len() as u32,
            kind,
            flags: how & 3,
            number,
            durable_through: FrameNumber(self.number.0.wrapping_add(wrong(4) * u64::from(how))),
            previous_tag: if how >> 6 == 3 { [1; 16] } else { self.tag },
            tag: [0; 16],
        };
        self.tag = cipher.seal(head, file.len() as u64, &mut frame).expect("sealed");
        self.number = number;
        file.extend_from_slice(&frame);
        file.resize(file.len().next_multiple_of(16), 0);
        self.offset = file.len() as u64;
    }
}

fn content(data: &[u8]) {
    let mut input = Input::new(data);
    let how = input.byte();
    let known_through = SequenceNumber(u64::from(how >> 4));
    let (files, infos) = made_up(&mut input);
    let (_, ctx) = directory(&files, how & 1 == 1);
    for info in &infos {
        let _ = damaged_places(&ctx, info);
        let _ = export_range(&ctx, info, None, FrameNumber(u64::MAX));
    }
    let Ok(outcome) = scan(&ctx, &infos, None, known_through) else { return };
    let replayed = outcome.replay(&ctx).and_then(|mut replay| read_all(&mut replay));
    let settled = outcome.settle(&ctx).expect("the files are there");
    // What was settled is what the next start finds, and nothing else.
    let again = scan(&ctx, &settled.segments, None, known_through).expect("what was settled");
    assert_eq!(
        (again.end, again.last_sequence, again.commits),
        (outcome.end, outcome.last_sequence, outcome.commits)
    );
    let Some(end) = outcome.end else { return };
    let exported = pieces(&ctx, &settled.segments, end.frame);
    let (Ok(replayed), Ok(exported)) = (replayed, exported) else { return };
    let archived: Vec<Result<ArchivePart>> = exported.into_iter().map(there_and_back).map(Ok).collect();
    let archived = read_all(&mut replay_archive(Arc::new(ctx), archived.into_iter(), known_through));
    assert_eq!(archived.ok(), Some(replayed), "an archived log is another one");
}

fn there_and_back(piece: ArchivePiece) -> ArchivePart {
    let name = Path::new("piece");
    let bytes = piece.encode();
    let read = ArchivePiece::decode(name, &bytes).expect("what was just encoded");
    assert_eq!(read, ArchivePiece { restore_points: Vec::new(), lacks_beginning: false, ..piece });
    read.into_part(name.to_path_buf())
}

fn archive_piece(data: &[u8]) {
    let Ok(piece) = ArchivePiece::decode(Path::new("piece"), data) else { return };
    assert_eq!(piece.encode(), data, "a piece has two encodings");
    let part = there_and_back(piece);
    let ctx = Arc::clone(&sample().ctx);
    let seen = read_all(&mut replay_archive(ctx, [Ok(part)].into_iter(), SequenceNumber(u64::MAX)));
    // A piece can be cut short, begin later, or say something else of its segment: what opens was written.
    for event in seen.into_iter().flatten() {
        let known = |known: &&Seen| match (known, &event) {
            (Seen::Commit(known, ops), Seen::Commit(head, found)) => {
                *known == CommitHead { incarnation: known.incarnation, ..*head } && ops == found
            }
            (known, event) => *known == event,
        };
        assert!(sample().written.iter().any(|written| known(&written)), "a commit that nobody made");
    }
}

fn records(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 4 {
        0 => {
            let mut reader = ByteReader::new(input.rest());
            while !reader.rest().is_empty() {
                let before = reader.rest();
                let Ok(record) = Record::read(&mut reader) else { return };
                assert_eq!(encode(&record), before[..before.len() - reader.rest().len()], "{record:?}");
            }
        }
        1 => whole(input.rest(), WalStart::decode, WalStart::encode),
        2 => whole(input.rest(), CloseNote::decode, CloseNote::encode),
        _ => frame_head(input.rest()),
    }
}

/// As [`canonical`], of a payload that is taken as a whole.
fn whole<T: PartialEq + std::fmt::Debug>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, Malformed>,
    encode: impl Fn(&T) -> Vec<u8>,
) {
    let decode = |reader: &mut ByteReader<'_>| {
        let all = reader.rest();
        reader.raw(all.len(), "all")?;
        decode(all)
    };
    canonical(bytes, decode, |value, out| _ = out.raw(&encode(value)));
}

fn encode(record: &Record<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    match *record {
        Record::Commit { sequence, time_micros, ops } => {
            record::put_commit(&mut out, sequence, time_micros, ops)
        }
        Record::RestorePoint { name, sequence, time_micros } => {
            record::put_restore_point(&mut out, name, sequence, time_micros);
        }
        Record::Chunk(bytes) => {
            record::put_chunk_head(&mut out, bytes.len());
            out.extend_from_slice(bytes);
        }
        Record::Put { key, value } => {
            let mut writer = ByteWriter::new();
            writer.u8(1).varint(0).bytes(key).bytes(value);
            out = writer.into_vec();
        }
        Record::PutStreamed { key, len } => {
            let mut ops = CommitOps::new();
            ops.put_from(key, len, std::io::empty());
            out = ops.parts().0.to_vec();
        }
        Record::Delete { key } => {
            let mut ops = CommitOps::new();
            ops.delete(key);
            out = ops.parts().0.to_vec();
        }
    }
    out
}

fn frame_head(bytes: &[u8]) {
    let Some(bytes) = bytes.first_chunk::<FRAME_HEADER_LEN>() else { return };
    if let Slot::Plausible(head) = FrameHead::parse(bytes) {
        assert_eq!(head.clear_bytes(), *bytes);
        assert!(head.payload_len() <= MAX_PAYLOAD_LEN && head.space().is_multiple_of(16));
    }
}

fn record_seeds() -> Vec<Vec<u8>> {
    let payload = commit_payload(7, 3);
    let after = Some(crate::fuzzing::structures::position(3));
    let fork = Some(Fork { parent: Incarnation([1; 16]), at: SequenceNumber(3) });
    let start = WalStart { after, last_sequence: SequenceNumber(5), fork };
    let note = CloseNote { frames: 3, commits: 2, last_sequence: SequenceNumber(9) };
    let frame = &sample().files[0][HEADER_LEN..][..FRAME_HEADER_LEN];
    let mut point = vec![0];
    record::put_restore_point(&mut point, "a point", SequenceNumber(3), 5);
    record::put_chunk_head(&mut point, 2);
    point.extend_from_slice(b"xy");
    vec![
        [&[0], &payload[..]].concat(),
        point,
        [&[1], &start.encode()[..]].concat(),
        [&[2], &note.encode()[..]].concat(),
        [&[3], frame].concat(),
    ]
}

/// A commit, as it stands in a frame.
fn commit_payload(sequence: u64, ops: u64) -> Vec<u8> {
    let mut payload = Vec::new();
    record::put_commit(&mut payload, SequenceNumber(sequence), 5, ops);
    for number in 0..ops {
        let mut op = CommitOps::new();
        op.put(&number.to_le_bytes(), b"value");
        payload.extend_from_slice(op.parts().0);
    }
    payload
}

/// A frame as [`Chain::append`] reads it.
fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u32).to_be_bytes();
    [&[kind, flags], &len[1..], payload].concat()
}

fn content_seeds() -> Vec<Vec<u8>> {
    let open = frame(0, 0, &WalStart::default().encode());
    let commits = [frame(1, 0, &commit_payload(1, 2)), frame(1, 0, &commit_payload(2, 1))].concat();
    let mut streamed = Vec::new();
    record::put_commit(&mut streamed, SequenceNumber(3), 5, 1);
    let mut op = CommitOps::new();
    op.put_from(b"key", 4, std::io::empty());
    streamed.extend_from_slice(op.parts().0);
    record::put_chunk_head(&mut streamed, 2);
    let part = frame(2, 1, &[&streamed[..], b"xy"].concat());
    let end = frame(1, 2, &[4, 2, b'z', b'!']);
    let note = CloseNote { frames: 6, commits: 3, last_sequence: SequenceNumber(3) };
    let close = frame(4, 0, &note.encode());
    let all = [&[0, 6], &open[..], &commits, &part, &end, &close, &[0]].concat();
    let promised = [&[1, 0x86], &open[..], &commits, &part, &end, &close, &[3, 0, 0]].concat();
    vec![all, promised, [&[0x31, 2], &open[..], &part, &[0]].concat()]
}
