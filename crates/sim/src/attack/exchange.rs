//! Things that change places, or come from another place or another time.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use lightning_db_storage::vfs::MemVfs;

use super::case::{Case, Depth, Expect, Target};
use super::damage::{Damage, Edit};
use super::layout::{Layout, Role};
use super::specimen;
use super::undetectable::Undetectable;

/// Files of another moment or of another database, by their paths below the root.
pub(super) type Files = BTreeMap<Arc<Path>, Arc<[u8]>>;

/// Whose files are those of another continuation of the same database.
pub(super) const CONTINUATION: &str = "of another continuation:";

/// The files below `root`.
pub(super) fn files(disk: &MemVfs, root: &Path) -> Files {
    let all = specimen::files(disk, root.to_str().unwrap_or_default());
    all.into_iter().map(|(path, bytes)| (path.strip_prefix(root).unwrap_or(&path).into(), bytes)).collect()
}

/// Blocks, frames, headers and files of one target that change places.
pub(super) fn within(target: &Arc<Target>, layouts: &[Layout]) -> Vec<Case> {
    let mut cases = Vec::new();
    let counting = |layout: &&Layout| layout.role != Role::Idle;
    for layout in layouts.iter().filter(counting) {
        swap_parts(target, layout, &mut cases);
    }
    for (index, one) in layouts.iter().enumerate().filter(|(_, one)| one.role != Role::Idle) {
        for other in layouts[index + 1..].iter().filter(counting) {
            // Copies of one content are copies.
            if one.bytes == other.bytes {
                continue;
            }
            let edits = vec![put(&one.file, &other.bytes), put(&other.file, &one.bytes)];
            cases.push(whole(target, "files swapped", names(&[&one.file, &other.file]), edits));
            graft(target, one, other, &mut cases);
        }
    }
    cases
}

/// Each file replaced by every one of its kind in `foreign`, alone and with all of its kind.
pub(super) fn foreign(target: &Arc<Target>, layouts: &[Layout], foreign: &Files, whose: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    let is_continuation = whose == CONTINUATION;
    for layout in layouts.iter().filter(|layout| layout.role != Role::Idle) {
        for (file, bytes) in foreign.iter().filter(|(file, _)| is_alike(&layout.file, file)) {
            if *bytes != layout.bytes {
                let note = format!("{whose} {}", names(&[&layout.file, file]));
                cases.push(whole(target, "foreign file", note, vec![put(&layout.file, bytes)]));
            }
        }
    }
    // The objects of a repository are not of these kinds.
    let groups = ["run", "base", "value", "wal", "MANIFEST", "KEYRING"];
    for group in groups.into_iter().filter(|_| !target.is_repository) {
        let is_in = |file: &Path| file.to_string_lossy().contains(group);
        for inside in [true, false] {
            let edits: Vec<Edit> = foreign
                .iter()
                .filter(|(file, bytes)| is_in(file) == inside && differs(layouts, file, bytes))
                .map(|(file, bytes)| put(file, bytes))
                .collect();
            if !edits.is_empty() {
                let note = format!("{whose} {group} {}", if inside { "alone" } else { "excepted" });
                let mut case = whole(target, "foreign group", note, edits);
                if !inside && is_continuation {
                    // All of another copy but a part that it may not need.
                    case.expect = Expect::Other(Undetectable::OlderState);
                }
                cases.push(case);
            }
        }
    }
    cases
}

/// Files as they were at an earlier moment: each alone, and every union of the groups.
pub(super) fn rolled_back(
    target: &Arc<Target>,
    layouts: &[Layout],
    older: &Files,
    when: &str,
    earliest: u64,
) -> Vec<Case> {
    let mut cases = Vec::new();
    let changed: Vec<Edit> = changes_to(layouts, older);
    for edit in &changed {
        let mut case =
            whole(target, "older file", format!("{when} {}", edit.file().display()), vec![edit.clone()]);
        if group(edit.file()) == 3 {
            case.expect = Expect::Earlier(Undetectable::LogEnd, earliest);
        }
        cases.push(case);
    }
    for chosen in 1..16_u32 {
        let is_in = |edit: &&Edit| chosen & (1 << group(edit.file())) != 0;
        let edits: Vec<Edit> = changed.iter().filter(is_in).cloned().collect();
        if edits.is_empty() {
            continue;
        }
        let mut case = whole(target, "older group", format!("{when} {chosen:04b}"), edits);
        if chosen & 1 != 0 {
            case.expect = Expect::Earlier(Undetectable::OlderState, earliest);
        } else if chosen & 0b1000 != 0 {
            case.expect = Expect::Earlier(Undetectable::LogEnd, earliest);
        }
        cases.push(case);
    }
    cases
}

