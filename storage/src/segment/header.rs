//! The clear bytes at the start of every segment, of the log's too.
//!
//! ```text
//!   0  magic "LDBSEG\r\n"            8
//!   8  format version                4
//!  12  segment kind                  1
//!  13  suite                         1
//!  14  key domain                    2
//!  16  database id                  16
//!  32  incarnation                  16
//!  48  segment id                    8
//!  56  key epoch                     4
//!  60  zeros                         4
//!  64  salt                         24
//!  88  zeros                        32
//! 120  XXH3-64 of bytes 0..120       8
//! ```
//!
//! All of it is also in the manifest, which is what is believed. The header tells lost files apart, and its
//! checksum tells a damaged header from a segment of another database.

use std::path::Path;

use lightning_db_crypto::{AeadKey, DatabaseId, EpochId, SuiteId, fresh_salt};
use xxhash_rust::xxh3::xxh3_64;

use crate::bytes::{ByteReader, ByteWriter, Malformed};
use crate::{Incarnation, Result, Salt, SegmentId, StorageError};

use super::{SealContext, SegmentKind};

/// The format that this version writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// Bytes of a header.
pub const HEADER_LEN: usize = 128;

const MAGIC: [u8; 8] = *b"LDBSEG\r\n";
const CHECKED_LEN: usize = HEADER_LEN - 8;

/// Which segment a file is, and what its key is derived from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentHeader {
    /// What it is for.
    pub kind: SegmentKind,
    /// How it is sealed.
    pub suite: SuiteId,
    /// Which keys it is sealed under; there is one domain so far, 0.
    pub key_domain: u16,
    /// Whose it is.
    pub database: DatabaseId,
    /// The history in which it was written.
    pub incarnation: Incarnation,
    /// Its number.
    pub id: SegmentId,
    /// The data key from which its key is derived.
    pub epoch: EpochId,
    /// The salt of that derivation.
    pub salt: Salt,
}

impl SegmentHeader {
    /// The header of a new segment, under a salt that was never used before.
    ///
    /// The salt is 24 bytes hashed from fresh random ones, and from what differs between two copies of one machine that
    /// draw the same random bytes: wall and elapsed time, process, boot of the machine, directory, segment, and
    /// how many salts were drawn.
    ///
    /// # Errors
    /// When no random bytes can be had.
    pub fn draw(ctx: &SealContext, kind: SegmentKind, id: SegmentId, epoch: EpochId) -> Result<Self> {
        let hedge: [&[u8]; 7] = [
            &ctx.clock.now_micros().to_le_bytes(),
            &ctx.clock.monotonic().as_nanos().to_le_bytes(),
            &ctx.vfs.process_id().to_le_bytes(),
            &ctx.vfs.boot_id(&ctx.directory),
            ctx.directory.as_os_str().as_encoded_bytes(),
            &id.0.to_le_bytes(),
            &ctx.salts.next().to_le_bytes(),
        ];
        let salt = Salt(fresh_salt(&*ctx.entropy, &hedge)?);
        let (suite, database, incarnation) = (ctx.suite.id(), ctx.database, ctx.incarnation.get());
        Ok(Self { kind, suite, key_domain: 0, database, incarnation, id, epoch, salt })
    }

    /// The bytes of the header.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = ByteWriter::new();
        out.raw(&MAGIC)
            .u32(FORMAT_VERSION)
            .u8(self.kind as u8)
            .u8(self.suite.to_u8())
            .raw(&self.key_domain.to_le_bytes())
            .raw(self.database.as_bytes())
            .raw(&self.incarnation.0)
            .u64(self.id.0)
            .u32(self.epoch.0)
            .u32(0)
            .raw(&self.salt.0);
        let mut header = [0; HEADER_LEN];
        header[..out.len()].copy_from_slice(out.as_slice());
        let checksum = xxh3_64(&header[..CHECKED_LEN]);
        header[CHECKED_LEN..].copy_from_slice(&checksum.to_le_bytes());
        header
    }

    /// What a file says about itself. For telling lost files apart; a segment that belongs to a database is opened by
    /// [`check`](Self::check).
    ///
    /// # Errors
    /// `Corrupt` when these are not the bytes of a header, `UnsupportedFormat` when they are those of a later version.
    pub fn decode(file: &Path, bytes: &[u8]) -> Result<Self> {
        let corrupt = |what: &str| StorageError::corrupt(file, 0, what);
        let bytes = bytes.get(..HEADER_LEN).ok_or_else(|| corrupt("the file ends within its header"))?;
        let (checked, checksum) = bytes.split_at(CHECKED_LEN);
        if bytes[..8] != MAGIC {
            return Err(corrupt("it does not begin like a segment"));
        }
        if checksum != xxh3_64(checked).to_le_bytes() {
            return Err(corrupt("the checksum of its header does not match"));
        }
        let mut input = ByteReader::new(&checked[8..]);
        let version = input.u32("format version").unwrap_or_default();
        if version != FORMAT_VERSION {
            let what = format!("its format is {version}, and {FORMAT_VERSION} is the newest known");
            return Err(StorageError::UnsupportedFormat { file: file.to_path_buf(), what });
        }
        Self::fields(&mut input).map_err(|malformed| corrupt(&malformed.to_string()))
    }

    fn fields(input: &mut ByteReader<'_>) -> Result<Self, Malformed> {
        let malformed = |what| Malformed { what };
        let header = Self {
            kind: SegmentKind::from_u8(input.u8("segment kind")?).ok_or(malformed("segment kind"))?,
            suite: SuiteId::from_u8(input.u8("suite")?).ok_or(malformed("suite"))?,
            key_domain: u16::from_le_bytes(input.array("key domain")?),
            database: DatabaseId(input.array("database id")?),
            incarnation: Incarnation(input.array("incarnation")?),
            id: SegmentId(input.u64("segment id")?),
            epoch: EpochId(input.u32("key epoch")?),
            salt: {
                input.raw(4, "header")?;
                Salt(input.array("salt")?)
            },
        };
        Ok(header)
    }

    /// Refuses a file whose header is not exactly this one.
    ///
    /// # Errors
    /// As [`decode`](Self::decode), and `Corrupt` for an undamaged header of another segment or database.
    pub fn check(&self, file: &Path, bytes: &[u8]) -> Result<()> {
        if bytes.get(..HEADER_LEN) == Some(&self.encode()[..]) {
            return Ok(());
        }
        let found = Self::decode(file, bytes)?;
        let what = if found.database != self.database {
            format!("it is a segment of another database, {}", found.database)
        } else if found.id != self.id || found.kind != self.kind {
            format!("it is another segment, {} {}", found.kind.extension(), found.id)
        } else {
            "it is not the segment that the manifest names".to_owned()
        };
        Err(StorageError::corrupt(file, 0, what))
    }

    /// The segment's key, ready for use.
    ///
    /// # Errors
    /// When the epoch's data key was destroyed, or is of a newer keyring.
    pub fn key(&self, ctx: &SealContext) -> Result<Box<dyn AeadKey>> {
        let key = ctx.keyring.read().segment_key(self.epoch, self.id.0, &self.salt.0)?;
        Ok(ctx.suite.key(&key))
    }
}
