//! Wiping what work with keys leaves on the stack.
//!
//! Libraries keep keys, expanded ones too, in values that move, and a move leaves a copy behind. The copies lie below the
//! frame of whoever called them; so they are overwritten when the call is over.

/// More stack, in bytes, than making a key or deriving one takes.
const DEPTH: usize = 16 << 10;

/// Does `work` and overwrites the stack that it used. What it returns must not hold a key by value: it would be moved
/// through the caller's frame.
#[inline(never)]
pub(crate) fn wiped<T>(work: impl FnOnce() -> T) -> T {
    let result = apart(work);
    overwrite();
    result
}

/// Has a frame of its own, which ends before the stack is overwritten.
#[inline(never)]
fn apart<T>(work: impl FnOnce() -> T) -> T {
    work()
}

#[inline(never)]
fn overwrite() {
    let mut room = [0_u8; DEPTH];
    std::hint::black_box(&mut room);
}
