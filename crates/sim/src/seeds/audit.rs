//! No nonce twice, and no secret in any file.
//!
//! A segment's key follows from the salt in its header, and a nonce from a place in it. So under one salt no place may
//! ever have two contents: not in a file that is written again after a crash, not in two copies of one file. Every file
//! is looked at before and after each crash, so also what the crash takes away counts.
//!
//! That the nonce follows from the place is looked at from outside, too. Pages begin alike, and so do frames of a log,
//! manifests and keyrings: if two of them were sealed with one key stream, their ciphertexts would begin alike.
//! Ciphertexts have nothing in common, so no eight bytes of them ever stand in two places.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use super::config::{KEY, OTHER_KEY, THIRD_KEY};
use super::run::{CANARY, Run, Step, contains};

/// What was seen under each salt.
#[derive(Default)]
pub(crate) struct Audit {
    written: HashMap<Vec<u8>, Vec<u8>>,
    /// Where eight bytes of ciphertext stand, by what they are: salt and place.
    places: HashMap<u64, (u64, usize)>,
}

/// Begins every segment.
const MAGIC: &[u8] = b"LDBSEG\r\n";
/// Where the suite stands in the header of a segment; zero seals nothing.
const SUITE: usize = 13;
/// Where the salt stands.
const SALT: Range<usize> = 64..88;
/// Where the kind stands.
const KIND: usize = 12;
/// The kind of logs.
const LOG: u8 = 0;
/// The last bytes of a finished segment, which are the same in all.
const FOOTER_END: usize = 8;
/// So many bytes hardly repeat by accident in what a seed writes,
const WINDOW: usize = 8;
/// and never with so many more before or behind them.
const MORE: usize = 4;
/// What follows is sealed.
const HEADER_LEN: usize = 128;

/// The clear header of a frame of a log, and what tells that there is one.
const FRAME_HEADER_LEN: usize = 64;
const FRAME_MAGIC: &[u8] = b"LDBF";
const FRAME_ALIGNMENT: usize = 16;
/// A salt, which begins every small sealed object; a tag ends it.
const SALT_LEN: usize = SALT.end - SALT.start;
const TAG_LEN: usize = 16;
/// The hash that ends every file that holds a small sealed object.
const CHECKSUM_LEN: usize = 32;
/// Where the slots of a keyring begin, behind their number.
const KEYRING_SLOTS: usize = 113;

impl Audit {
    /// Looks at a file's bytes.
    ///
    /// # Errors
    /// When a place has another content than it had under the same salt, or two places have one key stream.
    fn look(&mut self, path: &Path, bytes: &[u8]) -> Result<(), String> {
        if let Some((salt, ciphertext)) = sealed_object(bytes) {
            let is_known = self.compare(path, salt, ciphertext, 0)?;
            let all = 0..ciphertext.len();
            return if is_known {
                Ok(())
            } else {
                self.look_for_repetition(path, salt, ciphertext, Some(all))
            };
        }
        if !bytes.starts_with(MAGIC) || bytes.len() < HEADER_LEN || bytes[SUITE] == 0 {
            return Ok(());
        }
        // A crash tore the header, and left what was written behind it: it has no salt, or part of one.
        if bytes[SALT.end..HEADER_LEN].iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        let is_known = self.compare(path, &bytes[SALT], bytes, HEADER_LEN)?;
        match bytes[KIND] {
            LOG => self.look_for_repetition(path, &bytes[SALT], bytes, frames(bytes)),
            _ if is_known || bytes.len() < HEADER_LEN + FOOTER_END => Ok(()),
            _ => self.look_for_repetition(
                path,
                &bytes[SALT],
                bytes,
                Some(HEADER_LEN..bytes.len() - FOOTER_END),
            ),
        }
    }

