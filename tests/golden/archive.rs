//! Files in one file: Zstd over a list of entries, each the path and the content, with their lengths before them (u32,
//! little-endian). The zeros that logs and the reserve are full of take nothing in it.

use std::collections::BTreeMap;
use std::path::Path;

/// Files by path, relative, with `/`.
#[derive(Default)]
pub(crate) struct Archive(pub(crate) BTreeMap<String, Vec<u8>>);

impl Archive {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for (path, bytes) in &self.0 {
            for part in [path.as_bytes(), bytes] {
                all.extend_from_slice(&(part.len() as u32).to_le_bytes());
                all.extend_from_slice(part);
            }
        }
        zstd::bulk::compress(&all, 19).expect("compress")
    }

    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let all = zstd::bulk::decompress(bytes, 64 << 20).expect("a Zstd frame");
        let mut rest = all.as_slice();
        let mut part = || {
            let (len, behind) = rest.split_first_chunk::<4>()?;
            let (part, behind) = behind.split_at(u32::from_le_bytes(*len) as usize);
            rest = behind;
            Some(part.to_vec())
        };
        let mut files = BTreeMap::new();
        while let Some(path) = part() {
            let path = String::from_utf8(path).expect("paths are UTF-8");
            files.insert(path, part().expect("a content behind each path"));
        }
        Self(files)
    }

    /// Writes all of it below `folder`, private to its owner.
    pub(crate) fn unpack(&self, folder: &Path) {
        for (path, bytes) in &self.0 {
            let path = folder.join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("create");
            std::fs::write(&path, bytes).expect("write");
        }
    }
}
