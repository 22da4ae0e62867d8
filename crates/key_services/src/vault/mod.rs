//! The transit engine of HashiCorp Vault and of OpenBao: a key that the server keeps, and encrypts with.
//!
//! What is encrypted is bound to the database twice: a derived key is derived with the database's id as its context, and the
//! id is associated data. The server draws the nonces. The newest version of the key wraps; any that the server still
//! allows unwraps, so that wrapping anew is all it takes to follow a rotation of the key.

mod client;
mod faults;

use std::fmt;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use lightning_db_crypto::{
    CryptoError, Entropy, KeyProvider, ProviderName, SecretKey, SecretPlace, ServiceUri, SlotContext,
    UriGrammar, WrappedBy, WrappedKey, Zeroizing,
};
use serde_json::{Value, json};

use crate::address;
use client::Client;

const GRAMMAR: UriGrammar = UriGrammar {
    scheme: "vault",
    attributes: &[],
    parameters: &["address", "token-file", "namespace", "ca-file"],
    refused: &[("token", "others can see a token in a URI; put it into a file and give token-file=PATH")],
    example: "vault:MOUNT/KEY?address=https://HOST:8200&token-file=PATH",
};

/// The only way in which it wraps.
const METHOD: u8 = 1;
/// Kinds of keys that authenticate what they encrypt.
const TYPES: [&str; 4] = ["aes128-gcm96", "aes256-gcm96", "chacha20-poly1305", "xchacha20-poly1305"];
const ADDRESS_VARIABLES: [&str; 2] = ["VAULT_ADDR", "BAO_ADDR"];
const TOKEN_VARIABLES: [&str; 2] = ["VAULT_TOKEN", "BAO_TOKEN"];
const NAMESPACE_VARIABLES: [&str; 2] = ["VAULT_NAMESPACE", "BAO_NAMESPACE"];
const CA_VARIABLES: [&str; 2] = ["VAULT_CACERT", "BAO_CACERT"];

/// Wraps with a key of a transit engine.
pub struct VaultProvider {
    mount: String,
    key: String,
    client: Client,
    timeout: Duration,
}

impl VaultProvider {
    /// Reads a URI `vault:MOUNT/KEY`. Nothing is connected to yet.
    ///
    /// Behind a question mark, or else from the environment: `address` (`VAULT_ADDR`), `token-file` (`VAULT_TOKEN`
    /// holds the token itself), `namespace` (`VAULT_NAMESPACE`), `ca-file` (`VAULT_CACERT`: certificates in PEM to trust
    /// instead of the system's); `BAO_…` is read too. `timeout` is in seconds.
    ///
    /// # Errors
    /// [`CryptoError::InvalidKey`] if it is none, and where; if there is no address, or one that is not `https:` and
    /// beyond this machine.
    pub fn from_uri(uri: &str) -> Result<Self, CryptoError> {
        let uri = ServiceUri::parse(&GRAMMAR, uri)?;
        let path = uri.path();
        let is_name = |name: &str| {
            !name.is_empty()
                && !name.starts_with('.')
                && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        let (mount, key) = path.rsplit_once('/').unwrap_or_default();
        if !is_name(key) || !mount.split('/').all(is_name) {
            return Err(uri.bad("", "MOUNT/KEY is expected here, of letters, digits, '-', '_' and '.'"));
        }
        let setting = |name, variables| uri.get(name).map(str::to_owned).or_else(|| variable(variables));
        let server = setting("address", ADDRESS_VARIABLES)
            .ok_or_else(|| uri.invalid("there is no address= and no VAULT_ADDR"))?;
        let host = address::host(&server).map_err(|reason| uri.bad("address", reason))?;
        let token = uri.get("token-file").map(SecretPlace::parse);
        let token = token.or_else(|| set_variable(TOKEN_VARIABLES).map(|name| SecretPlace::Env(name.into())));
        let token = token.ok_or_else(|| uri.invalid("there is no token-file= and no VAULT_TOKEN"))?;
        let client = Client {
            address: server.trim_end_matches('/').to_owned(),
            is_local: address::is_local(&host),
            token,
            namespace: setting("namespace", NAMESPACE_VARIABLES),
            ca_file: setting("ca-file", CA_VARIABLES).map(Into::into),
            name: ProviderName::new(format!("vault:{path} at {}", server.trim_end_matches('/'))),
        };
        Ok(Self { mount: mount.into(), key: key.into(), client, timeout: uri.timeout()? })
    }

    /// That the key is there, and of a kind that binds what it encrypts. A server may make a key that is asked to
    /// encrypt and is not there; nobody would know of such a key, nor keep it.
    fn check_key(&self, deadline: Instant) -> Result<(), CryptoError> {
        let path = format!("{}/keys/{}", self.mount, self.key);
        let answer = self.client.get(&path, deadline)?;
        let data = &answer["data"];
        let kind = data["type"].as_str().unwrap_or_default();
        if !TYPES.contains(&kind) {
            let reason = format!("a key of type {kind:?} cannot wrap: make one of {}", TYPES.join(", "));
            return Err(self.client.name.unusable(reason));
        }
        if data["soft_deleted"] == Value::Bool(true) {
            return Err(self.client.name.disabled("it is marked as deleted: restore it, or use another one"));
        }
        Ok(())
    }

    fn own_key(&self) -> String {
        format!("{}/{}", self.mount, self.key)
    }

    /// The place of the wrapped key, as context of a derived key and as associated data.
    fn request(&self, ctx: &SlotContext, field: &str, value: &str) -> Zeroizing<Vec<u8>> {
        let bound = BASE64.encode([b"lightning_db key slot ", ctx.database.as_bytes().as_slice()].concat());
        // Put together by hand: a tree of JSON values would leave a copy of the plaintext behind.
        let rest = json!({ "context": bound, "associated_data": bound }).to_string();
        let mut body = Zeroizing::new(Vec::with_capacity(rest.len() + value.len() + field.len() + 8));
        body.extend_from_slice(b"{\"");
        for part in [field, "\":\"", value, "\",", &rest[1..]] {
            body.extend_from_slice(part.as_bytes());
        }
        body
    }
}

impl KeyProvider for VaultProvider {
    fn kind(&self) -> &'static str {
        "vault"
    }

