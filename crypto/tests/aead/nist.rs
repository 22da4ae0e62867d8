//! Vectors by which the National Institute of Standards and Technology validates modules.

use std::collections::HashMap;

use crate::{implementations, prepare};

const VECTORS: &str = include_str!("nist_gcm_256.rsp");
const COUNT: usize = 75;

#[test]
fn nist_vectors_seal_and_open() {
    for suite in implementations() {
        let mut count = 0;
        for block in VECTORS.split("\n\n").filter(|block| block.starts_with("Key")) {
            let fields: HashMap<&str, Vec<u8>> = block
                .lines()
                .map(|line| line.split_once(" =").expect("a name and a value"))
                .map(|(name, value)| (name, hex::decode(value.trim()).expect("hex digits")))
                .collect();
            let nonce = fields["IV"].as_slice().try_into().expect("96 bits");
            let key = prepare(&*suite, &fields["Key"]);

            let mut data = fields["PT"].clone();
            let tag = key.seal_detached(&nonce, &fields["AAD"], &mut data).expect("short");
            assert_eq!(data, fields["CT"], "{} {block}", suite.name());
            assert_eq!(tag.as_slice(), fields["Tag"], "{} {block}", suite.name());

            key.open_detached(&nonce, &fields["AAD"], &mut data, &tag).expect("sealed just now");
            assert_eq!(data, fields["PT"]);
            count += 1;
        }
        println!("{}: {count} NIST vectors", suite.name());
        assert_eq!(count, COUNT);
    }
}