/// 0 manifest, 1 keyring, 2 pages, 3 log.
fn group(file: &Path) -> u32 {
    let name = file.to_string_lossy();
    match name.as_ref() {
        name if name.starts_with("MANIFEST") => 0,
        name if name.starts_with("KEYRING") => 1,
        name if name.ends_with(".wal") => 3,
        _ => 2,
    }
}

/// What makes the files those of `older`.
pub(super) fn changes_to(layouts: &[Layout], older: &Files) -> Vec<Edit> {
    let back = older.iter().filter(|(file, bytes)| differs(layouts, file, bytes));
    let mut edits: Vec<Edit> = back.map(|(file, bytes)| put(file, bytes)).collect();
    let gone = layouts.iter().filter(|layout| !older.contains_key(&layout.file));
    edits.extend(gone.map(|layout| Edit::Remove { file: Arc::clone(&layout.file) }));
    edits
}

fn differs(layouts: &[Layout], file: &Path, bytes: &[u8]) -> bool {
    !layouts.iter().any(|layout| *layout.file == *file && *layout.bytes == *bytes)
}

fn is_alike(one: &Path, other: &Path) -> bool {
    let kind = |path: &Path| path.to_string_lossy().split('.').next().map(|name| name.len());
    one.extension() == other.extension() && one.parent() == other.parent() && kind(one) == kind(other)
}

/// Of a file with many parts each is exchanged with so many that follow it.
const PARTNERS: usize = 12;

/// Each part of a file exchanged with others, and put in their place.
fn swap_parts(target: &Arc<Target>, layout: &Layout, cases: &mut Vec<Case>) {
    let parts = &layout.parts;
    for (index, one) in parts.iter().enumerate() {
        for other in parts[index + 1..].iter().take(PARTNERS) {
            let len = (one.end - one.start).min(other.end - other.start);
            let bytes =
                |start: u64| -> Arc<[u8]> { layout.bytes[start as usize..(start + len) as usize].into() };
            let write = |offset, bytes| Edit::Write { file: Arc::clone(&layout.file), offset, bytes };
            let there = write(other.start, bytes(one.start));
            let here = write(one.start, bytes(other.start));
            let overlap = other.start < one.start + len;
            if overlap || !here.changes(&layout.bytes) {
                continue;
            }
            for edits in [vec![here.clone(), there.clone()], vec![here], vec![there]] {
                let first = edits.iter().map(|edit| edit.touched(&layout.bytes).start).min().unwrap_or(0);
                let which = format!("{} written from {first}", edits.len());
                let note = format!("{} {} and {}, {which}", layout.file.display(), one.start, other.start);
                let mut case = whole(target, "parts swapped", note, edits);
                let unsynced = target.unsynced_from.is_some_and(|from| first >= from);
                if layout.role == Role::OpenLog && unsynced {
                    case.expect = Expect::Earlier(Undetectable::Unsynced, target.story.synced);
                }
                cases.push(case);
            }
        }
    }
}

/// The header of one file on the rest of another, and their blocks exchanged.
fn graft(target: &Arc<Target>, one: &Layout, other: &Layout, cases: &mut Vec<Case>) {
    const HEADER: usize = 128;
    if one.ending() != other.ending() || one.len().min(other.len()) <= HEADER as u64 {
        return;
    }
    let joined: Arc<[u8]> = [&one.bytes[..HEADER], &other.bytes[HEADER..]].concat().into();
    let note = format!("header of {}", names(&[&one.file, &other.file]));
    cases.push(whole(target, "parts grafted", note, vec![put(&one.file, &joined)]));
    for part in &one.parts {
        let range = part.start as usize..part.end as usize;
        if let Some(bytes) = other
            .bytes
            .get(range)
            .filter(|bytes| **bytes != one.bytes[part.start as usize..part.end as usize])
        {
            let edit = Edit::Write { file: Arc::clone(&one.file), offset: part.start, bytes: bytes.into() };
            let note = format!("{} at {}", names(&[&one.file, &other.file]), part.start);
            let mut case = whole(target, "parts grafted", note, vec![edit]);
            if one.role == Role::OpenLog {
                case.expect = Expect::Earlier(Undetectable::LogEnd, target.story.closed.newest);
            }
            cases.push(case);
        }
    }
}

fn put(file: &Arc<Path>, bytes: &Arc<[u8]>) -> Edit {
    Edit::Put { file: Arc::clone(file), bytes: Arc::clone(bytes) }
}

fn names(files: &[&Path]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(" and ")
}

fn whole(target: &Arc<Target>, kind: &'static str, note: String, edits: Vec<Edit>) -> Case {
    let damage = Damage { kind, note, edits };
    Case { target: Arc::clone(target), damage, expect: Expect::Whole, noticed: false, depth: Depth::Writing }
}
