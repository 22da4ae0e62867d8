//! Damage to bytes: flips, cuts, extensions, zeros, removals, of every file of a target.

use std::sync::Arc;

use super::case::{Case, Depth, Expect, Target};
use super::damage::{Damage, Edit};
use super::layout::{Layout, Role};
use super::undetectable::Undetectable;
use crate::random::Random;

/// How much is tried.
#[derive(Debug, Clone, Copy)]
pub(super) struct Effort {
    /// Every bit of a byte, instead of one of its bits, and of every fourth byte all of them together.
    pub(super) all_bits: bool,
    /// Of so many bytes one is tried.
    pub(super) stride: u64,
    /// Of so many cases one is looked at closely.
    pub(super) closely: usize,
    /// Of so many bytes that are zero behind the end of a log one is tried.
    pub(super) behind: u64,
}

/// All cases of damaged bytes.
pub(super) fn cases(target: &Arc<Target>, layouts: &[Layout], effort: Effort) -> Vec<Case> {
    let mut all = Vec::new();
    for layout in layouts {
        let mut file = FileCases { target, layout, effort, cases: Vec::new() };
        file.flips();
        file.cuts();
        file.zeros();
        file.extensions();
        file.add(Damage::remove(&layout.file), Depth::Writing);
        all.append(&mut file.cases);
    }
    all
}

struct FileCases<'a> {
    target: &'a Arc<Target>,
    layout: &'a Layout,
    effort: Effort,
    cases: Vec<Case>,
}

impl FileCases<'_> {
    fn flips(&mut self) {
        let layout = self.layout;
        // What is never read is tried here and there.
        let stride = if layout.role == Role::Idle { 4096 } else { self.effort.stride };
        for offset in (0..layout.content_end).step_by(stride as usize) {
            for mask in self.masks(offset) {
                let depth = self.depth();
                self.add(Damage::flip(&layout.file, offset, mask), depth);
            }
        }
        for offset in (layout.content_end..layout.len()).step_by(self.effort.behind as usize) {
            let depth = self.depth();
            self.add(Damage::flip(&layout.file, offset, 1 << (offset / self.effort.behind % 8)), depth);
        }
    }

    fn masks(&self, offset: u64) -> Vec<u8> {
        // The clear lengths of frames: a flip can make them zero, which is an end.
        let is_head = |part: &std::ops::Range<u64>| (part.start..part.start + 8).contains(&offset);
        let in_log = matches!(self.layout.role, Role::Log | Role::OpenLog);
        if self.effort.all_bits || in_log && self.layout.parts.iter().any(is_head) {
            (0..8).map(|bit| 1 << bit).collect()
        } else if offset.is_multiple_of(4 * self.effort.stride) {
            vec![1 << (offset / 4 % 8), 0xff]
        } else {
            vec![1 << (offset % 8)]
        }
    }

    fn cuts(&mut self) {
        let layout = self.layout;
        let stride = if layout.role == Role::Idle { 65536 } else { self.effort.stride };
        for len in (0..layout.content_end).step_by(stride as usize) {
            let depth = self.depth();
            self.add(Damage::cut(&layout.file, len), depth);
        }
        for len in (layout.content_end..layout.len()).step_by(16 * self.effort.behind as usize) {
            self.add(Damage::cut(&layout.file, len), Depth::Reading);
        }
    }

    fn zeros(&mut self) {
        let layout = self.layout;
        if layout.role == Role::Idle {
            return;
        }
        for part in &layout.parts {
            self.add_changing(Damage::zero(&layout.file, part.clone()));
            // Everything from here on: for a log, as if no more had been written.
            self.add_changing(Damage::zero(&layout.file, part.start..layout.content_end));
        }
        for start in (0..layout.content_end).step_by(512) {
            let end = (start + 512).min(layout.content_end);
            self.add_changing(Damage::zero(&layout.file, start..end));
        }
        self.add_changing(Damage::zero(&layout.file, 0..layout.len()));
    }

    fn extensions(&mut self) {
        let layout = self.layout;
        let mut random = Random::new(layout.len());
        for len in [1, 16, 80, 4096] {
            self.add(Damage::extend(&layout.file, layout.len(), vec![0; len]), Depth::Writing);
            self.add(Damage::extend(&layout.file, layout.len(), random.noise(len)), Depth::Writing);
        }
        let content = layout.bytes[..layout.content_end as usize].to_vec();
        if !content.is_empty() {
            self.add(Damage::extend(&layout.file, layout.len(), content), Depth::Writing);
        }
    }

    /// Unless there are zeros already.
    fn add_changing(&mut self, damage: Damage) {
        let changes = damage.edits.iter().any(|edit| edit.changes(&self.layout.bytes));
        if changes {
            self.add(damage, Depth::Writing);
        }
    }

    fn depth(&self) -> Depth {
        if self.cases.len().is_multiple_of(self.effort.closely) { Depth::Writing } else { Depth::Reading }
    }

    fn add(&mut self, damage: Damage, depth: Depth) {
        let (expect, noticed) = expected(self.target, self.layout, &damage);
        self.cases.push(Case { target: Arc::clone(self.target), damage, expect, noticed, depth });
    }
}

/// What may come of damage to one file, and whether a check must find it.
fn expected(target: &Target, layout: &Layout, damage: &Damage) -> (Expect, bool) {
    let touched = damage.edits.first().map_or(0..0, |edit| edit.touched(&layout.bytes));
    let meaningless =
        (touched.start..touched.end.min(layout.content_end + 1)).all(|at| layout.is_padding(at));
    match layout.role {
        Role::Idle => (Expect::Served, false),
        Role::Twin => (Expect::Served, true),
        Role::Pages | Role::Audit => (Expect::Whole, true),
        // Who restores needs no hint of what the newest record is; who verifies does.
        Role::Object => (Expect::Whole, true),
        Role::Log | Role::OpenLog if meaningless => (Expect::Whole, false),
        Role::Log => (Expect::Whole, !makes_length_zero(layout, damage)),
        Role::OpenLog => expected_of_open_log(target, layout, damage, touched.start..touched.end),
    }
}

fn expected_of_open_log(
    target: &Target,
    layout: &Layout,
    damage: &Damage,
    touched: std::ops::Range<u64>,
) -> (Expect, bool) {
    let flushed = target.story.closed.newest;
    let takes_the_end = touched.end.next_multiple_of(16) >= layout.content_end && damage.kind == "zeros";
    if takes_the_end && touched.start >= layout.parts.first().map_or(0, |header| header.end) {
        return (Expect::Earlier(Undetectable::LogEnd, flushed), false);
    }
    match target.unsynced_from {
        Some(from) if touched.start >= from => {
            (Expect::Earlier(Undetectable::Unsynced, target.story.synced), false)
        }
        // A length that one bit made zero is found by trying all that one bit can have made so.
        _ => (Expect::Whole, !makes_length_zero(layout, damage)),
    }
}

fn makes_length_zero(layout: &Layout, damage: &Damage) -> bool {
    let Some(Edit::Flip { offset, mask, .. }) = damage.edits.first() else { return false };
    layout.parts.iter().any(|part| {
        let length = layout.bytes[part.start as usize..part.start as usize + 4].iter().enumerate();
        let mut flipped =
            length.map(|(at, byte)| if part.start + at as u64 == *offset { byte ^ mask } else { *byte });
        flipped.all(|byte| byte == 0)
    })
}
