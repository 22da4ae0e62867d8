//! Google Cloud Key Management Service: a symmetric key that never leaves it, and encrypts.
//!
//! What is encrypted is bound to the database by additional authenticated data. Requests and answers carry CRC32C
//! checksums, as the service recommends: what is damaged on the way is asked for again, and never stored.

mod client;
mod faults;

use std::fmt;
use std::time::Duration;

use lightning_db_crypto::{
    CryptoError, Entropy, KeyProvider, ProviderName, SecretKey, ServiceUri, SlotContext, UriGrammar,
    WrappedBy, WrappedKey,
};

use crate::address;
use client::Place;

const GRAMMAR: UriGrammar = UriGrammar {
    scheme: "gcpkms",
    attributes: &[],
    parameters: &["endpoint"],
    refused: &[("credentials", CREDENTIALS), ("key", CREDENTIALS), ("token", CREDENTIALS)],
    example: "gcpkms://projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY",
};
const CREDENTIALS: &str = "credentials come from the usual places: GOOGLE_APPLICATION_CREDENTIALS, `gcloud auth application-default login`, the machine's service account";

/// The only way in which it wraps.
const METHOD: u8 = 1;
const MAX_KEY_LEN: usize = 1024;
/// What a key's name is made of; each is followed by a name of its own.
const COLLECTIONS: [&str; 4] = ["projects", "locations", "keyRings", "cryptoKeys"];

/// Wraps with a key of Google Cloud KMS.
pub struct GcpKmsProvider {
    place: Place,
    timeout: Duration,
}

impl GcpKmsProvider {
    /// Reads a URI `gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K`. Nothing is connected to yet.
    ///
    /// Behind a question mark: `endpoint` (a URL, for a private endpoint), and `timeout` in seconds. Credentials come from
    /// the usual places ("application default credentials").
    ///
    /// # Errors
    /// [`CryptoError::InvalidKey`] if it is none, and where; for an endpoint that is not `https:` and beyond this machine.
    pub fn from_uri(uri: &str) -> Result<Self, CryptoError> {
        let uri = ServiceUri::parse(&GRAMMAR, uri)?;
        let key = key_name(&uri)?;
        let endpoint = uri.get("endpoint");
        if let Some(endpoint) = endpoint {
            address::host(endpoint).map_err(|reason| uri.bad("endpoint", reason))?;
        }
        let name = endpoint
            .map_or_else(|| format!("gcpkms://{key}"), |endpoint| format!("gcpkms://{key} at {endpoint}"));
        let place = Place { key, endpoint: endpoint.map(str::to_owned), name: ProviderName::new(name) };
        Ok(Self { place, timeout: uri.timeout()? })
    }
}

/// The key that the path names.
fn key_name(uri: &ServiceUri) -> Result<String, CryptoError> {
    let Some(key) = uri.path().strip_prefix("//").filter(|key| key.len() <= MAX_KEY_LEN) else {
        return Err(uri.bad_at(0, "//projects/PROJECT/… is expected here"));
    };
    let (mut at, mut parts) = ("//".len(), key.split('/'));
    for collection in COLLECTIONS {
        if parts.next() != Some(collection) {
            return Err(uri.bad_at(at, &format!("{collection}/ is expected here")));
        }
        at += collection.len() + 1;
        let id = parts.next().unwrap_or_default();
        let is_id = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        // "." and ".." would lead to another path.
        if id.is_empty() || !id.chars().all(is_id) || id.chars().all(|c| c == '.') {
            return Err(uri.bad_at(at, &format!("a name of {collection} is expected here")));
        }
        at += id.len() + 1;
    }
    match parts.next() {
        None => Ok(key.to_owned()),
        Some(_) => Err(uri.bad_at(at - 1, "nothing may follow the key: the service chooses the version")),
    }
}

impl KeyProvider for GcpKmsProvider {
    fn kind(&self) -> &'static str {
        "gcpkms"
    }

    fn wrap(
        &self,
        ctx: &SlotContext,
        key: &SecretKey,
        _entropy: &dyn Entropy,
    ) -> Result<WrappedKey, CryptoError> {
        let (bytes, version) = self.place.encrypt(&ctx.database, &ctx.payload(key), self.timeout)?;
        let params = WrappedBy { key: version, method: METHOD }.to_params(ctx)?;
        Ok(WrappedKey { params, bytes, commitment: ctx.commitment_to(key) })
    }

    fn unwrap(&self, ctx: &SlotContext, wrapped: &WrappedKey) -> Result<SecretKey, CryptoError> {
        let by = self.place.name.wrapped_by(ctx, wrapped)?;
        if !self.place.is_version(&by.key) {
            return Err(self.place.name.wrong_key(&by, &self.place.key));
        }
        // The key is that of the URI, never one that the slot names: whoever can change the slot could name one of theirs.
        let payload = self.place.decrypt(&ctx.database, &wrapped.bytes, self.timeout)?;
        ctx.accept(self.place.name.as_ref(), &payload, wrapped)
    }
}

impl fmt::Debug for GcpKmsProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.name.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "projects/p-1/locations/eu/keyRings/r/cryptoKeys/k";

    #[test]
    fn a_uri_names_the_key() {
        let provider = GcpKmsProvider::from_uri(&format!("gcpkms://{KEY}?timeout=3")).expect("a URI");
        assert_eq!(format!("{provider:?}"), format!("gcpkms://{KEY}"));
        assert_eq!(provider.timeout, Duration::from_secs(3));
        assert!(provider.place.is_version(&format!("{KEY}/cryptoKeyVersions/7")));
        for other in
            [KEY.to_owned(), format!("{KEY}2/cryptoKeyVersions/7"), format!("{KEY}/cryptoKeyVersions/../1")]
        {
            assert!(!provider.place.is_version(&other), "{other}");
        }
    }

    #[test]
    fn a_mistake_is_pointed_at_and_no_secret_repeated() {
        for (rest, reason) in [
            ("", "at character 8: //projects/"),
            ("projects/p", "at character 8: //projects/"),
            ("//project/p", "at character 10: projects/ is expected"),
            ("//projects//locations", "at character 19: a name of projects"),
            ("//projects/../locations", "at character 19: a name of projects"),
            ("//projects/p/location/eu", "at character 21: locations/ is expected"),
            (
                "//projects/p/locations/eu/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1",
                "at character 57: nothing may",
            ),
            ("//projects/p/locations/eu/keyRings/r/cryptoKeys/k?endpiont=x", "is it endpoint=?"),
            ("//projects/p/locations/eu/keyRings/r/cryptoKeys/k?token=hunter2", "token= is refused"),
            (
                "//projects/p/locations/eu/keyRings/r/cryptoKeys/k?endpoint=http://kms.example",
                "at character 67: ",
            ),
            ("//projects/hunter2 x/locations", "at character 19: a name of projects"),
        ] {
            let uri = format!("gcpkms:{rest}");
            let text = GcpKmsProvider::from_uri(&uri).expect_err(&uri).to_string();
            assert!(text.contains(reason) && !text.contains("hunter2"), "{uri}: {text}");
        }
    }
}
