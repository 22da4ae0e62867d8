//! A double of Google Cloud KMS: as much as shows what is asked of the service, and what comes of its failures. It proves
//! nothing about the service itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::support::between::{Action, Between, Request};
use crate::support::process;

/// A secret that must appear nowhere.
pub(crate) const SECRET: &str = "4711-refresh-token";
pub(crate) const TOKEN: &str = "4711-access-token";
pub(crate) const KEY: &str = "projects/p/locations/eu/keyRings/r/cryptoKeys/k";

const HEAD_LEN: usize = 4;

pub(crate) struct Double {
    /// Room for the test.
    pub(crate) folder: PathBuf,
    pub(crate) between: Arc<Between>,
    /// What was asked last, as the service would read it.
    pub(crate) asked: Arc<Mutex<Value>>,
}

/// Runs `body`, which is the test of this name, in a process with credentials that the double gives tokens for.
pub(crate) fn in_own_process(name: &str, body: impl FnOnce(&Double)) {
    let credentials = |folder: &Path| {
        vec![("GOOGLE_APPLICATION_CREDENTIALS", folder.join("adc.json").to_string_lossy().into_owned())]
    };
    process::with_folder(name, credentials, |folder| {
        let double = Double {
            folder: folder.into(),
            between: Arc::new(Between::alone(0, None)),
            asked: Arc::default(),
        };
        let credentials = json!({
            "type": "authorized_user",
            "client_id": "client",
            "client_secret": "4711-client-secret",
            "refresh_token": SECRET,
            "token_uri": format!("http://127.0.0.1:{}/token", double.between.port),
        });
        fs::write(folder.join("adc.json"), credentials.to_string()).expect("credentials");
        double.serve();
        body(&double);
    });
}

impl Double {
    pub(crate) fn uri(&self) -> String {
        self.uri_of(KEY)
    }

    pub(crate) fn uri_of(&self, key: &str) -> String {
        format!("gcpkms://{key}?endpoint=http://127.0.0.1:{}", self.between.port)
    }

    /// Does its work from now on.
    pub(crate) fn serve(&self) {
        self.answer(|_, honest| honest);
    }

    /// Does to each answer but those with tokens what `change` says, which is given what was asked and the honest answer.
    pub(crate) fn answer(&self, change: impl Fn(&Value, Action) -> Action + Send + Sync + 'static) {
        let asked = Arc::clone(&self.asked);
        self.between.set(move |request| {
            if request.head.starts_with("POST /token ") {
                assert!(String::from_utf8_lossy(&request.body).contains(SECRET));
                let token = json!({ "access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer" });
                return Action::Answer(200, token.to_string());
            }
            let (question, answer) = honest(request);
            *asked.lock().expect("a lock") = question.clone();
            change(&question, answer)
        });
    }
}

pub(crate) fn refusal(code: u16, status: &str, message: &str) -> Action {
    let error = json!({ "error": { "code": code, "status": status, "message": message } });
    Action::Answer(code, error.to_string())
}

/// What was asked, and what the service says to that.
fn honest(request: &Request) -> (Value, Action) {
    let head = request.head.to_ascii_lowercase();
    assert!(head.contains(&format!("authorization: bearer {TOKEN}")), "{head}");
    let mut asked: Value = serde_json::from_slice(&request.body).expect("JSON");
    let path = request.head.split(' ').nth(1).expect("a path");
    let (key, doing) = path
        .trim_start_matches("/v1/")
        .split(['?', '$'])
        .next()
        .and_then(|p| p.split_once(':'))
        .expect("a call");
    asked["name"] = key.into();
    asked["doing"] = doing.into();
    let bytes = |field: &str| {
        let bytes = BASE64.decode(asked[field].as_str().expect("bytes")).expect("base64");
        let checksum = asked[format!("{field}Crc32c")].as_str().expect("a checksum").to_owned();
        assert_eq!(checksum, crc32c::crc32c(&bytes).to_string(), "{field}");
        bytes
    };
    let bound = bytes("additionalAuthenticatedData");
    let masked = |bytes: &[u8]| bytes.iter().map(|byte| byte ^ 0x5a).collect::<Vec<u8>>();
    let tag = |plaintext: &[u8]| crc32c::crc32c(&[&bound, key.as_bytes(), plaintext].concat()).to_le_bytes();
    let answer = match doing {
        "encrypt" => {
            let plaintext = bytes("plaintext");
            let ciphertext = [&tag(&plaintext)[..], &masked(&plaintext)].concat();
            json!({
                "name": format!("{key}/cryptoKeyVersions/1"),
                "ciphertext": BASE64.encode(&ciphertext),
                "ciphertextCrc32c": crc32c::crc32c(&ciphertext).to_string(),
                "verifiedPlaintextCrc32c": true,
                "verifiedAdditionalAuthenticatedDataCrc32c": true,
            })
        }
        "decrypt" => {
            let ciphertext = bytes("ciphertext");
            let plaintext = masked(&ciphertext[HEAD_LEN..]);
            if tag(&plaintext) != ciphertext[..HEAD_LEN] {
                let message = "Decryption failed: the ciphertext is invalid.";
                return (asked, refusal(400, "INVALID_ARGUMENT", message));
            }
            plaintext_answer(&plaintext)
        }
        other => panic!("{other} is never asked"),
    };
    (asked, Action::Answer(200, answer.to_string()))
}

pub(crate) fn plaintext_answer(plaintext: &[u8]) -> Value {
    json!({
        "plaintext": BASE64.encode(plaintext),
        "plaintextCrc32c": crc32c::crc32c(plaintext).to_string(),
    })
}
