//! Keys, values, and which of them are asked for.
//!
//! ```text
//! key    16 hex digits of position × stride: ascending with the position, spread over all of the key space
//! value  position | version | half random bytes, half text | mix(position, version)
//! ```
//!
//! Loaded are the even positions; a workload that adds keys takes odd ones; what lies between two positions is absent.
//! So a value can be checked from the key alone, whichever version a reader gets.

use crate::Result;

/// Bytes of a key.
pub const KEY_BYTES: usize = 16;

/// Bytes of the shortest value that can be checked.
pub const VALUE_BYTES_MIN: usize = 24;

/// A key, on the stack.
pub type Key = [u8; KEY_BYTES];

/// One key in so many is compared byte by byte; of the others the length, the beginning and the end of the value.
const WHOLE_EVERY: u64 = 64;

const TEXT: &[u8] = b"{\"status\":\"active\",\"balance\":0,\"country\":\"NL\",\"tags\":[\"a\",\"b\"]}";

/// A data set: how many keys are loaded, and how long its values are.
#[derive(Clone, Copy, Debug)]
pub struct Data {
    /// How many keys are loaded.
    pub keys: u64,
    /// Bytes of a value, at least [`VALUE_BYTES_MIN`].
    pub value_bytes: usize,
    stride: u64,
    /// Coprime to `keys`: one multiplication is a permutation.
    step: u64,
}

impl Data {
    /// A data set of `keys` keys.
    #[must_use]
    pub fn new(keys: u64, value_bytes: usize) -> Self {
        let keys = keys.max(16);
        let mut step = (keys as f64 * 0.618_033_988_75) as u64 | 1;
        while gcd(step, keys) != 1 {
            step += 2;
        }
        Self { keys, value_bytes: value_bytes.max(VALUE_BYTES_MIN), stride: u64::MAX / (2 * keys + 2), step }
    }

    /// Bytes of all keys and values that are loaded.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.keys * self.entry_bytes()
    }

    /// Bytes of one key and its value.
    #[must_use]
    pub fn entry_bytes(&self) -> u64 {
        (KEY_BYTES + self.value_bytes) as u64
    }

    /// The position of the loaded key number `index`, in the order of keys.
    #[must_use]
    pub fn loaded(&self, index: u64) -> u64 {
        2 * index
    }

    /// The position of the key that is loaded as the `nth`, in an order that looks random.
    #[must_use]
    pub fn nth_loaded(&self, nth: u64) -> u64 {
        self.loaded(self.shuffled(nth))
    }

    /// The position of the `nth` key that is added later; after as many as were loaded they come again.
    #[must_use]
    pub fn nth_added(&self, nth: u64) -> u64 {
        2 * self.shuffled(nth % self.keys) + 1
    }

    /// A permutation of the numbers below `keys`.
    #[must_use]
    pub fn shuffled(&self, nth: u64) -> u64 {
        (u128::from(nth) * u128::from(self.step) % u128::from(self.keys)) as u64
    }

    /// The key at a position.
    #[must_use]
    pub fn key(&self, position: u64) -> Key {
        hex(position * self.stride)
    }

    /// A key just above that of a position, which no database has.
    #[must_use]
    pub fn absent_key(&self, position: u64) -> Key {
        hex(position * self.stride + self.stride / 2)
    }

    /// Makes `value` what belongs to a position and a version.
    pub fn fill(&self, position: u64, version: u64, value: &mut Vec<u8>) {
        value.clear();
        value.extend_from_slice(&position.to_le_bytes());
        value.extend_from_slice(&version.to_le_bytes());
        let mark = mix(position ^ mix(version));
        let (body, mut state) = (self.value_bytes - VALUE_BYTES_MIN, mark);
        let random_until = value.len() + (body / 2).saturating_sub(8);
        while value.len() < random_until {
            state = mix(state);
            let left = (random_until - value.len()).min(8);
            value.extend_from_slice(&state.to_le_bytes()[..left]);
        }
        while value.len() < self.value_bytes - 8 {
            let left = (self.value_bytes - 8 - value.len()).min(TEXT.len());
            value.extend_from_slice(&TEXT[..left]);
        }
        value.extend_from_slice(&mark.to_le_bytes());
    }

    /// Whether `value` is, in some version, what belongs to `position`.
    ///
    /// # Errors
    /// What is wrong with it.
    #[inline]
    pub fn check(&self, position: u64, value: Option<&[u8]>) -> Result<()> {
        let Some(value) = value else { return Err(format!("the key at {position} has no value").into()) };
        if value.len() != self.value_bytes {
            return Err(format!("the value at {position} has {} bytes", value.len()).into());
        }
        let (found, version, mark) = (word(value, 0), word(value, 8), word(value, value.len() - 8));
        if found != position || mark != mix(position ^ mix(version)) {
            return Err(format!("the value at {position} is another one").into());
        }
        if position.is_multiple_of(WHOLE_EVERY) { self.check_whole(position, version, value) } else { Ok(()) }
    }

    #[cold]
    fn check_whole(&self, position: u64, version: u64, value: &[u8]) -> Result<()> {
        let mut expected = Vec::new();
        self.fill(position, version, &mut expected);
        if value == expected { Ok(()) } else { Err(format!("the value at {position} is damaged").into()) }
    }

    /// The position that a value says it is of, and so of its key; `None` if the value is too short.
    #[must_use]
    pub fn position_of(value: &[u8]) -> Option<u64> {
        (value.len() >= VALUE_BYTES_MIN).then(|| word(value, 0))
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|eight| eight.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// A number as hex digits, highest first: eight look-ups.
fn hex(number: u64) -> Key {
    const PAIRS: [[u8; 2]; 256] = {
        let (digits, mut pairs, mut byte) = (b"0123456789abcdef", [[0; 2]; 256], 0);
        while byte < 256 {
            pairs[byte] = [digits[byte >> 4], digits[byte & 15]];
            byte += 1;
        }
        pairs
    };
    let mut key = [0; KEY_BYTES];
    for (place, byte) in key.chunks_exact_mut(2).zip(number.to_be_bytes()) {
        place.copy_from_slice(&PAIRS[usize::from(byte)]);
    }
    key
}

/// A bijection of 64 bits that leaves no pattern.
#[must_use]
pub fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Random numbers, a nanosecond each, the same ones for the same seed.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A sequence of its own for each seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    /// The next number.
    #[inline]
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `limit`.
    #[inline]
    pub fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.number()) * u128::from(limit)) >> 64) as u64
    }

    fn unit(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Which of the loaded keys are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// All alike.
    Uniform,
    /// Zipf's law with exponent 0.99; the hot keys lie anywhere.
    Zipf,
    /// Zipf's law over the order of loading, the newest first.
    Latest,
    /// Zipf's law; what is drawn is the rank itself, 0 the most frequent.
    Rank,
}

