//! What the fuzz targets of all crates share. Each crate takes this file into its `fuzzing` module.

#![allow(dead_code, reason = "every crate uses its own part of this")]

/// A property that must hold for all bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: that of its program, its corpus and its regression inputs.
    pub name: &'static str,
    /// Panics when the property does not hold.
    pub run: fn(&[u8]),
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Bytes that a run may have allocated at once, beside 64 times the length of its input.
    pub room: usize,
}

/// Takes decisions from the front of an input. One that is used up decides zero.
#[derive(Debug)]
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    pub(crate) fn number(&mut self) -> u64 {
        let mut bytes = [0; 8];
        let taken = self.take(8);
        bytes[..taken.len()].copy_from_slice(taken);
        u64::from_le_bytes(bytes)
    }

    /// Below `limit`; 0 when that is 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        let bytes = if limit <= 256 { 1 } else { 3 };
        let number = self.take(bytes).iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
        number.checked_rem(limit).unwrap_or(0)
    }

    /// At most `len` bytes.
    pub(crate) fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A length of two bytes, and then that many.
    pub(crate) fn chunk(&mut self) -> &'a [u8] {
        let len = self.below(1 << 12);
        self.take(len)
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// For each byte of something longer than 256 bytes, an input that makes [`edit`] flip one of its bits.
pub(crate) fn flips(prefix: &[u8], len: usize) -> Vec<Vec<u8>> {
    let flip = |at: usize| [prefix, &[9 * (at % 8) as u8], &(at as u32).to_be_bytes()[1..], &[1]].concat();
    (0..len).map(flip).collect()
}

const NUMBERS: [u64; 8] = [0, 1, 0x7f, 0xff, u32::MAX as u64, i64::MAX as u64, u64::MAX - 1, u64::MAX];
const EDITS_MAX: usize = 32;

/// Changes `bytes` as the input says, up to its end.
pub(crate) fn edit(bytes: &mut Vec<u8>, input: &mut Input<'_>) {
    for _ in 0..EDITS_MAX {
        if input.is_empty() {
            return;
        }
        edit_once(bytes, input);
    }
}

fn edit_once(bytes: &mut Vec<u8>, input: &mut Input<'_>) {
    let what = input.byte();
    let at = input.below(bytes.len() + 1);
    let end = (at + input.below(64)).min(bytes.len());
    match what % 9 {
        0 => bytes[at..end].iter_mut().for_each(|byte| *byte ^= 1 << (what / 9 % 8)),
        1 => bytes[at..end].fill(what / 9),
        2 => drop(bytes.drain(at..end)),
        3 => bytes.truncate(at),
        4 => drop(bytes.splice(at..at, input.take(end - at).iter().copied())),
        5 => {
            let (from, len) = (input.below(bytes.len() + 1), end - at);
            let copied = bytes[from..(from + len).min(bytes.len())].to_vec();
            drop(bytes.splice(at..end, copied));
        }
        6 => {
            let number = NUMBERS[usize::from(what / 9) % NUMBERS.len()].to_le_bytes();
            bytes[at..end].iter_mut().zip(number).for_each(|(byte, new)| *byte = new);
        }
        7 => bytes.resize(bytes.len() + (end - at), what / 9),
        _ => {
            let new = input.take(end - at);
            bytes[at..at + new.len()].copy_from_slice(new);
        }
    }
}

/// Runs targets as a plain test: with what they begin with, and with what was once found.
#[cfg(test)]
pub(crate) fn replay(targets: &[Target]) {
    let regressions = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let regressions = regressions.ancestors().map(|folder| folder.join("fuzz/regressions"));
    let regressions = regressions.into_iter().find(|folder| folder.is_dir()).expect("fuzz/regressions");
    for target in targets {
        for (number, seed) in (target.seeds)().into_iter().enumerate() {
            println!("{}: seed {number}", target.name);
            (target.run)(&seed);
        }
        let Ok(inputs) = std::fs::read_dir(regressions.join(target.name)) else { continue };
        for input in inputs {
            let path = input.expect("an entry").path();
            println!("{}", path.display());
            (target.run)(&std::fs::read(&path).expect("a regression input"));
        }
    }
}
