//! A KMIP server: an AES key that it keeps, and hands out over mutual TLS.
//!
//! The key is fetched, wraps here (AES-256-GCM, bound to the database
//! and the slot), and is forgotten. It is asked for, with its state, each time.

mod client;
mod wire;

use std::fmt;
use std::time::{Duration, Instant};

use lightning_db_crypto::{
    CryptoError, Entropy, KeyProvider, ProviderName, SecretKey, SecretPlace, ServiceUri, SlotContext,
    UriGrammar, WrappedBy, WrappedKey,
};

use client::Place;

const GRAMMAR: UriGrammar = UriGrammar {
    scheme: "kmip",
    attributes: &[],
    parameters: &["server", "ca-file", "cert-file", "key-file"],
    refused: &[("password", "others can see it in a URI; this client is known by its certificate")],
    example: "kmip:KEY-ID?server=HOST:5696&ca-file=PATH&cert-file=PATH&key-file=PATH",
};

/// The only way in which it wraps.
const METHOD: u8 = 1;
const MAX_ID_LEN: usize = 256;

/// Wraps with a key that a KMIP server hands out.
pub struct KmipProvider {
    place: Place,
    timeout: Duration,
}

impl KmipProvider {
    /// Reads a URI `kmip:KEY-ID`, the unique identifier of an active AES-256 key. Nothing is connected to yet.
    ///
    /// Behind a question mark: `server` (`HOST:PORT`), and in PEM `ca-file` (who vouches for the server), `cert-file` and
    /// `key-file` (who this client is; the latter only its owner may read), and `timeout` in seconds.
    ///
    /// # Errors
    /// [`CryptoError::InvalidKey`] if it is none, and where.
    pub fn from_uri(uri: &str) -> Result<Self, CryptoError> {
        let uri = ServiceUri::parse(&GRAMMAR, uri)?;
        let id = uri.path();
        if id.is_empty() || id.len() > MAX_ID_LEN || !id.chars().all(|c| c.is_ascii_graphic()) {
            return Err(uri.bad("", "the unique identifier of a key is expected here"));
        }
        let server = uri.require("server")?;
        let host =
            server.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map(|(host, _)| host);
        let host = host.ok_or_else(|| uri.bad("server", "HOST:PORT is expected here"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let host = host.try_into().map_err(|_| uri.bad("server", "HOST:PORT is expected here"))?;
        let place = Place {
            id: id.to_owned(),
            server: server.to_owned(),
            host,
            ca_file: uri.require("ca-file")?.into(),
            cert_file: uri.require("cert-file")?.into(),
            key: SecretPlace::parse(uri.require("key-file")?),
            name: ProviderName::new(format!("kmip:{id} at {server}")),
        };
        Ok(Self { place, timeout: uri.timeout()? })
    }

    fn fetch(&self) -> Result<SecretKey, CryptoError> {
        self.place.fetch(Instant::now() + self.timeout)
    }
}

impl KeyProvider for KmipProvider {
    fn kind(&self) -> &'static str {
        "kmip"
    }

    fn wrap(
        &self,
        ctx: &SlotContext,
        key: &SecretKey,
        entropy: &dyn Entropy,
    ) -> Result<WrappedKey, CryptoError> {
        let params = WrappedBy { key: self.place.id.clone(), method: METHOD }.to_params(ctx)?;
        WrappedKey::seal(&self.fetch()?, ctx, params, key, entropy)
    }

    fn unwrap(&self, ctx: &SlotContext, wrapped: &WrappedKey) -> Result<SecretKey, CryptoError> {
        let (name, own) = (&self.place.name, &self.place.id);
        let by = name.wrapped_by(ctx, wrapped)?;
        wrapped.open(&self.fetch()?, ctx).map_err(|error| name.not_unwrapped(&by, own, error))
    }
}

impl fmt::Debug for KmipProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.name.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_names_key_server_and_certificates() {
        let uri = "kmip:42?server=[::1]:5696&ca-file=/ca&cert-file=/cert&key-file=/key";
        let provider = KmipProvider::from_uri(uri).expect("a URI");
        assert_eq!(format!("{provider:?}"), "kmip:42 at [::1]:5696");
        for (uri, reason) in [
            ("kmip:?server=h:1", "at character 6: "),
            ("kmip:42?server=h&ca-file=/c", "at character 16: HOST:PORT"),
            ("kmip:42?server=h:99999&ca-file=/c", "at character 16: HOST:PORT"),
            ("kmip:42?server=h:1&cert-file=/c", "ca-file= is missing"),
            ("kmip:42?server=h:1&password=hunter2", "at character 20: password= is refused"),
        ] {
            let text = KmipProvider::from_uri(uri).expect_err(uri).to_string();
            assert!(text.contains(reason) && !text.contains("hunter2"), "{uri}: {text}");
        }
    }
}
