//! What must hold for all bytes that are read from a repository. Built for fuzzing and tests only.

#[path = "../../fuzz/shared/mod.rs"]
mod shared;

use std::path::Path;
use std::sync::Arc;

use lightning_db_storage::vfs::{MemVfs, Vfs};
pub use shared::Target;
pub(crate) use shared::{Input, edit, flips};

pub use crate::manifest::fuzzing::{RECORD, RECORD_CONTENT};

use crate::manifest::RepositoryId;
use crate::store::{DirectoryStore, ObjectStore};
use crate::verify::{Level, verify};
use crate::{NoProgress, Repository, export_tar, import_tar, layout, repository};

/// All targets of this crate.
pub const TARGETS: &[Target] = &[OBJECT_NAME, RECORD, RECORD_CONTENT, REPOSITORY, TAR];

/// The names of objects.
pub const OBJECT_NAME: Target = Target {
    name: "object_name",
    run: object_name,
    seeds: || {
        let hash = "0a".repeat(32);
        let names = [
            layout::REPOSITORY.to_owned(),
            layout::manifest(7),
            format!("segments/00000000000000ab-{hash}"),
            format!("wal/{}/0000000000000001-0000000000000002-{hash}", "01".repeat(16)),
        ];
        names.map(String::into_bytes).to_vec()
    },
    room: 64 << 10,
};

/// The identity of a repository, its hint, and what stands where records do.
pub const REPOSITORY: Target = Target {
    name: "repository",
    run: repository,
    seeds: || {
        let identity = repository::identity(RepositoryId([4; 16]));
        vec![
            [&[0], &identity[..]].concat(),
            vec![1; 41],
            [&[2], &crate::manifest::fuzzing::sample().1[..]].concat(),
        ]
    },
    room: 4 << 20,
};

/// Repositories as streams: what is accepted is whole, and after an error there is nothing.
pub const TAR: Target = Target {
    name: "tar",
    run: tar,
    seeds: || {
        let stream = stream();
        vec![vec![], vec![0, 0, 1, 9, 2], [&[0xff], &stream[..2048]].concat(), vec![3, 0, 4, 0]]
    },
    room: 8 << 20,
};

fn object_name(data: &[u8]) {
    let Ok(name) = std::str::from_utf8(data) else { return };
    if let Some(number) = layout::parse_manifest(name) {
        assert_eq!(layout::manifest(number), name);
        assert!(layout::is_known(name));
    }
    if layout::is_known(name) {
        let path = Path::new(name);
        assert!(path.is_relative() && path.components().all(|part| part.as_os_str() != ".."));
        assert!(name.is_ascii() && name.len() < 256);
    }
}

fn store() -> (MemVfs, Arc<dyn ObjectStore>) {
    let vfs = MemVfs::new();
    vfs.create_dir(Path::new("/repository")).expect("a new folder");
    let store = DirectoryStore::new(Arc::new(vfs.clone()), Path::new("/repository"));
    (vfs, Arc::new(store))
}

fn put(store: &dyn ObjectStore, name: &str, bytes: &[u8]) {
    store.put_if_absent(name, &mut |sink| sink.write(bytes)).expect("a store in memory");
}

fn repository(data: &[u8]) {
    let mut input = Input::new(data);
    let which = input.byte();
    let (_, store) = store();
    let sound = repository::identity(RepositoryId([8; 16]));
    let bytes = input.rest();
    match which % 3 {
        0 => {
            let parsed = repository::parse_identity("a place", bytes);
            assert_eq!(
                parsed.is_ok(),
                Repository::open({
                    put(&*store, layout::REPOSITORY, bytes);
                    store
                })
                .is_ok()
            );
            if let Ok(id) = parsed {
                assert_eq!(repository::identity(id), bytes);
            }
            return;
        }
        1 => store.replace(layout::HEAD, bytes).expect("a store in memory"),
        _ => put(&*store, &layout::manifest(1 + u64::from(which)), bytes),
    }
    put(&*store, layout::REPOSITORY, &sound);
    let repository = Repository::open(store).expect("its identity is sound");
    let catalog = repository.catalog().expect("what cannot be read is in it as such");
    let report = verify(&repository, Level::Hashes, None, &NoProgress).expect("problems are reported");
    assert!(which % 3 == 2 || catalog.entries().count() == 0);
    assert!(!report.is_sound(), "a repository with nothing but this in it is not whole");
}

/// A sound repository without backups, and one with a record whose objects are missing, as streams.
fn stream() -> Vec<u8> {
    let (_, store) = store();
    put(&*store, layout::REPOSITORY, &repository::identity(RepositoryId([8; 16])));
    put(&*store, &layout::manifest(1), &crate::manifest::fuzzing::deletion());
    let repository = Repository::open(store).expect("its identity is sound");
    let mut stream = Vec::new();
    export_tar(&repository, &mut stream).expect("written to memory");
    stream
}

fn tar(data: &[u8]) {
    let mut input = Input::new(data);
    let bytes = if data.first() == Some(&0xff) {
        input.byte();
        input.rest().to_vec()
    } else {
        let mut bytes = stream();
        edit(&mut bytes, &mut input);
        bytes
    };
    let (vfs, store) = store();
    match import_tar(&mut &bytes[..], &store) {
        Ok(repository) => {
            let report = verify(&repository, Level::Hashes, None, &NoProgress).expect("readable");
            assert!(report.is_sound(), "{:?}", report.problems);
            let mut again = Vec::new();
            export_tar(&repository, &mut again).expect("written to memory");
            let (_, copy) = self::store();
            import_tar(&mut &again[..], &copy).expect("what was just exported");
        }
        Err(_) => {
            let left = vfs.files();
            assert!(store.is_empty().expect("readable"), "a failed import leaves {left:?}");
        }
    }
}

#[cfg(test)]
#[test]
fn targets_hold_for_what_was_found_before() {
    shared::replay(TARGETS);
}
