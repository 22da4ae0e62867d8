//! The kinds of calls a [`Vfs`](super::Vfs) takes, and counters for them.

/// A call to a [`Vfs`](super::Vfs), its files or its maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallKind {
    /// `open` of an existing file.
    Open,
    /// `open` with `CreateNew`.
    Create,
    /// `create_dir`.
    CreateDir,
    /// `remove_dir`.
    RemoveDir,
    /// `list`.
    List,
    /// `metadata` of a path, or `len` of a file.
    Metadata,
    /// `remove_file`.
    RemoveFile,
    /// `rename`.
    Rename,
    /// `hard_link`.
    HardLink,
    /// `sync_dir`.
    SyncDir,
    /// `lock`.
    Lock,
    /// `available_space`.
    Space,
    /// `read_at`.
    Read,
    /// `write_all_at`.
    Write,
    /// `set_len`.
    SetLen,
    /// `sync_data`.
    SyncData,
    /// `sync_all`.
    SyncAll,
    /// `map_write`: making the map.
    MapWrite,
    /// `map_read`.
    MapRead,
    /// `write` on a map.
    MapStore,
    /// `publish_u32` on a map.
    MapPublish,
}

const KINDS: usize = CallKind::MapPublish as usize + 1;

impl CallKind {
    /// Whether the call can change what a power cut would leave behind. Syncs do.
    #[must_use]
    pub fn is_mutating(self) -> bool {
        use CallKind::*;
        match self {
            Create | CreateDir | RemoveDir | RemoveFile | Rename | HardLink | Write | SetLen => true,
            MapStore | MapPublish => true,
            Open | List | Metadata | Lock | Space | Read | MapWrite | MapRead => false,
            SyncDir | SyncData | SyncAll => true,
        }
    }

    /// Whether the call makes something durable.
    #[must_use]
    pub fn is_sync(self) -> bool {
        matches!(self, Self::SyncDir | Self::SyncData | Self::SyncAll)
    }

    /// Whether the call returns file content.
    #[must_use]
    pub fn is_read(self) -> bool {
        matches!(self, Self::Read | Self::MapRead)
    }
}

/// How often each kind of call was made, failed ones included, and how many bytes the
/// successful ones moved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallCounts {
    calls: [u64; KINDS],
    /// Bytes returned by reads.
    pub bytes_read: u64,
    /// Bytes written, through maps too.
    pub bytes_written: u64,
}

impl CallCounts {
    /// Calls of one kind.
    #[must_use]
    pub fn of(&self, kind: CallKind) -> u64 {
        self.calls[kind as usize]
    }

    /// Calls that made the content of a file durable: `sync_data` and `sync_all`.
    #[must_use]
    pub fn file_syncs(&self) -> u64 {
        self.of(CallKind::SyncData) + self.of(CallKind::SyncAll)
    }

    pub(super) fn add(&mut self, kind: CallKind) {
        self.calls[kind as usize] += 1;
    }
}
