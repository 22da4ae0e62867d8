//! Keys in a PKCS#11 token: an HSM, a smart card, SoftHSM.
//!
//! The wrapping key is made in the token and never leaves it. The key to wrap is put beside it as an
//! object of the session, and the token wraps the one with the other (AES key wrap, RFC 3394 or
//! 5649), which needs no nonce, so none can repeat.

mod faults;
mod modules;
mod token;

use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use self::token::Token;
use super::{KeyProvider, ProviderName, SecretPlace, SlotContext, WrappedBy, WrappedKey};
use crate::{CryptoError, Entropy, SecretKey, ServiceUri, UriGrammar};

const GRAMMAR: UriGrammar = UriGrammar {
    scheme: "pkcs11",
    attributes: &["token", "serial", "object", "id", "type"],
    parameters: &["module-path", "pin-source"],
    refused: &[(
        "pin-value",
        "others can see a PIN in a URI; put it into a file and give pin-source=file:PATH",
    )],
    example: "pkcs11:token=LABEL;object=LABEL?module-path=PATH&pin-source=file:PATH",
};

/// Wraps with an AES key inside a PKCS#11 token.
///
/// Each wrapping and unwrapping loads the module (once in a process), logs in, does its work, and
/// logs out. A process tries a wrong PIN once, however many key slots and databases there are, and
/// none that may be the last one before the token locks itself.
pub struct Pkcs11Provider(Arc<Place>);

/// Which key, in which token, by which module.
struct Place {
    module: PathBuf,
    token: Option<String>,
    serial: Option<String>,
    object: Option<String>,
    id: Option<Vec<u8>>,
    pin: Option<SecretPlace>,
    timeout: Duration,
    /// The URI, without what only says how to get there.
    name: ProviderName,
}

impl Pkcs11Provider {
    /// Reads a URI as in RFC 7512. Nothing is loaded or asked yet.
    ///
    /// In the path `token` (a label) or `serial`, `object` (a label) or `id`, and if you like
    /// `type=secret-key`; behind the question mark `module-path`, `pin-source` (`file:PATH`, a path,
    /// or `env:NAME`; none for a token with a PIN pad), and `timeout` in seconds.
    ///
    /// # Errors
    /// [`CryptoError::InvalidKey`] if it is none, and where.
    pub fn from_uri(uri: &str) -> Result<Self, CryptoError> {
        let uri = ServiceUri::parse(&GRAMMAR, uri)?;
        let text = |name: &str| uri.get(name).filter(|text| !text.is_empty()).map(str::to_owned);
        if uri.get("type").is_some_and(|class| class != "secret-key") {
            return Err(uri.bad("type", "only a secret key can wrap: type=secret-key"));
        }
        let parts = ["token", "serial", "object", "id"]
            .into_iter()
            .filter_map(|name| {
                let value = text(name)?;
                // An id is bytes.
                Some(if name == "id" {
                    format!("id={}", hex::encode(value))
                } else {
                    format!("{name}={value}")
                })
            })
            .collect::<Vec<_>>();
        let place = Place {
            name: ProviderName::new(format!("pkcs11:{}", parts.join(";"))),
            module: uri.require("module-path")?.into(),
            token: text("token"),
            serial: text("serial"),
            object: text("object"),
            id: text("id").map(String::into_bytes),
            pin: text("pin-source").map(|pin| SecretPlace::parse(&pin)),
            timeout: uri.timeout()?,
        };
        if place.token.is_none() && place.serial.is_none() {
            return Err(uri.invalid("it names no token: give token= or serial="));
        }
        if place.object.is_none() && place.id.is_none() {
            return Err(uri.invalid("it names no key: give object= or id="));
        }
        Ok(Self(Arc::new(place)))
    }

    /// Runs `work` on the token in a thread of its own: a module that hangs must not hang the database.
    fn on_token<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Token<'_>) -> Result<T, CryptoError> + Send + 'static,
    ) -> Result<T, CryptoError> {
        let place = Arc::clone(&self.0);
        let deadline = Instant::now() + place.timeout;
        self.0.name.within(self.0.timeout, move || Token::with(&place, deadline, work))
    }
}

impl KeyProvider for Pkcs11Provider {
    fn kind(&self) -> &'static str {
        "pkcs11"
    }

    fn wrap(
        &self,
        ctx: &SlotContext,
        key: &SecretKey,
        _entropy: &dyn Entropy,
    ) -> Result<WrappedKey, CryptoError> {
        let payload = ctx.payload(key);
        let (name, method, bytes) = self.on_token(move |token| token.wrap(&payload))?;
        let params = WrappedBy { key: name, method }.to_params(ctx)?;
        Ok(WrappedKey { params, bytes, commitment: ctx.commitment_to(key) })
    }

    fn unwrap(&self, ctx: &SlotContext, wrapped: &WrappedKey) -> Result<SecretKey, CryptoError> {
        let by = self.0.name.wrapped_by(ctx, wrapped)?;
        let bytes = wrapped.bytes.clone();
        let payload = self.on_token(move |token| token.unwrap(&by, &bytes))?;
        ctx.accept(self.0.name.as_ref(), &payload, wrapped)
    }
}

impl fmt::Debug for Pkcs11Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.name.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_names_token_key_and_module() {
        let uri = "pkcs11:token=my%20hsm;object=k;type=secret-key?module-path=/m.so&pin-source=file:/pin";
        let provider = Pkcs11Provider::from_uri(uri).expect("a URI");
        assert_eq!(format!("{provider:?}"), "pkcs11:token=my hsm;object=k");
        assert_eq!(provider.0.pin, Some(SecretPlace::File("/pin".into())));
        for (uri, reason) in [
            ("pkcs11:object=k?module-path=/m", "names no token"),
            ("pkcs11:token=t?module-path=/m", "names no key"),
            ("pkcs11:token=t;object=k", "module-path= is missing"),
            ("pkcs11:token=t;object=k;type=private?module-path=/m", "at character 30: only a secret key"),
            ("pkcs11:token=t;object=k?module-path=/m&pin-value=1234", "pin-source=file:PATH"),
        ] {
            let text = Pkcs11Provider::from_uri(uri).expect_err(uri).to_string();
            assert!(text.contains(reason) && !text.contains("1234"), "{uri}: {text}");
        }
    }

    #[test]
    fn a_module_that_is_not_there_cannot_be_reached() {
        let provider =
            Pkcs11Provider::from_uri("pkcs11:token=t;object=k?module-path=/nowhere.so").expect("a URI");
        let ctx = SlotContext { database: crate::DatabaseId([1; 16]), salt: [2; 32] };
        let error =
            provider.wrap(&ctx, &SecretKey::from_bytes([3; 32]), &crate::OsEntropy).expect_err("no module");
        assert!(matches!(error, CryptoError::Unreachable { .. }), "{error}");
        assert!(error.to_string().contains("/nowhere.so"), "{error}");
    }
}
