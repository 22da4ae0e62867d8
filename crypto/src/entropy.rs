//! Where random bytes come from: the one seam for them.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use ring::rand::SecureRandom;
use zeroize::Zeroizing;

use crate::CryptoError;

/// A source of random bytes.
pub trait Entropy: Send + Sync + fmt::Debug {
    /// Fills `buf` with random bytes.
    ///
    /// # Errors
    /// [`CryptoError::Entropy`]; what is in `buf` then must not be used.
    fn fill(&self, buf: &mut [u8]) -> Result<(), CryptoError>;
}

/// The operating system's random number generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&self, buf: &mut [u8]) -> Result<(), CryptoError> {
        #[expect(clippy::disallowed_methods, reason = "this is the seam that others are sent to")]
        let system = ring::rand::SystemRandom::new();
        system.fill(buf).map_err(|_| CryptoError::Entropy("the operating system's generator failed".into()))
    }
}

/// A sequence that depends on its seed alone, for tests and simulation.
///
/// **Never for real data**: whoever guesses the 64-bit seed has every key.
pub struct SeededEntropy(Mutex<blake3::OutputReader>);

impl SeededEntropy {
    /// The sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("lightning_db_crypto seeded entropy, for tests");
        hasher.update(&seed.to_le_bytes());
        Self(Mutex::new(hasher.finalize_xof()))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, buf: &mut [u8]) -> Result<(), CryptoError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill(buf);
        Ok(())
    }
}

impl fmt::Debug for SeededEntropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SeededEntropy")
    }
}

/// Draws a salt that does not repeat even where the random generator does.
///
/// A virtual machine that is cloned or resumed twice from one image may draw the same random bytes
/// in both copies. So what tells the two apart is mixed in: give `hedge` the time, the process id,
/// the machine's boot id, or the content itself. A salt repeats only if both the random bytes and
/// all of `hedge` do. The parts are hashed with 32 random bytes that are thrown away, so the salt
/// reveals nothing of them.
///
/// # Errors
/// [`CryptoError::Entropy`] when no random bytes can be had.
pub fn fresh_salt<const N: usize>(entropy: &dyn Entropy, hedge: &[&[u8]]) -> Result<[u8; N], CryptoError> {
    let mut random = Zeroizing::new([0; 32]);
    entropy.fill(&mut *random)?;
    let mut hasher = blake3::Hasher::new_keyed(&random);
    for part in hedge {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let mut salt = [0; N];
    hasher.finalize_xof().fill(&mut salt);
    Ok(salt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Stuck;

    impl Entropy for Stuck {
        fn fill(&self, buf: &mut [u8]) -> Result<(), CryptoError> {
            buf.fill(4);
            Ok(())
        }
    }

    #[test]
    fn the_system_gives_different_bytes_each_time() {
        let (mut one, mut two) = ([0; 32], [0; 32]);
        OsEntropy.fill(&mut one).expect("random bytes");
        OsEntropy.fill(&mut two).expect("random bytes");
        assert_ne!(one, two);
        assert_ne!(one, [0; 32]);
    }

    #[test]
    fn one_seed_is_one_sequence() {
        let draw = |seed| {
            let entropy = SeededEntropy::new(seed);
            let mut bytes = [0; 48];
            entropy.fill(&mut bytes[..5]).expect("never fails");
            entropy.fill(&mut bytes[5..]).expect("never fails");
            bytes
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn salts_differ_under_a_stuck_generator() {
        let salt = |hedge: &[&[u8]]| fresh_salt::<24>(&Stuck, hedge).expect("never fails");
        assert_ne!(salt(&[b"10:00"]), salt(&[b"10:01"]));
        assert_ne!(salt(&[b"ab", b"c"]), salt(&[b"a", b"bc"]), "parts must not run into each other");
        assert_eq!(salt(&[b"10:00"]), salt(&[b"10:00"]));
    }
}
