//! Room set aside on the disk, so that a full one can still be cleared up.
//!
//! The file is filled once and never read. When the disk is full it is deleted, which leaves room to finish a flush,
//! write a manifest and so to delete; when there is room again it is made anew.

use std::path::PathBuf;

use lightning_db_storage::directory::RESERVE_FILE;
use lightning_db_storage::segment::SealContext;
use lightning_db_storage::vfs::OpenHow;
use lightning_db_storage::{Result, StorageError};

/// Bytes set aside.
pub(super) const RESERVE_LEN: u64 = 1 << 20;

/// This much must be free beside it before the reserve is made again.
const HEADROOM: u64 = 4 * RESERVE_LEN;

/// Gives the room back to the file system. Says whether there was any.
pub(super) fn release(ctx: &SealContext) -> bool {
    let released = ctx.vfs.remove_file(&path(ctx)).is_ok();
    if released {
        tracing::warn!("the disk is full: the reserve was given up so that work under way can end");
    }
    released
}

/// Sets the room aside, unless that is done or there is too little of it.
///
/// # Errors
/// Those of writing; nothing is left behind then.
pub(super) fn restore(ctx: &SealContext) -> Result<()> {
    let path = path(ctx);
    let len = ctx.vfs.metadata(&path).map_or(0, |metadata| metadata.len);
    if len == RESERVE_LEN {
        return Ok(());
    }
    let space = ctx.vfs.available_space(&ctx.directory);
    let space = space.map_err(|error| StorageError::io("ask for the space of", &ctx.directory, error))?;
    if space.is_some_and(|space| space < RESERVE_LEN + HEADROOM) {
        return Ok(());
    }
    // A file of another length is what a crash left.
    match ctx.vfs.remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(StorageError::io("remove", &path, error));
        }
        _ => {}
    }
    fill(ctx, &path).inspect_err(|_| {
        let _ = ctx.vfs.remove_file(&path);
    })
}

fn fill(ctx: &SealContext, path: &PathBuf) -> Result<()> {
    let io = |action| move |error| StorageError::io(action, path, error);
    let file = ctx.vfs.open(path, OpenHow::CreateNew).map_err(io("create"))?;
    let zeros = vec![0; RESERVE_LEN as usize];
    file.write_all_at(&zeros, 0).map_err(io("write"))
}

fn path(ctx: &SealContext) -> PathBuf {
    ctx.directory.join(RESERVE_FILE)
}
