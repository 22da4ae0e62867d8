//! Azure Key Vault and Managed HSM: a key that never leaves the vault, and wraps.
//!
//! The service takes nothing to authenticate along with what it wraps, so the payload itself says which database and slot
//! it is for.

mod client;
mod credentials;
mod faults;

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use lightning_db_crypto::{
    CryptoError, Entropy, KeyProvider, ProviderName, SecretKey, ServiceUri, SlotContext, UriGrammar,
    WrappedBy, WrappedKey,
};

use client::{Algorithm, Place};
use credentials::Credentials;

const GRAMMAR: UriGrammar = UriGrammar {
    scheme: "azurekv",
    attributes: &[],
    parameters: &["algorithm", "ca-file", "connect", "credentials"],
    refused: &[("secret", SECRETS), ("client-secret", SECRETS), ("token", SECRETS)],
    example: "azurekv://VAULT.vault.azure.net/keys/NAME",
};
const SECRETS: &str = "others can see a secret in a URI; give AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET in the environment";

/// Wraps with a key of Azure Key Vault or of a Managed HSM.
pub struct AzureKvProvider {
    place: Place,
    timeout: Duration,
}

impl AzureKvProvider {
    /// Reads a URI `azurekv://VAULT/keys/NAME[/VERSION]`; the newest version wraps unless one is named. Nothing is
    /// connected to yet.
    ///
    /// Behind a question mark: `algorithm` (`RSA-OAEP-256`, or `A256KW` for a symmetric key of a Managed HSM),
    /// `credentials` (`environment`, `managed` for the machine's identity, or `cli`; else the environment if it has
    /// `AZURE_TENANT_ID`, and `managed` if not), `connect` (an address and port at which the vault is reached instead of
    /// where its name resolves to), `ca-file` (certificates in PEM to trust besides the system's), and `timeout` in
    /// seconds.
    ///
    /// # Errors
    /// [`CryptoError::InvalidKey`] if it is none, and where.
    pub fn from_uri(uri: &str) -> Result<Self, CryptoError> {
        let uri = ServiceUri::parse(&GRAMMAR, uri)?;
        let [vault, key, version] = parts(&uri)?;
        let algorithm = uri.get("algorithm").map_or(Some(Algorithm::RsaOaep256), Algorithm::named);
        let algorithm = algorithm.ok_or_else(|| uri.bad("algorithm", "it is RSA-OAEP-256 or A256KW"))?;
        let credentials = match uri.get("credentials") {
            None => Credentials::usual(),
            Some(named) => Credentials::named(named)
                .ok_or_else(|| uri.bad("credentials", "it is environment, managed or cli"))?,
        };
        let connect = uri.get("connect").map(str::parse::<SocketAddr>).transpose();
        let connect = connect.map_err(|_| {
            uri.bad("connect", "an address and a port are expected: 10.0.0.4:443 or [::1]:443")
        })?;
        let name = ProviderName::new(format!("azurekv:{}", uri.path()));
        let version = (!version.is_empty()).then_some(version);
        let ca_file = uri.get("ca-file").map(Into::into);
        let place = Place { vault, key, version, algorithm, credentials, connect, ca_file, name };
        Ok(Self { place, timeout: uri.timeout()? })
    }
}

/// The vault, the key and its version, which may be empty.
fn parts(uri: &ServiceUri) -> Result<[String; 3], CryptoError> {
    let Some(rest) = uri.path().strip_prefix("//") else {
        return Err(uri.bad_at(0, "//VAULT.vault.azure.net/keys/NAME is expected here"));
    };
    let mut at = "//".len();
    let mut take = |part: Option<&str>, allowed: &str, reason: &str| {
        let part = part.unwrap_or_default();
        let fits = part.chars().all(|c| c.is_ascii_alphanumeric() || allowed.contains(c));
        if part.is_empty() || part.len() > MAX_PART_LEN || !fits {
            return Err(uri.bad_at(at, reason));
        }
        at += part.len() + 1;
        Ok(part.to_owned())
    };
    let mut rest = rest.split('/');
    let vault = take(rest.next(), "-.", "the vault's host name is expected here, without a port")?;
    let keys = take(rest.next(), "", "keys/ is expected here")?;
    if keys != "keys" {
        return Err(uri.bad_at("//".len() + vault.len() + 1, "keys/ is expected here"));
    }
    let key = take(rest.next(), "-", "the key's name is expected here: letters, digits and dashes")?;
    let version = rest.next().map(|version| take(Some(version), "", "the key's version is expected here"));
    let version = version.transpose()?.unwrap_or_default();
    match rest.next() {
        None => Ok([vault, key, version]),
        Some(_) => Err(uri.bad_at(at - 1, "nothing may follow the key's version")),
    }
}

