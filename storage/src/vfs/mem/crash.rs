//! What a power cut leaves of what was not synced.

use std::ops::Range;

/// How much of what was not synced a simulated power cut keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Only what was synced.
    Nothing,
    /// All of it, as if the cut had come a little later.
    Everything,
    /// A random part: sectors of 512 bytes are kept, lost or torn in any order, and each
    /// name goes back to a random moment since its directory was synced.
    Random,
}

/// Decisions drawn from the caller's source, so that a seed reproduces them.
pub(super) struct Chance<'a> {
    draw: &'a mut dyn FnMut() -> u64,
    /// Of 256 things, how many are kept.
    kept_in_256: u64,
}

impl<'a> Chance<'a> {
    /// Draws the odds too: a cut that loses nearly all, or nearly nothing, finds other
    /// mistakes than one that loses half.
    pub(super) fn new(draw: &'a mut dyn FnMut() -> u64) -> Self {
        let kept_in_256 = [16, 128, 240][(draw() % 3) as usize];
        Self { draw, kept_in_256 }
    }

    /// Uniform in `0..limit`; `limit` is not zero.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        ((self.draw)() % limit as u64) as usize
    }

    pub(super) fn keeps(&mut self) -> bool {
        (self.draw)() % 256 < self.kept_in_256
    }

    /// The part of a sector's `len` bytes that reaches the disk: mostly all or none, and
    /// one time in eight a piece.
    pub(super) fn part_of(&mut self, len: usize) -> Range<usize> {
        if self.below(8) > 0 {
            return if self.keeps() { 0..len } else { 0..0 };
        }
        let cut = self.below(len + 1);
        if self.below(2) == 0 { 0..cut } else { cut..len }
    }
}