    /// Compares with what was seen under this salt, from `sealed_from` on, and whether there was anything.
    fn compare(
        &mut self,
        path: &Path,
        salt: &[u8],
        bytes: &[u8],
        sealed_from: usize,
    ) -> Result<bool, String> {
        let Some(known) = self.written.get_mut(salt) else {
            self.written.insert(salt.to_vec(), bytes.to_vec());
            return Ok(false);
        };
        let common = known.len().min(bytes.len());
        if known[..common] != bytes[..common] {
            for (at, (known, now)) in known.iter_mut().zip(bytes).enumerate().skip(sealed_from) {
                if *known != 0 && *now != 0 && known != now {
                    return Err(format!(
                        "{}: byte {at} was sealed twice under one salt with different contents",
                        path.display()
                    ));
                }
                *known |= now;
            }
        }
        known.extend_from_slice(&bytes[common..]);
        Ok(true)
    }

    /// Looks at ciphertexts: at all but the clear headers, which repeat.
    fn look_for_repetition(
        &mut self,
        path: &Path,
        salt: &[u8],
        bytes: &[u8],
        ciphertexts: impl IntoIterator<Item = Range<usize>>,
    ) -> Result<(), String> {
        let salt = u64::from_le_bytes(salt.first_chunk().copied().unwrap_or_default());
        for at in ciphertexts.into_iter().flat_map(|range| range.start..range.end.saturating_sub(WINDOW - 1))
        {
            let window = bytes[at..].first_chunk::<WINDOW>().copied().map_or(0, u64::from_le_bytes);
            if !is_sample(window) {
                continue;
            }
            let before = self.places.insert(window, (salt, at));
            if before.is_some_and(|before| before != (salt, at) && self.goes_on(before, bytes, at)) {
                return Err(format!(
                    "{}: the eight bytes of ciphertext at {at} stand elsewhere too: two of them have one key stream",
                    path.display()
                ));
            }
        }
        Ok(())
    }

    /// Whether what is alike goes on before or behind the window. Among all windows of many seeds some are alike by
    /// accident, and those are not.
    fn goes_on(&self, (salt, place): (u64, usize), bytes: &[u8], at: usize) -> bool {
        let begins = |known: &Vec<u8>| known.starts_with(&salt.to_le_bytes());
        let Some(other) = self.written.iter().find(|(known, _)| begins(known)).map(|(_, bytes)| bytes) else {
            return true;
        };
        let before = |bytes: &[u8], at: usize| bytes.get(at - MORE..at).map(<[u8]>::to_vec);
        let behind = |bytes: &[u8], at: usize| bytes.get(at + WINDOW..at + WINDOW + MORE).map(<[u8]>::to_vec);
        before(other, place) == before(bytes, at) || behind(other, place) == behind(bytes, at)
    }
}

/// The ciphertexts of a log's frames.
fn frames(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = HEADER_LEN;
    while let Some(head) = bytes.get(at..at + FRAME_HEADER_LEN) {
        let len = head.first_chunk().map_or(0, |len| u32::from_le_bytes(*len) as usize);
        let end = at + len;
        if len < FRAME_HEADER_LEN || end > bytes.len() || !head[4..].starts_with(FRAME_MAGIC) {
            break;
        }
        found.push(at + FRAME_HEADER_LEN..end);
        at = end.next_multiple_of(FRAME_ALIGNMENT);
    }
    found
}