const MAX_PART_LEN: usize = 253;

impl KeyProvider for AzureKvProvider {
    fn kind(&self) -> &'static str {
        "azurekv"
    }

    fn wrap(
        &self,
        ctx: &SlotContext,
        key: &SecretKey,
        _entropy: &dyn Entropy,
    ) -> Result<WrappedKey, CryptoError> {
        let (bytes, kid) = self.place.wrap(&ctx.payload(key), self.timeout)?;
        let params = WrappedBy { key: kid, method: self.place.algorithm as u8 }.to_params(ctx)?;
        Ok(WrappedKey { params, bytes, commitment: ctx.commitment_to(key) })
    }

    fn unwrap(&self, ctx: &SlotContext, wrapped: &WrappedKey) -> Result<SecretKey, CryptoError> {
        let by = self.place.name.wrapped_by(ctx, wrapped)?;
        // Vault and key are those of the URI, never those that the slot names: whoever can change the slot could name
        // theirs. Of the key in the URI it says the version, which the service wants to know.
        let version = self.place.version_of(&by.key).filter(|version| match &self.place.version {
            Some(pinned) => pinned == version,
            None => true,
        });
        let version = version.ok_or_else(|| self.place.name.wrong_key(&by, &self.place.kid()))?;
        let algorithm = Algorithm::numbered(by.method)
            .ok_or_else(|| self.place.name.tampered("the slot names no known way of wrapping"))?;
        let payload = self.place.unwrap(version, algorithm, &wrapped.bytes, self.timeout)?;
        ctx.accept(self.place.name.as_ref(), &payload, wrapped)
    }
}

impl fmt::Debug for AzureKvProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.name.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_names_vault_key_and_version() {
        let uri = "azurekv://v.vault.azure.net/keys/k?credentials=cli&connect=10.0.0.4:443&timeout=3";
        let provider = AzureKvProvider::from_uri(uri).expect("a URI");
        assert_eq!(format!("{provider:?}"), "azurekv://v.vault.azure.net/keys/k");
        let place = provider.place;
        assert_eq!(place.kid(), "https://v.vault.azure.net/keys/k");
        assert_eq!(place.version_of("https://v.vault.azure.net/keys/k/0123"), Some("0123"));
        for other in ["https://w.vault.azure.net/keys/k/0123", "https://v.vault.azure.net/keys/k2/0123"] {
            assert_eq!(place.version_of(other), None);
        }
        assert_eq!(place.version_of("https://v.vault.azure.net/keys/k/../1"), None);
        let pinned = AzureKvProvider::from_uri("azurekv://v/keys/k/0123?algorithm=A256KW").expect("a URI");
        assert_eq!(pinned.place.version.as_deref(), Some("0123"));
    }

    #[test]
    fn a_mistake_is_pointed_at_and_no_secret_repeated() {
        for (rest, reason) in [
            ("", "at character 9: //VAULT"),
            ("v.vault.azure.net/keys/k", "at character 9: //VAULT"),
            ("///keys/k", "at character 11: the vault's host"),
            ("//v:443/keys/k", "at character 11: the vault's host"),
            ("//v/key/k", "at character 13: keys/"),
            ("//v/keys", "at character 18: the key's name"),
            ("//v/keys/a_b", "at character 18: the key's name"),
            ("//v/keys/k/../x", "at character 20: the key's version"),
            ("//v/keys/k/1/x", "at character 21: nothing may follow"),
            ("//v/keys/k?algoritm=A256KW", "is it algorithm=?"),
            ("//v/keys/k?algorithm=RSA1_5", "at character 30: it is RSA"),
            ("//v/keys/k?credentials=hunter2", "at character 32: it is environment"),
            ("//v/keys/k?client-secret=hunter2", "client-secret= is refused"),
            ("//v/keys/k?connect=hunter2", "at character 28: an address"),
        ] {
            let uri = format!("azurekv:{rest}");
            let text = AzureKvProvider::from_uri(&uri).expect_err(&uri).to_string();
            assert!(text.contains(reason) && !text.contains("hunter2"), "{uri}: {text}");
        }
    }
}
