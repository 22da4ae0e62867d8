//! Shares of a key.
//!
//! ```text
//! 0   number of the set, drawn when the key is split   4 B
//! 4   shares that are needed                           u8
//! 5   number of this share, from 1                     u8
//! 6   what Shamir's scheme gives for it               32 B
//! 38  checksum: BLAKE3 of a label and all before       3 B
//! ```
//!
//! As 30 words, eleven bits each; two bits at the end are zero.

use blahaj::{Share as Point, Sharks};
use lightning_db_crypto::{Entropy, SecretKey};
use rand::SeedableRng;
use rand::rngs::StdRng;
use zeroize::Zeroizing;

use crate::{MAX_SHARES, WordsError, words};

/// Words of a share.
pub(crate) const LEN: usize = 30;
const SET_LEN: usize = 4;
const CONTENT_LEN: usize = SET_LEN + 2 + SecretKey::LEN;
const CHECKSUM_LEN: usize = 3;
const LABEL: &[u8] = b"lightning_db recovery share, version 1";

/// A share that was read, and whose checksum fits.
pub(crate) struct Share {
    line: usize,
    set: [u8; SET_LEN],
    needed: u8,
    number: u8,
    /// Its number and what belongs to it.
    point: Zeroizing<Vec<u8>>,
}

impl Share {
    pub(crate) fn parse(line: usize, text: &str) -> Result<Self, WordsError> {
        let found = text.split_whitespace().count();
        if found != LEN {
            return Err(WordsError::Count { found });
        }
        let bytes = words::decode(text, CONTENT_LEN + CHECKSUM_LEN, line)?;
        let (content, sum) = bytes.split_at(CONTENT_LEN);
        let set = content[..SET_LEN].try_into().expect("four bytes");
        let (needed, number) = (content[SET_LEN], content[SET_LEN + 1]);
        if checksum(content) != sum || number == 0 || !(2..=MAX_SHARES).contains(&needed) {
            return Err(WordsError::Checksum { line: Some(line) });
        }
        Ok(Self { line, set, needed, number, point: Zeroizing::new(content[SET_LEN + 1..].to_vec()) })
    }
}

pub(crate) fn split(
    key: &SecretKey,
    count: u8,
    needed: u8,
    entropy: &dyn Entropy,
) -> Result<Vec<Zeroizing<String>>, WordsError> {
    if !(2..=MAX_SHARES).contains(&count) || !(2..=count).contains(&needed) {
        return Err(WordsError::Shares);
    }
    let (mut set, mut seed) = ([0; SET_LEN], Zeroizing::new([0; 32]));
    entropy.fill(&mut set)?;
    entropy.fill(&mut *seed)?;
    let mut random = StdRng::from_seed(*seed);
    let points = Sharks(needed).dealer_rng(key.expose().as_slice(), &mut random);
    let share = |point: Point| {
        let point = Zeroizing::new(Vec::from(&point));
        let mut bytes = Zeroizing::new(Vec::with_capacity(CONTENT_LEN + CHECKSUM_LEN));
        bytes.extend_from_slice(&set);
        bytes.push(needed);
        bytes.extend_from_slice(&point);
        let sum = checksum(&bytes);
        bytes.extend_from_slice(&sum);
        words::encode(&bytes)
    };
    Ok(points.take(usize::from(count)).map(share).collect())
}

/// The key of which these are shares.
pub(crate) fn join(shares: Vec<Share>) -> Result<SecretKey, WordsError> {
    let Some(first) = shares.first() else { return Err(WordsError::Nothing) };
    let (set, needed) = (first.set, first.needed);
    let mut points: Vec<&Share> = Vec::new();
    for share in &shares {
        if (share.set, share.needed) != (set, needed) {
            return Err(WordsError::AnotherSet { line: share.line });
        }
        match points.iter().find(|known| known.number == share.number) {
            Some(known) if *known.point != *share.point => {
                return Err(WordsError::Contradiction { line: share.line });
            }
            Some(_) => {}
            None => points.push(share),
        }
    }
    let needed = usize::from(needed);
    if points.len() < needed {
        return Err(WordsError::TooFew { found: points.len(), needed });
    }
    let points: Vec<Point> = points
        .into_iter()
        .take(needed)
        .map(|share| Point::try_from(share.point.as_slice()).expect("33 bytes, more than two"))
        .collect();
    let too_few = || WordsError::TooFew { found: points.len(), needed };
    let key = Zeroizing::new(Sharks(first.needed).recover(&points).map_err(|_| too_few())?);
    SecretKey::from_slice(&key).ok_or_else(too_few)
}

fn checksum(content: &[u8]) -> [u8; CHECKSUM_LEN] {
    let hash = blake3::Hasher::new().update(LABEL).update(content).finalize();
    hash.as_bytes()[..CHECKSUM_LEN].try_into().expect("three of 32 bytes")
}
