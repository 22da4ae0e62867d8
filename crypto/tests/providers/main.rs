//! Key providers at work: on real files, real environment variables and real commands.

#![cfg(unix)]

mod env;
mod exec;
mod file;

use lightning_db_crypto::{
    CryptoError, DatabaseId, KeyProvider, KeySource, Keyring, OsEntropy, SecretKey, SlotContext,
};

const CONTEXT: SlotContext = SlotContext { database: DatabaseId([0xdb; 16]), salt: [0x5a; 32] };

/// A keyring that one source creates and another opens.
fn create_and_open(create: &KeySource, open: &KeySource) -> Result<(), CryptoError> {
    let provider = create.resolve()?;
    let keyring = Keyring::create(provider.as_deref(), CONTEXT.database, &OsEntropy, 0)?;
    let bytes = keyring.to_bytes(&OsEntropy)?;
    Keyring::open(&bytes, open.resolve()?.as_deref())?;
    Ok(())
}

/// What a source refuses to be, as text that must not repeat `secret`.
fn refusal(source: &KeySource, secret: &str) -> String {
    let error = source.resolve().expect_err("this is no key");
    assert!(matches!(error, CryptoError::InvalidKey { .. }), "{error:?}");
    let text = format!("{error} {error:?} {source:?}");
    assert!(secret.is_empty() || !text.contains(secret), "{text}");
    error.to_string()
}

#[test]
fn a_provider_of_your_own_is_asked() {
    #[derive(Debug)]
    struct Own(SecretKey);

    impl KeyProvider for Own {
        fn kind(&self) -> &'static str {
            "own"
        }

        fn wrap(
            &self,
            ctx: &SlotContext,
            key: &SecretKey,
            entropy: &dyn lightning_db_crypto::Entropy,
        ) -> Result<lightning_db_crypto::WrappedKey, CryptoError> {
            lightning_db_crypto::WrappedKey::seal(&self.0, ctx, b"key 7".to_vec(), key, entropy)
        }

        fn unwrap(
            &self,
            ctx: &SlotContext,
            wrapped: &lightning_db_crypto::WrappedKey,
        ) -> Result<SecretKey, CryptoError> {
            assert_eq!(wrapped.params, b"key 7");
            wrapped.open(&self.0, ctx)
        }
    }

    let own = |byte| KeySource::provider(std::sync::Arc::new(Own(SecretKey::from_bytes([byte; 32]))));
    create_and_open(&own(1), &own(1)).expect("the same key");
    let wrong = create_and_open(&own(1), &own(2));
    assert!(matches!(wrong, Err(CryptoError::WrongKey { .. })));
    let other_kind = create_and_open(&own(1), &KeySource::raw([1; 32]));
    assert!(matches!(other_kind, Err(CryptoError::WrongKey { .. })));
}
