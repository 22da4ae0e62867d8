//! Requests to Google Cloud KMS, from code that waits.

use std::time::Duration;

use google_cloud_gax::retry_policy::NeverRetry;
use google_cloud_kms_v1::client::KeyManagementService;
use lightning_db_crypto::{CryptoError, DatabaseId, ProviderName, Zeroizing};

use super::faults::Doing;
use crate::runtime;

/// How often what arrives damaged is asked for.
const TRIES: u32 = 3;

/// A key, and how to get at it.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) key: String,
    pub(super) endpoint: Option<String>,
    pub(super) name: ProviderName,
}

impl Place {
    /// Encrypts; also the name of the version that did it.
    pub(super) fn encrypt(
        &self,
        database: &DatabaseId,
        payload: &[u8],
        timeout: Duration,
    ) -> Result<(Vec<u8>, String), CryptoError> {
        let (place, bound, payload) = (self.clone(), bound_to(database), Zeroizing::new(payload.to_vec()));
        runtime::wait(&self.name, timeout, async move {
            let client = place.client().await?;
            for _ in 0..TRIES {
                let answer = runtime::persist(&place.name, timeout, || {
                    let request = client.encrypt().set_name(&place.key).set_plaintext(payload.to_vec());
                    let request = request
                        .set_plaintext_crc32c(checksum(&payload))
                        .set_additional_authenticated_data(bound.clone())
                        .set_additional_authenticated_data_crc32c(checksum(&bound));
                    let request = request.send();
                    async { request.await.map_err(|error| place.fault(Doing::Encrypt, &error)) }
                });
                let answer = answer.await?;
                let arrived = answer.verified_plaintext_crc32c
                    && answer.verified_additional_authenticated_data_crc32c
                    && answer.ciphertext_crc32c == Some(checksum(&answer.ciphertext));
                if !arrived || answer.ciphertext.is_empty() {
                    continue;
                }
                if !place.is_version(&answer.name) {
                    return Err(place.name.failed("another key encrypted than was asked"));
                }
                return Ok((answer.ciphertext.to_vec(), answer.name));
            }
            Err(place.damaged())
        })
    }

    /// Decrypts what [`encrypt`](Self::encrypt) gave for the same database.
    pub(super) fn decrypt(
        &self,
        database: &DatabaseId,
        bytes: &[u8],
        timeout: Duration,
    ) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let (place, bound, bytes) = (self.clone(), bound_to(database), bytes.to_vec());
        runtime::wait(&self.name, timeout, async move {
            let client = place.client().await?;
            for _ in 0..TRIES {
                let answer = runtime::persist(&place.name, timeout, || {
                    let request = client.decrypt().set_name(&place.key).set_ciphertext(bytes.clone());
                    let request = request
                        .set_ciphertext_crc32c(checksum(&bytes))
                        .set_additional_authenticated_data(bound.clone())
                        .set_additional_authenticated_data_crc32c(checksum(&bound));
                    let request = request.send();
                    async { request.await.map_err(|error| place.fault(Doing::Decrypt, &error)) }
                });
                let answer = answer.await?;
                let plaintext = Zeroizing::new(answer.plaintext.to_vec());
                if answer.plaintext_crc32c == Some(checksum(&plaintext)) {
                    return Ok(plaintext);
                }
            }
            Err(place.damaged())
        })
    }

    /// Whether this is a version of the key.
    pub(super) fn is_version(&self, name: &str) -> bool {
        let version = name.strip_prefix(&self.key).and_then(|rest| rest.strip_prefix("/cryptoKeyVersions/"));
        version.is_some_and(|version| !version.is_empty() && version.chars().all(|c| c.is_ascii_digit()))
    }

    async fn client(&self) -> Result<KeyManagementService, CryptoError> {
        runtime::choose_tls();
        // Tries are counted and timed here.
        let mut builder = KeyManagementService::builder().with_retry_policy(NeverRetry);
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        builder.build().await.map_err(|error| self.no_client(&error))
    }

    fn damaged(&self) -> CryptoError {
        self.name.unreachable(format!(
            "what went there or came back was damaged on the way {TRIES} times: its checksums do not fit"
        ))
    }
}

/// What the service authenticates along with the key. It is in the clear in its log of uses.
fn bound_to(database: &DatabaseId) -> Vec<u8> {
    format!("lightning_db key slot {database}").into_bytes()
}

fn checksum(bytes: &[u8]) -> i64 {
    crc32c::crc32c(bytes).into()
}
