//! The engines by name, each with what sets it apart.

use std::fs;

use serde::{Deserialize, Serialize};

use super::{Engine, Settings};
use crate::Result;

/// Where memory comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Allocator {
    /// mimalloc, for Rust, C and C++.
    Mimalloc,
    /// The C library's.
    System,
}

/// An engine as it is measured.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// lightning_db, encrypted.
    Lightning,
    /// lightning_db with checksums instead of encryption.
    LightningPlain,
    /// lightning_db, encrypted, with the system's allocator.
    LightningSystem,
    /// RocksDB.
    Rocksdb,
    /// RocksDB with the system's allocator.
    RocksdbSystem,
    /// LMDB with a read transaction held as long as nothing is written.
    Lmdb,
    /// LMDB with a read transaction for each read.
    LmdbTxn,
    /// redb.
    Redb,
    /// fjall.
    Fjall,
    /// SQLCipher.
    Sqlcipher,
}

impl Variant {
    /// All of them, in the order of the report.
    pub const ALL: [Self; 10] = [
        Self::Lightning,
        Self::LightningPlain,
        Self::LightningSystem,
        Self::Rocksdb,
        Self::RocksdbSystem,
        Self::Lmdb,
        Self::LmdbTxn,
        Self::Redb,
        Self::Fjall,
        Self::Sqlcipher,
    ];

    /// The name in tables.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Lightning => "lightning_db",
            Self::LightningPlain => "lightning_db plain",
            Self::LightningSystem => "lightning_db glibc",
            Self::Rocksdb => "RocksDB",
            Self::RocksdbSystem => "RocksDB glibc",
            Self::Lmdb => "LMDB",
            Self::LmdbTxn => "LMDB txn/read",
            Self::Redb => "redb",
            Self::Fjall => "fjall",
            Self::Sqlcipher => "SQLCipher",
        }
    }

    /// The name on the command line.
    #[must_use]
    pub fn id(self) -> String {
        clap::ValueEnum::to_possible_value(&self).map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// The allocator of its process.
    #[must_use]
    pub fn allocator(self) -> Allocator {
        match self {
            Self::LightningSystem | Self::RocksdbSystem => Allocator::System,
            _ => Allocator::Mimalloc,
        }
    }

    /// Whether it is lightning_db in one of its forms.
    #[must_use]
    pub fn is_ours(self) -> bool {
        matches!(self, Self::Lightning | Self::LightningPlain | Self::LightningSystem)
    }

    /// Why it cannot keep what [`Durability::Async`](super::Durability::Async) promises, if it cannot.
    #[must_use]
    pub fn lacks_async(self) -> Option<&'static str> {
        (self == Self::Redb).then_some(
            "a commit that does not wait for the disk (Durability::None) is lost when the process is killed",
        )
    }

    /// Opens or makes the database.
    ///
    /// # Errors
    /// The engine's.
    pub fn open(self, settings: &Settings) -> Result<Box<dyn Engine>> {
        if let Some(above) = settings.directory.parent() {
            fs::create_dir_all(above)?;
        }
        #[allow(unreachable_patterns, reason = "reached only where peers were left out of the build")]
        Ok(match self {
            Self::Lightning | Self::LightningSystem => {
                Box::new(super::lightning::Lightning::open(settings, true)?)
            }
            Self::LightningPlain => Box::new(super::lightning::Lightning::open(settings, false)?),
            #[cfg(feature = "rocksdb")]
            Self::Rocksdb | Self::RocksdbSystem => Box::new(super::rocksdb::Rocks::open(settings)?),
            #[cfg(feature = "lmdb")]
            Self::Lmdb | Self::LmdbTxn => Box::new(super::lmdb::Lmdb::open(settings, self == Self::Lmdb)?),
            #[cfg(feature = "redb")]
            Self::Redb => Box::new(super::redb::Redb::open(settings)?),
            #[cfg(feature = "fjall")]
            Self::Fjall => Box::new(super::fjall::Fjall::open(settings)?),
            #[cfg(feature = "sqlcipher")]
            Self::Sqlcipher => Box::new(super::sqlcipher::SqlCipher::open(settings)?),
            _ => return Err("this program was built without it".into()),
        })
    }
}
