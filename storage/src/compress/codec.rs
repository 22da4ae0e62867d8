//! The codecs themselves: one block in, one block out.

use std::cell::RefCell;

use lz4_flex::block as lz4;
use zstd::zstd_safe::{self, CCtx, CDict, DCtx};

use crate::pointer::{BlockKind, Codec};
use crate::{ZeroizingBytes, bytes::Malformed};

use super::dictionary::Dictionary;

/// The working memory of each codec, kept from block to block.
pub(super) struct Encoders {
    level: i32,
    zstd: CCtx<'static>,
    dictionary: Option<CDict<'static>>,
    lz4: lz4::CompressTable,
    snappy: snap::raw::Encoder,
}

impl Encoders {
    pub(super) fn new(level: i32, dictionary: Option<&[u8]>) -> Self {
        Self {
            level,
            zstd: CCtx::create(),
            dictionary: dictionary.and_then(|bytes| CDict::try_create(bytes, level)),
            lz4: lz4::CompressTable::small(),
            snappy: snap::raw::Encoder::new(),
        }
    }

    /// Whether blocks of this kind resemble what the dictionary was trained on.
    pub(super) const fn has_dictionary_for(&self, kind: BlockKind) -> bool {
        matches!(kind, BlockKind::Leaf) && self.dictionary.is_some()
    }

    /// Replaces the content of `out` with the compressed `raw`. False when the codec cannot take it.
    pub(super) fn encode(&mut self, codec: Codec, raw: &[u8], out: &mut ZeroizingBytes) -> bool {
        let bound = match codec {
            Codec::Stored => raw.len(),
            Codec::Zstd | Codec::ZstdDict => zstd_safe::compress_bound(raw.len()),
            Codec::Lz4 => lz4::get_maximum_output_size(raw.len()),
            Codec::Snappy => snap::raw::max_compress_len(raw.len()),
        };
        out.clear();
        out.resize(bound, 0);
        let written = self.encode_into(codec, raw, out.as_mut_slice());
        out.truncate(written.unwrap_or(0));
        written.is_some()
    }

    fn encode_into(&mut self, codec: Codec, raw: &[u8], out: &mut [u8]) -> Option<usize> {
        match codec {
            Codec::Stored => {
                out.copy_from_slice(raw);
                Some(raw.len())
            }
            Codec::Zstd => self.zstd.compress(out, raw, self.level).ok(),
            Codec::ZstdDict => self.zstd.compress_using_cdict(out, raw, self.dictionary.as_ref()?).ok(),
            Codec::Lz4 => lz4::compress_into_with_table(raw, out, &mut self.lz4).ok(),
            Codec::Snappy => self.snappy.compress(raw, out).ok(),
        }
    }
}

thread_local! {
    /// Making a Zstd context costs more than opening a page with it.
    static ZSTD_DECODER: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
}

/// Decompresses an authenticated block to exactly `raw_len` bytes. The caller has bounded `raw_len`.
///
/// # Errors
/// [`Malformed`] when the bytes are not of this codec, of another length, or want a dictionary that is not given.
pub fn decompress(
    codec: Codec,
    stored: &[u8],
    raw_len: usize,
    dictionary: Option<&Dictionary>,
) -> Result<ZeroizingBytes, Malformed> {
    let mut raw = ZeroizingBytes::new(vec![0; raw_len]);
    let out = raw.as_mut_slice();
    let written = match codec {
        Codec::Stored => (stored.len() == raw_len).then(|| {
            out.copy_from_slice(stored);
            raw_len
        }),
        Codec::Zstd => ZSTD_DECODER.with_borrow_mut(|decoder| decoder.decompress(out, stored)).ok(),
        Codec::ZstdDict => dictionary.and_then(|dictionary| {
            let decode = |decoder: &mut DCtx<'static>| {
                decoder.decompress_using_ddict(out, stored, dictionary.decoder())
            };
            ZSTD_DECODER.with_borrow_mut(decode).ok()
        }),
        Codec::Lz4 => lz4::decompress_into(stored, out).ok(),
        Codec::Snappy => snap::raw::Decoder::new().decompress(stored, out).ok(),
    };
    if written == Some(raw_len) { Ok(raw) } else { Err(Malformed { what: "compressed block" }) }
}
