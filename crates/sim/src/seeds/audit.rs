//! No nonce twice, and no secret in any file.
//!
//! A segment's key follows from the salt in its header, and a nonce from a place in it. So under one salt no place may
//! ever have two contents: not in a file that is written again after a crash, not in two copies of one file. Every file
//! is looked at before and after each crash, so also what the crash takes away counts.

use std::collections::HashMap;
use std::path::Path;

use super::config::{KEY, OTHER_KEY};
use super::run::{CANARY, Run, Step, contains};

/// What was seen under each salt.
#[derive(Default)]
pub(crate) struct Audit {
    written: HashMap<Vec<u8>, Vec<u8>>,
}

/// Begins every segment.
const MAGIC: &[u8] = b"LDBSEG\r\n";
/// Where the suite stands in the header of a segment; zero seals nothing.
const SUITE: usize = 13;
/// Where the salt stands.
const SALT: std::ops::Range<usize> = 64..88;
/// What follows is sealed.
const HEADER_LEN: usize = 128;

impl Audit {
    /// Looks at a file's bytes.
    ///
    /// # Errors
    /// When a place has another content than it had under the same salt.
    fn look(&mut self, path: &Path, bytes: &[u8]) -> Result<(), String> {
        if !bytes.starts_with(MAGIC) || bytes.len() < HEADER_LEN || bytes[SUITE] == 0 {
            return Ok(());
        }
        let Some(known) = self.written.get_mut(&bytes[SALT]) else {
            self.written.insert(bytes[SALT].to_vec(), bytes.to_vec());
            return Ok(());
        };
        let common = known.len().min(bytes.len());
        if known[..common] != bytes[..common] {
            for (at, (known, now)) in known.iter_mut().zip(bytes).enumerate().skip(HEADER_LEN) {
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
        Ok(())
    }
}

impl Run {
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
            for (what, secret) in
                [("the key", &KEY[..]), ("the second key", &OTHER_KEY[..]), ("a value", CANARY)]
            {
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
        [&bytes, content].concat()
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
}
