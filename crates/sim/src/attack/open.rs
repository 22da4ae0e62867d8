//! Bytes that change on the disk while a database is open: by a failing disk, or by somebody.

use lightning_db::Database;

use super::database::environment;
use super::targets::{Targets, disk, pages};
use crate::coverage::Coverage;

/// Flips bytes of all finished files under an open database and reads everything each time.
///
/// # Errors
/// A wrong row, or an error that does not say what is damaged.
pub(super) fn attack(targets: &Targets, coverage: &mut Coverage) -> Result<(), String> {
    let target = &targets.killed;
    let disk = disk(target);
    let state = target.story.state(target.newest).ok_or("the newest state is not known")?;
    let db = Database::open_in(environment(&disk), &target.root, target.config.clone())
        .map_err(|error| format!("what nobody damaged does not open: {error}"))?;
    for layout in pages(target) {
        let path = target.root.join(&layout.file);
        if lightning_db::Vfs::metadata(&disk, &path).is_err() {
            continue;
        }
        for offset in 0..layout.len() {
            let flip = || disk.corrupt(&path, offset, 1 << (offset % 8)).map_err(|error| error.to_string());
            flip()?;
            db.evict_cache(1.0).map_err(|error| error.to_string())?;
            let read = db.scan(None, None).and_then(Iterator::collect::<lightning_db::Result<_>>);
            let place = format!("{} at {offset}, flipped while it is open", layout.file.display());
            match read {
                Ok(found) if found == *state => coverage.hit("open/served"),
                Ok::<std::collections::BTreeMap<_, _>, _>(_) => return Err(format!("{place}: wrong rows")),
                Err(lightning_db::Error::Corrupt { .. }) => coverage.hit("open/refused"),
                Err(error) => return Err(format!("{place}: {error}")),
            }
            flip()?;
        }
    }
    db.evict_cache(1.0).map_err(|error| error.to_string())?;
    let again = db.scan(None, None).and_then(Iterator::collect::<lightning_db::Result<_>>);
    let again: std::collections::BTreeMap<_, _> =
        again.map_err(|error| format!("after the damage is gone: {error}"))?;
    if again != *state {
        return Err("after the damage is gone the rows are others".into());
    }
    db.close().map_err(|error| error.to_string())
}