/// Salt and ciphertext of the small sealed object in a file that has one and is whole.
fn sealed_object(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let number = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?) as usize);
    let content_end = bytes.len().checked_sub(CHECKSUM_LEN)?;
    const EPOCH_LEN: usize = 4;
    let (sealed, end) = match bytes.first_chunk::<8>()? {
        b"LDBMANIF" => (80 + EPOCH_LEN, content_end),
        b"LDBBKUP\n" => {
            let length_at = 16 + number(12)?;
            (length_at + 4 + EPOCH_LEN, length_at + 4 + number(length_at)?)
        }
        b"LDBKEYS\0" => {
            let mut slots = 0..number(KEYRING_SLOTS - 4)?;
            // A slot: number, time, salt, commitment, and four fields that begin with their lengths.
            const SLOT_FIELDS: usize = 4 + 8 + 32 + 32;
            let behind_field = |at: usize, _| Some(at + 4 + number(at)?);
            let behind_slot = |at: usize, _| (0..4).try_fold(at + SLOT_FIELDS, behind_field);
            (slots.try_fold(KEYRING_SLOTS, behind_slot)? + 4, content_end)
        }
        _ => return None,
    };
    if blake3::hash(&bytes[..content_end]).as_bytes()[..] != bytes[content_end..] {
        return None;
    }
    let sealed = bytes.get(sealed..end)?;
    let (salt, rest) = sealed.split_at_checked(SALT_LEN)?;
    Some((salt, &rest[..rest.len().checked_sub(TAG_LEN)?]))
}

/// Whether a window is one to remember: one in sixteen is enough. Zeros may be what a crash left.
fn is_sample(window: u64) -> bool {
    window.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60 == 0 && !window.to_le_bytes().contains(&0)
}

impl Run {
    /// A database was opened, and read from end to end; counts if something had died.
    pub(crate) fn count_recovery(&self) {
        if self.world().has_died {
            self.hit("crash/recoveries");
        }
    }

    /// Looks at every segment there is.
    pub(crate) fn audit(&self) -> Step {
        if !self.config.encryption_enabled {
            return Ok(());
        }
        let mut outcome = Ok(());
        let mut audit = self.audit.lock();
        self.machine.disk.show_files(&mut |path, bytes| {
            if outcome.is_ok() {
                outcome = audit.look(path, bytes);
            }
        });
        Ok(outcome?)
    }

