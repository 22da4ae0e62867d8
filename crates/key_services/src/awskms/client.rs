//! Requests to AWS KMS, from code that waits.

use std::fmt;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_kms::Client;
use aws_sdk_kms::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_kms::config::{Builder as KmsConfig, ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_kms::error::BoxError;
use aws_sdk_kms::primitives::Blob;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use lightning_db_crypto::{CryptoError, DatabaseId, ProviderName, Zeroizing};

use crate::{address, runtime};

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// More than fit into any time-out, which is what ends them.
const MAX_TRIES: u32 = 200;
/// Parts of the encryption context. They are in the service's log of uses.
const DATABASE: &str = "lightning_db:database";
const PURPOSE: (&str, &str) = ("lightning_db:purpose", "key slot");

/// Looks at where a request is about to go. The endpoint may come from the URI, which was looked at, or from AWS_ENDPOINT_URL
/// and its like, which somebody may have set for another service.
#[derive(Debug)]
struct WhereKeysMayGo;

/// A request was not sent, because of where it would have gone.
#[derive(Debug)]
pub(super) struct Misdirected {
    pub(super) endpoint: String,
    pub(super) reason: &'static str,
}

impl fmt::Display for Misdirected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.endpoint, self.reason)
    }
}

impl std::error::Error for Misdirected {}

impl Intercept for WhereKeysMayGo {
    fn name(&self) -> &'static str {
        "WhereKeysMayGo"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let endpoint = context.request().uri();
        let misdirected = |reason| Misdirected { endpoint: endpoint.to_owned(), reason };
        address::host(endpoint).map(drop).map_err(|reason| misdirected(reason).into())
    }
}

/// A key, and how to get at it.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) key: String,
    pub(super) region: Option<String>,
    pub(super) endpoint: Option<String>,
    pub(super) profile: Option<String>,
    pub(super) name: ProviderName,
}

impl Place {
    /// Encrypts; also the ARN of the key that did it.
    pub(super) fn encrypt(
        &self,
        database: &DatabaseId,
        payload: &[u8],
        timeout: Duration,
    ) -> Result<(Vec<u8>, String), CryptoError> {
        let (place, database, payload) =
            (self.clone(), database.to_string(), Zeroizing::new(payload.to_vec()));
        runtime::wait(&self.name, timeout, async move {
            let request = place
                .client(timeout)
                .await
                .encrypt()
                .key_id(&place.key)
                .plaintext(Blob::new(payload.to_vec()));
            let request =
                request.encryption_context(DATABASE, database).encryption_context(PURPOSE.0, PURPOSE.1);
            let answer = request.send().await.map_err(|error| place.fault(&error))?;
            match (answer.ciphertext_blob, answer.key_id) {
                (Some(bytes), Some(arn)) => Ok((bytes.into_inner(), arn)),
                _ => Err(place.name.failed("its answer has no ciphertext or no key")),
            }
        })
    }

    /// Decrypts what [`encrypt`](Self::encrypt) gave for the same database.
    pub(super) fn decrypt(
        &self,
        database: &DatabaseId,
        bytes: &[u8],
        timeout: Duration,
    ) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let (place, database, bytes) = (self.clone(), database.to_string(), bytes.to_vec());
        runtime::wait(&self.name, timeout, async move {
            let request =
                place.client(timeout).await.decrypt().key_id(&place.key).ciphertext_blob(Blob::new(bytes));
            let request =
                request.encryption_context(DATABASE, database).encryption_context(PURPOSE.0, PURPOSE.1);
            let answer = request.send().await.map_err(|error| place.fault(&error))?;
            let plaintext =
                answer.plaintext.ok_or_else(|| place.name.failed("its answer has no plaintext"))?;
            Ok(Zeroizing::new(plaintext.into_inner()))
        })
    }

    async fn client(&self, timeout: Duration) -> Client {
        let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring));
        // One try must leave time for another.
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_WITHIN.min(timeout))
            .operation_attempt_timeout(timeout / 2)
            .operation_timeout(timeout)
            .build();
        let retries = RetryConfig::standard()
            .with_max_attempts(MAX_TRIES)
            .with_initial_backoff(FIRST_PAUSE)
            .with_max_backoff(LONGEST_PAUSE);
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http.build_https())
            .timeout_config(timeouts)
            .retry_config(retries);
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(endpoint) = &self.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        if let Some(profile) = &self.profile {
            loader = loader.profile_name(profile);
        }
        Client::from_conf(KmsConfig::from(&loader.load().await).interceptor(WhereKeysMayGo).build())
    }
}