    fn wrap(
        &self,
        ctx: &SlotContext,
        key: &SecretKey,
        _entropy: &dyn Entropy,
    ) -> Result<WrappedKey, CryptoError> {
        let deadline = Instant::now() + self.timeout;
        self.check_key(deadline)?;
        let text = Zeroizing::new(BASE64.encode(ctx.payload(key)));
        let path = format!("{}/encrypt/{}", self.mount, self.key);
        let answer = self.client.post(&path, &self.request(ctx, "plaintext", &text), deadline)?;
        let ciphertext = self.client.text(&answer, "ciphertext")?.as_bytes().to_vec();
        self.client.renew_token(deadline);
        let params = WrappedBy { key: self.own_key(), method: METHOD }.to_params(ctx)?;
        Ok(WrappedKey { params, bytes: ciphertext, commitment: ctx.commitment_to(key) })
    }

    fn unwrap(&self, ctx: &SlotContext, wrapped: &WrappedKey) -> Result<SecretKey, CryptoError> {
        let deadline = Instant::now() + self.timeout;
        let name = &self.client.name;
        let by = name.wrapped_by(ctx, wrapped)?;
        let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b":+/=".contains(byte);
        let ciphertext = std::str::from_utf8(&wrapped.bytes).ok();
        let ciphertext = ciphertext
            .filter(|text| text.as_bytes().iter().all(is_token))
            .ok_or_else(|| name.tampered("it is no ciphertext of a transit engine"))?;
        let path = format!("{}/decrypt/{}", self.mount, self.key);
        let answer = self.client.post(&path, &self.request(ctx, "ciphertext", ciphertext), deadline);
        let answer = answer.map_err(|error| name.not_unwrapped(&by, &self.own_key(), error))?;
        let text = self.client.text(&answer, "plaintext")?;
        let payload = BASE64.decode(text).map(Zeroizing::new);
        let payload = payload.map_err(|_| name.failed("its answer is not in base 64"))?;
        self.client.renew_token(deadline);
        ctx.accept(name.as_ref(), &payload, wrapped)
    }
}

fn set_variable(names: [&'static str; 2]) -> Option<&'static str> {
    names.into_iter().find(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

fn variable(names: [&'static str; 2]) -> Option<String> {
    set_variable(names).and_then(|name| std::env::var(name).ok())
}

impl fmt::Debug for VaultProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.client.name.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_names_mount_key_and_server() {
        let uri = "vault:team/transit/lightning?address=https://vault.example:8200/&token-file=/run/token&namespace=n";
        let provider = VaultProvider::from_uri(uri).expect("a URI");
        assert_eq!(format!("{provider:?}"), "vault:team/transit/lightning at https://vault.example:8200");
        assert_eq!((provider.mount.as_str(), provider.key.as_str()), ("team/transit", "lightning"));
    }

    #[test]
    fn a_mistake_is_pointed_at_and_no_secret_repeated() {
        for (uri, reason) in [
            ("vault:lightning?address=http://127.0.0.1:1&token-file=/t", "at character 7: MOUNT/KEY"),
            ("vault:../lightning?address=http://127.0.0.1:1&token-file=/t", "at character 7: MOUNT/KEY"),
            ("vault:t/k?address=http://127.0.0.1:1&token=hunter2", "token-file=PATH"),
            (
                "vault:t/k?adress=http://127.0.0.1:1",
                "at character 11: there is no such name (is it address=?)",
            ),
            ("vault:t/k?address=http://vault.example&token-file=/t", "https"),
            ("vault:t/k?address=https://me:hunter2@vault.example&token-file=/t", "at character 19: "),
            ("vault:t/k?address=vault.example&token-file=/t", "at character 19: "),
            ("vault:t/k?address=http://127.0.0.1:1/x?y&token-file=/t", "at character 19: "),
        ] {
            let text = VaultProvider::from_uri(uri).expect_err(uri).to_string();
            assert!(text.contains(reason) && !text.contains("hunter2"), "{uri}: {text}");
        }
    }

    #[test]
    fn a_request_is_json_with_the_database_in_it() {
        let uri = "vault:t/k?address=http://127.0.0.1:1&token-file=/t";
        let provider = VaultProvider::from_uri(uri).expect("a URI");
        let ctx = SlotContext { database: lightning_db_crypto::DatabaseId([7; 16]), salt: [0; 32] };
        let body: Value = serde_json::from_slice(&provider.request(&ctx, "plaintext", "AAAA")).expect("JSON");
        assert_eq!(body["plaintext"], "AAAA");
        let context = BASE64.decode(body["context"].as_str().expect("text")).expect("base 64");
        assert!(context.ends_with(&[7; 16]));
        assert_eq!(body["context"], body["associated_data"]);
    }
}