    /// Looks for secrets in every file.
    pub(crate) fn look_for_secrets(&self) -> Step {
        if !self.config.encryption_enabled {
            return Ok(());
        }
        let mut outcome = Ok(());
        self.machine.disk.show_files(&mut |path, bytes| {
            let secrets = [
                ("the key", &KEY[..]),
                ("the second key", &OTHER_KEY[..]),
                ("the third key", &THIRD_KEY[..]),
                ("a value", CANARY),
            ];
            for (what, secret) in secrets {
                if contains(bytes, secret) {
                    outcome = Err(format!("{what} is in {}", path.display()));
                }
            }
        });
        Ok(outcome?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(salt: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_LEN];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[SUITE] = 1;
        bytes[SALT].fill(salt);
        bytes[HEADER_LEN - 1] = 1;
        [&bytes, content].concat()
    }

    #[test]
    fn pages_under_one_key_stream_are_found() {
        let mut random = crate::random::Random::new(1);
        let mut page = |salt, kind| {
            let mut bytes = segment(salt, &random.noise(600));
            bytes[KIND] = kind;
            bytes
        };
        let (first, second) = (page(1, 1), page(2, 2));
        let mut audit = Audit::default();
        for bytes in [&first, &second, &first] {
            audit.look(Path::new("file"), bytes).expect("nothing repeats");
        }
        let twice = [&page(4, 1)[..], &second[HEADER_LEN..]].concat();
        assert!(audit.look(Path::new("file"), &twice).is_err());
    }

    #[test]
    fn frames_under_one_key_stream_are_found_and_equal_headers_are_not() {
        let mut random = crate::random::Random::new(3);
        let log = |salt, ciphertext: &[u8]| {
            let mut head = vec![7; FRAME_HEADER_LEN];
            head[..4].copy_from_slice(&((FRAME_HEADER_LEN + ciphertext.len()) as u32).to_le_bytes());
            head[4..8].copy_from_slice(FRAME_MAGIC);
            let mut bytes = segment(salt, &[&head, ciphertext, &[0; 9], &head[..], &[1; 300]].concat());
            bytes[KIND] = LOG;
            bytes
        };
        let (first, second) = (random.noise(599), random.noise(599));
        let mut audit = Audit::default();
        audit.look(Path::new("log"), &log(1, &first)).expect("new");
        audit.look(Path::new("log"), &log(2, &second)).expect("its headers are those of the first");
        assert!(audit.look(Path::new("log"), &log(3, &first)).is_err());
    }

    #[test]
    fn sealed_objects_under_one_key_stream_are_found() {
        let mut random = crate::random::Random::new(4);
        let object = |salt: u8, ciphertext: &[u8]| {
            let mut bytes = vec![0; 84];
            bytes[..8].copy_from_slice(b"LDBMANIF");
            bytes.extend([&[salt; SALT_LEN][..], ciphertext, &[9; TAG_LEN]].concat());
            let checksum = blake3::hash(&bytes);
            bytes.extend(checksum.as_bytes());
            bytes
        };
        let (first, second) = (random.noise(600), random.noise(600));
        let mut audit = Audit::default();
        let mut look = |bytes: &[u8]| audit.look(Path::new("MANIFEST"), bytes);
        look(&object(1, &first)).expect("new");
        look(&object(1, &first)).expect("its twin");
        look(&object(2, &second)).expect("another");
        assert!(look(&object(1, &second)).is_err(), "one salt, two contents");
        assert!(look(&object(3, &first)).is_err(), "one key stream");
        let mut torn = object(2, &first);
        torn.truncate(300);
        look(&torn).expect("what is not whole tells nothing");
    }

    #[test]
    fn bytes_of_a_slot_are_not_taken_for_the_body_of_a_keyring() {
        let mut random = crate::random::Random::new(5);
        let slot_salt = random.noise(32);
        let mut keyring = || {
            let mut bytes = vec![0; KEYRING_SLOTS];
            bytes[..8].copy_from_slice(b"LDBKEYS\0");
            bytes[KEYRING_SLOTS - 4] = 1;
            // The first number in the slot is what follows it, as the length of a body would be.
            let sealed = [random.noise(SALT_LEN), random.noise(300), random.noise(TAG_LEN)].concat();
            let follows = 8 + 32 + 32 + 4 * 4 + 4 + sealed.len();
            let slot = [&(follows as u32).to_le_bytes(), &[0; 8][..], &slot_salt, &[0; 32 + 4 * 4]].concat();
            bytes.extend([&slot, &(sealed.len() as u32).to_le_bytes()[..], &sealed].concat());
            let checksum = blake3::hash(&bytes);
            bytes.extend(checksum.as_bytes());
            bytes
        };
        let (first, second) = (keyring(), keyring());
        let mut audit = Audit::default();
        audit.look(Path::new("KEYRING"), &first).expect("new");
        audit.look(Path::new("KEYRING"), &second).expect("its body has a salt of its own");
        let (salt, _) = sealed_object(&first).expect("it is whole");
        let body = first.len() - CHECKSUM_LEN - TAG_LEN - 300 - SALT_LEN;
        assert_eq!(salt, &first[body..body + SALT_LEN]);
    }

    #[test]
    fn one_place_with_two_contents_is_found_and_what_a_crash_took_is_not() {
        let mut audit = Audit::default();
        let mut look = |bytes: Vec<u8>| audit.look(Path::new("file"), &bytes);
        look(segment(1, b"one\0\0\0")).expect("new");
        look(segment(1, b"one")).expect("shorter");
        look(segment(1, b"\0\0\0two")).expect("the first was lost, the second came");
        look(segment(2, b"ONE")).expect("another salt");
        look(segment(1, b"one")).expect("as it was");
        assert!(look(segment(1, b"onetWo")).is_err());
    }

    #[test]
    fn a_header_that_a_crash_tore_makes_no_repetition() {
        let mut whole = segment(1, &crate::random::Random::new(2).noise(600));
        whole[KIND] = 1;
        let mut torn = whole.clone();
        torn[SALT.start + 3..HEADER_LEN].fill(0);
        let mut audit = Audit::default();
        for bytes in [&whole, &torn] {
            audit.look(Path::new("file"), bytes).expect("the same, before and after");
        }
    }
}
