//! Requests to a Vault or OpenBao server.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use lightning_db_crypto::{CryptoError, ProviderName, SecretPlace, Zeroizing};
use serde::Deserialize;
use serde_json::Value;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

const MAX_ANSWER_LEN: usize = 64 * 1024;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A server, and how to get in.
pub(super) struct Client {
    pub(super) address: String,
    pub(super) is_local: bool,
    pub(super) token: SecretPlace,
    pub(super) namespace: Option<String>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) name: ProviderName,
}

/// What a server said.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Zeroizing<Vec<u8>>,
}

impl Client {
    /// Reads what is at `path`.
    pub(super) fn get(&self, path: &str, deadline: Instant) -> Result<Value, CryptoError> {
        let answer = self.ask(path, None, deadline)?;
        serde_json::from_slice(&answer.body).map_err(|_| self.name.failed("its answer is not JSON"))
    }

    /// Sends `body` to `path`.
    pub(super) fn post(&self, path: &str, body: &[u8], deadline: Instant) -> Result<Answer, CryptoError> {
        self.ask(path, Some(body), deadline)
    }

    /// A field of an answer's data. It is not copied: it may be a key.
    pub(super) fn text<'a>(&self, answer: &'a Answer, field: &str) -> Result<&'a str, CryptoError> {
        #[derive(Deserialize)]
        struct Envelope<'a> {
            #[serde(borrow)]
            data: Data<'a>,
        }
        #[derive(Deserialize)]
        struct Data<'a> {
            #[serde(borrow, default)]
            plaintext: Option<&'a str>,
            #[serde(borrow, default)]
            ciphertext: Option<&'a str>,
        }
        let envelope: Result<Envelope<'a>, _> = serde_json::from_slice(&answer.body);
        let data = envelope.map_err(|_| self.name.failed("its answer has another form"))?.data;
        let text = if field == "plaintext" { data.plaintext } else { data.ciphertext };
        text.ok_or_else(|| self.name.failed(format!("its answer has no {field}")))
    }

    /// Makes a token last that would soon end. What fails here is told by the next use of the token.
    pub(super) fn renew_token(&self, deadline: Instant) {
        // Its policy need not allow this.
        let Ok(answer) = self.get("auth/token/lookup-self", deadline) else { return };
        let data = &answer["data"];
        let (ttl, whole) = (data["ttl"].as_u64().unwrap_or(0), data["creation_ttl"].as_u64().unwrap_or(0));
        if data["renewable"] != Value::Bool(true) || ttl >= whole / 2 {
            return;
        }
        match self.post("auth/token/renew-self", b"{}", deadline) {
            Ok(_) => tracing::debug!(provider = %self.name, "the token was renewed"),
            Err(error) => tracing::warn!(%error, "the token could not be renewed"),
        }
    }

    /// Asks until there is an answer that is not "later", or the time is over.
    fn ask(&self, path: &str, body: Option<&[u8]>, deadline: Instant) -> Result<Answer, CryptoError> {
        let token = self.token.read()?;
        let agent = self.agent()?;
        let mut pause = FIRST_PAUSE;
        loop {
            let outcome = self.try_once(&agent, path, body, &token, deadline);
            let error = match outcome {
                Ok(answer) if answer.status < 300 => return Ok(answer),
                Ok(answer) if !answer.is_passing() => return Err(self.refusal(&answer)),
                Ok(answer) => self.refusal(&answer),
                Err(error) => error,
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left <= pause {
                return Err(error);
            }
            tracing::debug!(%error, "a request is tried again");
            thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn try_once(
        &self,
        agent: &ureq::Agent,
        path: &str,
        body: Option<&[u8]>,
        token: &str,
        deadline: Instant,
    ) -> Result<Answer, CryptoError> {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let url = format!("{}/v1/{path}", self.address);
        let lost = |error: ureq::Error| self.name.unreachable(error.to_string());
        let mut headers = vec![("X-Vault-Token", token), ("X-Vault-Request", "true")];
        headers.extend(self.namespace.as_deref().map(|namespace| ("X-Vault-Namespace", namespace)));
        let response = match body {
            None => {
                let request = headers
                    .iter()
                    .fold(agent.get(&url), |request, (name, value)| request.header(*name, *value));
                request.config().timeout_global(Some(left)).build().call()
            }
            Some(body) => {
                let request = headers
                    .iter()
                    .fold(agent.post(&url), |request, (name, value)| request.header(*name, *value));
                request
                    .config()
                    .timeout_global(Some(left))
                    .build()
                    .content_type("application/json")
                    .send(body)
            }
        };
        let mut response = response.map_err(lost)?;
        let status = response.status().as_u16();
        let mut content = Zeroizing::new(Vec::with_capacity(MAX_ANSWER_LEN + 1));
        let reader = response.body_mut().as_reader();
        let read = reader.take(MAX_ANSWER_LEN as u64 + 1).read_to_end(&mut content);
        read.map_err(|error| self.name.unreachable(error.to_string()))?;
        if content.len() > MAX_ANSWER_LEN {
            return Err(self.name.failed("its answer is too long"));
        }
        Ok(Answer { status, body: content })
    }

    fn agent(&self) -> Result<ureq::Agent, CryptoError> {
        let roots = match &self.ca_file {
            None => RootCerts::PlatformVerifier,
            Some(path) => {
                let pem = read_certificates(path)?;
                let certificates = parse_pem(&pem).filter_map(|item| match item {
                    Ok(PemItem::Certificate(certificate)) => Some(certificate),
                    _ => None,
                });
                RootCerts::new_with_certs(&certificates.collect::<Vec<_>>())
            }
        };
        let mut config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            // A redirection would take the token to another server.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .tls_config(TlsConfig::builder().root_certs(roots).build());
        if self.is_local {
            config = config.proxy(None);
        }
        Ok(config.build().new_agent())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "certificates are read before there is a database, and from outside of it"
)]
fn read_certificates(path: &Path) -> Result<Vec<u8>, CryptoError> {
    std::fs::read(path).map_err(|source| CryptoError::Io { path: path.into(), source })
}
