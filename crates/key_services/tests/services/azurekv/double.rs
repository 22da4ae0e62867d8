//! A double of Azure Key Vault and of who gives out its tokens: as much as shows what is asked of the service, and what
//! comes of its failures. It proves nothing about the service itself. The client refuses to speak without TLS, so it has a
//! certificate.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};

use crate::support::between::{Action, Between, Request};
use crate::support::process;

/// A secret that must appear nowhere.
pub(crate) const SECRET: &str = "4711-client-secret";
pub(crate) const TOKEN: &str = "4711-access-token";
pub(crate) const VAULT: &str = "lightning.vault.azure.net";
pub(crate) const VERSION: &str = "0123456789abcdef0123456789abcdef";
/// Made for this machine and this vault, and known before there is a server.
const PORT_FILE: &str = "port";
const HEAD_LEN: usize = 4;

pub(crate) struct Double {
    /// Room for the test.
    pub(crate) folder: PathBuf,
    pub(crate) between: Between,
    /// What was asked last.
    pub(crate) asked: Arc<Mutex<Value>>,
}

/// Runs `body`, which is the test of this name, in a process with credentials that the double gives tokens for.
pub(crate) fn in_own_process(name: &str, body: impl FnOnce(&Double)) {
    // The process that has the credentials also has the double, so it cannot be told the port from outside.
    let variables = |folder: &Path| {
        let port = crate::support::server::free_port();
        fs::write(folder.join(PORT_FILE), port.to_string()).expect("written");
        vec![
            ("AZURE_TENANT_ID", "tenant".to_owned()),
            ("AZURE_CLIENT_ID", "client".to_owned()),
            ("AZURE_CLIENT_SECRET", SECRET.to_owned()),
            ("AZURE_AUTHORITY_HOST", format!("https://localhost:{port}")),
        ]
    };
    process::with_folder(name, variables, |folder| {
        let port = fs::read_to_string(folder.join(PORT_FILE)).expect("read").parse().expect("a port");
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed([VAULT.to_owned(), "localhost".to_owned()]).expect("a certificate");
        fs::write(folder.join("ca.pem"), cert.pem()).expect("written");
        let private = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
        let tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], private)
            .expect("a certificate");
        let between = Between::alone(port, Some(Arc::new(tls)));
        let double = Double { folder: folder.into(), between, asked: Arc::default() };
        double.serve();
        body(&double);
    });
}

impl Double {
    pub(crate) fn uri(&self) -> String {
        self.uri_of("lightning")
    }

    pub(crate) fn uri_of(&self, key: &str) -> String {
        let ca = self.folder.join("ca.pem");
        format!(
            "azurekv://{VAULT}/keys/{key}?connect=127.0.0.1:{}&ca-file={}",
            self.between.port,
            ca.display()
        )
    }

    /// Does its work from now on.
    pub(crate) fn serve(&self) {
        self.answer(|honest| honest);
    }

    /// Does to each answer to whoever brought a token what `change` says.
    pub(crate) fn answer(&self, change: impl Fn(Action) -> Action + Send + Sync + 'static) {
        let asked = Arc::clone(&self.asked);
        self.between.set(move |request| {
            let head = request.head.to_ascii_lowercase();
            if head.starts_with("post /tenant/oauth2/v2.0/token ") {
                let body = String::from_utf8_lossy(&request.body);
                assert!(body.contains(SECRET) && body.contains("vault.azure.net%2F.default"), "{body}");
                let token = json!({ "access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer" });
                return Action::Answer(200, token.to_string());
            }
            assert!(head.contains(&format!("host: {VAULT}")), "{head}");
            if !head.contains("authorization:") {
                assert!(request.body.is_empty(), "a key goes to nobody who was not asked who he is");
                return Action::Challenge(CHALLENGE.into());
            }
            assert!(head.contains(&format!("authorization: bearer {TOKEN}")), "{head}");
            let (question, answer) = honest(request);
            *asked.lock().expect("a lock") = question;
            change(answer)
        });
    }

    /// Asks whoever comes for a token like this, and says no more.
    pub(crate) fn challenge(&self, how: &'static str) {
        self.between.set(move |request| {
            assert!(request.body.is_empty(), "no token, and so no key, was to be sent");
            Action::Challenge(how.into())
        });
    }
}

const CHALLENGE: &str =
    r#"Bearer authorization="https://login.example/tenant", resource="https://vault.azure.net""#;

pub(crate) fn refusal(status: u16, code: &str, inner: &str, message: &str) -> Action {
    let error = json!({ "error": { "code": code, "message": message, "innererror": { "code": inner } } });
    Action::Answer(status, error.to_string())
}

pub(crate) fn value_answer(version: &str, value: &[u8]) -> Action {
    let kid = format!("https://{VAULT}/keys/lightning/{version}");
    Action::Answer(200, json!({ "kid": kid, "value": BASE64.encode(value) }).to_string())
}

/// What was asked, and what the service says to that.
fn honest(request: &Request) -> (Value, Action) {
    let path = request.head.split(' ').nth(1).expect("a path");
    let mut asked: Value = serde_json::from_slice(&request.body).expect("JSON");
    asked["path"] = path.into();
    let value = BASE64.decode(asked["value"].as_str().expect("a value")).expect("base64");
    let parts: Vec<&str> = path.split('?').next().expect("a path").split('/').collect();
    let masked = |bytes: &[u8]| bytes.iter().map(|byte| byte ^ 0x5a).collect::<Vec<u8>>();
    let answer = match parts[..] {
        ["", "keys", "lightning", "" | VERSION, "wrapkey"] | ["", "keys", "lightning", "wrapkey"] => {
            value_answer(VERSION, &[&crc32c::crc32c(&value).to_le_bytes()[..], &masked(&value)].concat())
        }
        ["", "keys", "lightning", VERSION, "unwrapkey"] => {
            let payload = masked(value.get(HEAD_LEN..).unwrap_or_default());
            if value.get(..HEAD_LEN) == Some(&crc32c::crc32c(&payload).to_le_bytes()) {
                value_answer(VERSION, &payload)
            } else {
                refusal(400, "BadParameter", "", "The parameter is incorrect.")
            }
        }
        _ => refusal(404, "KeyNotFound", "", "A key with (name/id) was not found in this key vault."),
    };
    (asked, answer)
}
