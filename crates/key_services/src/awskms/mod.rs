//! AWS Key Management Service: a symmetric key that never leaves it, and encrypts.
//!
//! What is encrypted is bound to the database by the encryption context, which the service authenticates and its log of
//! uses shows. No data key is made, so none is cached.

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
    scheme: "awskms",
    attributes: &[],
    parameters: &["region", "endpoint", "profile"],
    refused: &[("access-key", CREDENTIALS), ("secret-key", CREDENTIALS), ("session-token", CREDENTIALS)],
    example: "awskms:KEY-ARN-OR-alias/NAME?region=REGION",
};
const CREDENTIALS: &str = "credentials come from the usual places: AWS_ACCESS_KEY_ID, a profile, a web identity, the instance's role";

/// The only way in which it wraps.
const METHOD: u8 = 1;
const MAX_KEY_LEN: usize = 2048;
const NO_KEY: &str =
    "the ARN of a key (arn:aws:kms:REGION:ACCOUNT:key/ID), its id, or alias/NAME is expected here";

/// Wraps with a key of AWS KMS.
pub struct AwsKmsProvider {
    place: Place,
    timeout: Duration,
}

impl AwsKmsProvider {
    /// Reads a URI `awskms:KEY`, where the key is an ARN, a key id, or `alias/NAME`. Nothing is connected to yet.
    ///
    /// Behind a question mark: `region` (else that of the ARN, else `AWS_REGION` or the profile's), `endpoint` (a URL,
    /// for a private endpoint), `profile`, and `timeout` in seconds. Credentials come from the usual places.
    ///
    /// # Errors
    /// [`CryptoError::InvalidKey`] if it is none, and where; for an endpoint that is not `https:` and beyond this machine.
    pub fn from_uri(uri: &str) -> Result<Self, CryptoError> {
        let uri = ServiceUri::parse(&GRAMMAR, uri)?;
        let key = uri.path();
        let arn: Vec<&str> = key.split(':').collect();
        let is_arn = matches!(arn[..], ["arn", _, "kms", region, _, resource] if !region.is_empty() && resource.contains('/'));
        if key.len() > MAX_KEY_LEN || !key.chars().all(|c| c.is_ascii_alphanumeric() || ":/_-".contains(c)) {
            return Err(uri.bad("", NO_KEY));
        }
        let is_alias = key.strip_prefix("alias/").is_some_and(|name| !name.is_empty());
        if !is_arn && !is_alias && !is_id(key) {
            return Err(uri.bad("", NO_KEY));
        }
        let endpoint = uri.get("endpoint");
        if let Some(endpoint) = endpoint {
            address::host(endpoint).map_err(|reason| uri.bad("endpoint", reason))?;
        }
        let region = uri.get("region").map(str::to_owned).or_else(|| is_arn.then(|| arn[3].to_owned()));
        let place =
            Place {
                key: key.to_owned(),
                region,
                endpoint: endpoint.map(str::to_owned),
                profile: uri.get("profile").map(str::to_owned),
                name: ProviderName::new(endpoint.map_or_else(
                    || format!("awskms:{key}"),
                    |endpoint| format!("awskms:{key} at {endpoint}"),
                )),
            };
        Ok(Self { place, timeout: uri.timeout()? })
    }
}

impl KeyProvider for AwsKmsProvider {
    fn kind(&self) -> &'static str {
        "awskms"
    }

    fn wrap(
        &self,
        ctx: &SlotContext,
        key: &SecretKey,
        _entropy: &dyn Entropy,
    ) -> Result<WrappedKey, CryptoError> {
        let (bytes, key_arn) = self.place.encrypt(&ctx.database, &ctx.payload(key), self.timeout)?;
        let params = WrappedBy { key: key_arn, method: METHOD }.to_params(ctx)?;
        Ok(WrappedKey { params, bytes, commitment: ctx.commitment_to(key) })
    }

    fn unwrap(&self, ctx: &SlotContext, wrapped: &WrappedKey) -> Result<SecretKey, CryptoError> {
        let by = self.place.name.wrapped_by(ctx, wrapped)?;
        // An alias says nothing; replicas of a key in other regions have its id.
        let is_named = !self.place.key.contains("alias/");
        if is_named && id_of(&self.place.key) != id_of(&by.key) {
            return Err(self.place.name.wrong_key(&by, &self.place.key));
        }
        // The key is that of the URI, never one that the slot names: whoever can change the slot could name one of theirs.
        let payload = self.place.decrypt(&ctx.database, &wrapped.bytes, self.timeout)?;
        ctx.accept(self.place.name.as_ref(), &payload, wrapped)
    }
}

/// As AWS gives them: a UUID, or `mrk-` and 32 digits.
fn is_id(key: &str) -> bool {
    let digits = |text: &str| text.chars().filter(|c| *c != '-').all(|c| c.is_ascii_hexdigit());
    match key.strip_prefix("mrk-") {
        Some(rest) => rest.len() == 32 && digits(rest),
        None => key.len() == 36 && key.matches('-').count() == 4 && digits(key),
    }
}

fn id_of(key: &str) -> &str {
    key.rsplit_once('/').map_or(key, |(_, id)| id)
}

impl fmt::Debug for AwsKmsProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.name.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_names_the_key_and_its_region() {
        let uri = "awskms:arn:aws:kms:eu-west-1:123456789012:key/1234-ab?endpoint=http://127.0.0.1:5000";
        let provider = AwsKmsProvider::from_uri(uri).expect("a URI");
        assert_eq!(provider.place.region.as_deref(), Some("eu-west-1"));
        assert_eq!(
            format!("{provider:?}"),
            "awskms:arn:aws:kms:eu-west-1:123456789012:key/1234-ab at http://127.0.0.1:5000"
        );
        let provider =
            AwsKmsProvider::from_uri("awskms:alias/lightning?region=us-east-1&profile=p").expect("a URI");
        assert_eq!(provider.place.region.as_deref(), Some("us-east-1"));
        assert_eq!(id_of("arn:aws:kms:eu-west-1:1:key/mrk-1"), id_of("mrk-1"));
    }

    #[test]
    fn a_mistake_is_pointed_at_and_no_secret_repeated() {
        for (uri, reason) in [
            ("awskms:", "at character 8: the ARN"),
            ("awskms:arn", "at character 8: the ARN"),
            ("awskms:alias/", "at character 8: the ARN"),
            ("awskms:arn:aws:s3:::bucket", "at character 8: the ARN"),
            ("awskms:alias/x?regoin=y", "is it region=?"),
            ("awskms:alias/x?secret-key=hunter2", "at character 16: secret-key= is refused"),
            ("awskms:alias/x?endpoint=http://kms.example", "at character 25: "),
            ("awskms:alias/x?endpoint=https://hunter2@kms.example", "at character 25: "),
            ("awskms:alias/x y", "at character 8: "),
        ] {
            let text = AwsKmsProvider::from_uri(uri).expect_err(uri).to_string();
            assert!(text.contains(reason) && !text.contains("hunter2"), "{uri}: {text}");
        }
    }
}
