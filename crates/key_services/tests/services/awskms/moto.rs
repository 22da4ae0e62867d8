//! A server of moto's. Credentials come from the environment, so each test runs in a process that has some.

use std::cell::RefCell;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::process;
use crate::support::server::{Server, free_port, python_program};

/// A secret that must appear nowhere.
pub(crate) const SECRET: &str = "wJalr-4711-secret-access-key";

pub(crate) struct Moto {
    /// Room for the test.
    pub(crate) folder: PathBuf,
    pub(crate) port: u16,
    server: RefCell<Option<Server>>,
}

/// Runs `body`, which is the test of this name, in a process with credentials.
pub(crate) fn in_own_process(name: &str, body: impl FnOnce(&Moto)) {
    let variables = [
        ("AWS_ACCESS_KEY_ID", "AKIDTEST"),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_CONFIG_FILE", "/nonexistent"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent"),
    ];
    process::with(name, &variables, |folder| {
        let moto = Moto { folder: folder.into(), port: free_port(), server: RefCell::default() };
        moto.start_again();
        body(&moto);
    });
}

impl Moto {
    /// Starts it, with no key in it.
    pub(crate) fn start_again(&self) {
        let mut command = Command::new(python_program("moto_server"));
        command.args(["-H", "127.0.0.1", "-p", &self.port.to_string()]);
        let ready = || self.agent().get(format!("http://127.0.0.1:{}/moto-api/", self.port)).call().is_ok();
        let server = Server::start(&mut command, self.port, &self.folder.join("log"), ready);
        *self.server.borrow_mut() = Some(server);
    }

    pub(crate) fn stop(&self) {
        self.server.borrow_mut().as_mut().expect("it runs").stop();
    }

    /// A new key's ARN.
    pub(crate) fn make_key(&self) -> String {
        let made = self.call("CreateKey", &json!({}));
        made["KeyMetadata"]["Arn"].as_str().expect("an ARN").to_owned()
    }

    pub(crate) fn make_alias(&self, name: &str, key: &str) {
        self.call("CreateAlias", &json!({ "AliasName": name, "TargetKeyId": key }));
    }

    /// The URI of a key.
    pub(crate) fn uri(&self, key: &str) -> String {
        format!("awskms:{key}?region=eu-west-1&endpoint=http://127.0.0.1:{}", self.port)
    }

    /// Asks for an operation of the service.
    pub(crate) fn call(&self, operation: &str, body: &Value) -> Value {
        let scope = "AWS4-HMAC-SHA256 Credential=test/20260101/eu-west-1/kms/aws4_request, SignedHeaders=host, Signature=0";
        let request = self
            .agent()
            .post(format!("http://127.0.0.1:{}/", self.port))
            .header("Authorization", scope)
            .header("X-Amz-Target", format!("TrentService.{operation}"))
            .header("Content-Type", "application/x-amz-json-1.1");
        let mut answer =
            request.send(body.to_string()).unwrap_or_else(|error| panic!("{operation}: {error}"));
        serde_json::from_str(&answer.body_mut().read_to_string().expect("text")).expect("JSON")
    }

    fn agent(&self) -> ureq::Agent {
        ureq::Agent::config_builder().proxy(None).build().new_agent()
    }
}
