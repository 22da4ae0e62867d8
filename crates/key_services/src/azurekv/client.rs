//! Requests to a vault, from code that waits.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use azure_core::http::{ClientOptions, RetryOptions, Transport};
use azure_security_keyvault_keys::models::{
    EncryptionAlgorithm, KeyClientWrapKeyOptions, KeyOperationParameters, KeyOperationResult,
};
use azure_security_keyvault_keys::{KeyClient, KeyClientOptions};
use lightning_db_crypto::{CryptoError, ProviderName, Zeroizing};
use reqwest::Certificate;
use reqwest::redirect::Policy;

use super::credentials::Credentials;
use super::faults::Doing;
use crate::runtime;

const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// How a key wraps. The number is in the slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Algorithm {
    RsaOaep256 = 1,
    A256Kw = 2,
}

impl Algorithm {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "RSA-OAEP-256" => Some(Self::RsaOaep256),
            "A256KW" => Some(Self::A256Kw),
            _ => None,
        }
    }

    pub(super) fn numbered(method: u8) -> Option<Self> {
        [Self::RsaOaep256, Self::A256Kw].into_iter().find(|known| *known as u8 == method)
    }

    fn on_the_wire(self) -> EncryptionAlgorithm {
        match self {
            Self::RsaOaep256 => EncryptionAlgorithm::RsaOaep256,
            Self::A256Kw => EncryptionAlgorithm::A256Kw,
        }
    }
}

/// A key, and how to get at it.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) vault: String,
    pub(super) key: String,
    pub(super) version: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) credentials: Credentials,
    pub(super) connect: Option<SocketAddr>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) name: ProviderName,
}

impl Place {
    /// Wraps; also the name of the key's version that did it.
    pub(super) fn wrap(&self, payload: &[u8], timeout: Duration) -> Result<(Vec<u8>, String), CryptoError> {
        let (place, payload) = (self.clone(), Zeroizing::new(payload.to_vec()));
        runtime::wait(&self.name, timeout, async move {
            let client = place.client(timeout)?;
            let answer = runtime::persist(&place.name, timeout, || async {
                let body = place.body(place.algorithm, &payload)?;
                let key_version = place.version.clone();
                let options = KeyClientWrapKeyOptions { key_version, ..Default::default() };
                let answer = client.wrap_key(&place.key, body, Some(options)).await;
                place.read(Doing::Wrap, answer)
            });
            let answer = answer.await?;
            match (answer.result, answer.kid) {
                (Some(bytes), Some(kid)) if place.version_of(&kid).is_some() => Ok((bytes, kid)),
                (Some(_), Some(_)) => Err(place.name.failed("another key wrapped than was asked")),
                _ => Err(place.name.failed("its answer has no wrapped key or does not say whose")),
            }
        })
    }

    /// Unwraps what this version of the key has wrapped.
    pub(super) fn unwrap(
        &self,
        version: &str,
        algorithm: Algorithm,
        bytes: &[u8],
        timeout: Duration,
    ) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let (place, version, bytes) = (self.clone(), version.to_owned(), bytes.to_vec());
        runtime::wait(&self.name, timeout, async move {
            let client = place.client(timeout)?;
            let answer = runtime::persist(&place.name, timeout, || async {
                let body = place.body(algorithm, &bytes)?;
                let answer = client.unwrap_key(&place.key, &version, body, None).await;
                place.read(Doing::Unwrap, answer)
            });
            let payload =
                answer.await?.result.ok_or_else(|| place.name.failed("its answer has no unwrapped key"))?;
            Ok(Zeroizing::new(payload))
        })
    }

    /// The key's name at the service, without its version.
    pub(super) fn kid(&self) -> String {
        format!("https://{}/keys/{}", self.vault, self.key)
    }

    /// The version, if this names one of the key.
    pub(super) fn version_of<'a>(&self, kid: &'a str) -> Option<&'a str> {
        let version = kid.strip_prefix(&self.kid())?.strip_prefix('/')?;
        let is_version = !version.is_empty() && version.chars().all(|c| c.is_ascii_alphanumeric());
        is_version.then_some(version)
    }

    fn body(
        &self,
        algorithm: Algorithm,
        value: &[u8],
    ) -> Result<azure_core::http::RequestContent<KeyOperationParameters>, CryptoError> {
        let parameters = KeyOperationParameters {
            algorithm: Some(algorithm.on_the_wire()),
            value: Some(value.to_vec()),
            ..Default::default()
        };
        parameters.try_into().map_err(|error: azure_core::Error| self.name.failed(error.to_string()))
    }

    fn read(
        &self,
        doing: Doing,
        answer: azure_core::Result<azure_core::http::Response<KeyOperationResult>>,
    ) -> Result<KeyOperationResult, CryptoError> {
        let answer = answer.map_err(|error| self.fault(doing, &error))?;
        // What cannot be read may hold a key, and is not repeated.
        answer.into_model().map_err(|_| self.name.failed("its answer is not what it should be"))
    }

    fn client(&self, timeout: Duration) -> Result<KeyClient, CryptoError> {
        runtime::choose_tls();
        let mut http =
            reqwest::Client::builder().connect_timeout(CONNECT_WITHIN.min(timeout)).redirect(Policy::none());
        if let Some(address) = self.connect {
            http = http.resolve(&self.vault, address);
        }
        if let Some(path) = &self.ca_file {
            http = http.tls_certs_merge(self.certificates(path)?);
        }
        let http = http.build().map_err(|error| self.name.failed(error.to_string()))?;
        let options = ClientOptions {
            transport: Some(Transport::new(Arc::new(http))),
            // Tries are counted and timed here.
            retry: RetryOptions::none(),
            ..Default::default()
        };
        let credentials = self
            .credentials
            .find(options.clone())
            .map_err(|error| self.no_credentials(&error.to_string()))?;
        let options = KeyClientOptions { client_options: options, ..Default::default() };
        KeyClient::new(&format!("https://{}/", self.vault), credentials, Some(options))
            .map_err(|error| self.name.failed(error.to_string()))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "certificates are read before there is a database, and from outside of it"
    )]
    fn certificates(&self, path: &Path) -> Result<Vec<Certificate>, CryptoError> {
        let unusable = |why: String| self.name.unusable(format!("ca-file= {}: {why}", path.display()));
        let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
        match Certificate::from_pem_bundle(&pem) {
            Ok(certificates) if !certificates.is_empty() => Ok(certificates),
            _ => Err(unusable("there are no certificates in PEM in it".into())),
        }
    }
}