/// Draws from a distribution. Zipf's are drawn beforehand, and taken in turns.
#[derive(Clone, Debug)]
pub struct Draws {
    data: Data,
    random: Random,
    /// Positions drawn beforehand; empty for the uniform distribution, which is drawn as it goes.
    drawn: std::sync::Arc<Vec<u64>>,
    next: usize,
}

/// How many are drawn beforehand. A power of two.
const DRAWN: usize = 1 << 20;

impl Draws {
    /// Prepares to draw from what `data` has loaded.
    #[must_use]
    pub fn new(data: Data, distribution: Distribution, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let drawn = match distribution {
            Distribution::Uniform => Vec::new(),
            Distribution::Zipf | Distribution::Latest | Distribution::Rank => {
                let zipf = Zipf::new(data.keys);
                let newest = data.keys - 1;
                (0..DRAWN)
                    .map(|_| match (zipf.rank(random.unit()), distribution) {
                        (rank, Distribution::Latest) => data.nth_loaded(newest - rank),
                        (rank, Distribution::Rank) => rank,
                        (rank, _) => data.loaded(mix(rank) % data.keys),
                    })
                    .collect()
            }
        };
        Self { data, random, drawn: std::sync::Arc::new(drawn), next: 0 }
    }

    /// The same distribution for another thread, from another place on.
    #[must_use]
    pub fn for_thread(&self, thread: u64) -> Self {
        let mut random = Random::new(mix(thread) ^ self.random.0);
        let next = random.below(DRAWN as u64) as usize;
        Self { random, next, ..self.clone() }
    }

    /// The next position.
    #[inline]
    pub fn position(&mut self) -> u64 {
        if self.drawn.is_empty() {
            return self.data.loaded(self.random.below(self.data.keys));
        }
        self.next = (self.next + 1) % self.drawn.len();
        self.drawn[self.next]
    }
}

/// Ranks by Zipf's law with exponent 0.99, by the approximation of Gray et al. that YCSB uses.
struct Zipf {
    count: f64,
    zeta: f64,
    alpha: f64,
    eta: f64,
}

const THETA: f64 = 0.99;

impl Zipf {
    fn new(count: u64) -> Self {
        let zeta = (1..=count).map(|rank| 1.0 / (rank as f64).powf(THETA)).sum::<f64>();
        let two = 1.0 + 0.5_f64.powf(THETA);
        let count = count as f64;
        let eta = (1.0 - (2.0 / count).powf(1.0 - THETA)) / (1.0 - two / zeta);
        Self { count, zeta, alpha: 1.0 / (1.0 - THETA), eta }
    }

    fn rank(&self, unit: f64) -> u64 {
        let scaled = unit * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5_f64.powf(THETA) {
            return 1;
        }
        let rank = self.count * (self.eta * unit - self.eta + 1.0).powf(self.alpha);
        (rank as u64).min(self.count as u64 - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_ascend_and_values_tell_what_they_belong_to() {
        let data = Data::new(1000, 100);
        let keys: Vec<Key> = (0..2000).flat_map(|at| [data.key(at), data.absent_key(at)]).collect();
        assert!(keys.is_sorted_by(|a, b| a < b));
        let mut value = Vec::new();
        for (position, version) in [(0, 0), (64, 9), (1998, 77)] {
            data.fill(position, version, &mut value);
            assert!(data.check(position, Some(&value)).is_ok());
            assert!(data.check(position + 2, Some(&value)).is_err() && data.check(position, None).is_err());
        }
        value[40] ^= 1;
        data.fill(64, 9, &mut value);
        value[40] ^= 1;
        assert!(data.check(64, Some(&value)).is_err(), "each 64th is compared wholly");
    }

    #[test]
    fn every_key_is_loaded_once_and_what_is_added_is_new() {
        let data = Data::new(999, 100);
        let mut loaded: Vec<u64> = (0..999).map(|nth| data.nth_loaded(nth)).collect();
        loaded.sort_unstable();
        assert!(loaded.iter().enumerate().all(|(index, &at)| at == data.loaded(index as u64)));
        assert!((0..999).all(|nth| data.nth_added(nth) % 2 == 1));
    }

    #[test]
    fn zipf_favours_few_and_latest_the_newest() {
        let data = Data::new(10_000, 100);
        let newest = data.nth_loaded(9_999);
        let mut latest = Draws::new(data, Distribution::Latest, 1);
        let hits = (0..10_000).filter(|_| latest.position() == newest).count();
        assert!((700..1500).contains(&hits), "{hits}");
    }
}
