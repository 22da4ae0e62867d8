//! The suites against published vectors, and against each other.

mod agreement;
mod nist;
mod wycheproof;

#[cfg(feature = "fips")]
use lightning_db_crypto::FipsAesGcm;
use lightning_db_crypto::{AeadKey, AeadSuite, PortableAesGcm, RingAesGcm, SecretKey};

/// Every implementation of AES-256-GCM.
fn implementations() -> Vec<Box<dyn AeadSuite>> {
    vec![
        Box::new(RingAesGcm),
        Box::new(PortableAesGcm),
        #[cfg(feature = "fips")]
        Box::new(FipsAesGcm),
    ]
}

fn prepare(suite: &dyn AeadSuite, key: &[u8]) -> Box<dyn AeadKey> {
    suite.key(&SecretKey::from_slice(key).expect("a key has 32 bytes"))
}
