//! Compression: everything comes back, and what nobody compressed gives an error or as many bytes as were asked for.

use std::sync::{Arc, OnceLock};

use super::{Input, Target};
use crate::compress::{CompressionSettings, Compressor, Dictionary, decompress, train_dictionary};
use crate::pointer::{BlockKind, Codec};

use crate::ZeroizingBytes;

/// Blocks of all codecs, and dictionaries.
pub const COMPRESSION: Target = Target { name: "compression", run, seeds, room: 8 << 20 };

/// The longest block that is asked for here.
const RAW_MAX: usize = 1 << 16;

fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (how, codec) = (input.byte(), input.byte());
    let codec = Codec::from_u8(codec % 5).expect("one of the five");
    match how % 3 {
        0 => {
            let raw_len = input.below(RAW_MAX);
            if let Ok(raw) = decompress(codec, input.rest(), raw_len, Some(dictionary())) {
                assert_eq!(raw.len(), raw_len);
                there_and_back(&raw, Some(dictionary()));
            }
        }
        1 => there_and_back(input.rest(), Some(dictionary())),
        _ => {
            let bytes = input.chunk();
            let Ok(made_up) = Dictionary::from_bytes(ZeroizingBytes::new(bytes.to_vec())) else { return };
            assert_eq!(made_up.bytes(), bytes);
            there_and_back(input.rest(), Some(&Arc::new(made_up)));
        }
    }
}

fn there_and_back(raw: &[u8], dictionary: Option<&Arc<Dictionary>>) {
    if raw.is_empty() {
        return;
    }
    for kind in 0..4 {
        let settings = CompressionSettings::new(true, kind, 1).expect("valid settings");
        let mut compressor = Compressor::new(&settings, dictionary);
        let mut out = ZeroizingBytes::default();
        let codec = compressor.compress(BlockKind::Leaf, raw, &mut out);
        assert!(out.len() <= raw.len());
        let back = decompress(codec, &out, raw.len(), dictionary.map(|dictionary| &**dictionary));
        assert_eq!(**back.expect("what was just compressed"), *raw, "{codec:?}");
    }
}

fn dictionary() -> &'static Arc<Dictionary> {
    static DICTIONARY: OnceLock<Arc<Dictionary>> = OnceLock::new();
    DICTIONARY.get_or_init(|| {
        let samples: Vec<Vec<u8>> = (0..200).map(row).collect();
        let samples: Vec<&[u8]> = samples.iter().map(Vec::as_slice).collect();
        Arc::new(train_dictionary(&samples, 2048).expect("they have much in common"))
    })
}

fn row(number: u32) -> Vec<u8> {
    format!("{{\"carrier\":\"UA\",\"flight\":{number},\"origin\":\"EWR\",\"tail\":\"N{:05x}\"}}", number * 77)
        .repeat(8)
        .into_bytes()
}

fn seeds() -> Vec<Vec<u8>> {
    let raw = row(5);
    let mut seeds = vec![[&[1, 0], &raw[..]].concat(), [&[2, 0, 1, 0], dictionary().bytes()].concat()];
    for kind in 1..4 {
        let settings = CompressionSettings::new(true, kind, 3).expect("valid settings");
        let mut out = ZeroizingBytes::default();
        for dictionary in [None, Some(dictionary())] {
            let codec = Compressor::new(&settings, dictionary).compress(BlockKind::Leaf, &raw, &mut out);
            let len = (raw.len() as u32).to_be_bytes();
            seeds.push([&[0, codec as u8], &len[1..], &out[..]].concat());
        }
    }
    seeds
}
