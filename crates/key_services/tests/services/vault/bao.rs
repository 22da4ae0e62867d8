//! A server of OpenBao's with a transit engine and a key.

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::support::secret_file;
use crate::support::server::{Server, free_port, python_program};

const ROOT: &str = "root-of-the-test";

/// A server, a folder for the test, and a file with a token that may do everything.
pub(crate) struct Bao {
    pub(crate) folder: TempDir,
    pub(crate) port: u16,
    pub(crate) token_file: PathBuf,
    root: RefCell<String>,
    unseal_key: String,
    ca_file: Option<PathBuf>,
    server: Option<Server>,
}

impl Bao {
    /// A server that keeps everything in memory.
    pub(crate) fn start() -> Self {
        let mut bao = Self::new();
        let (root, address) =
            (format!("-dev-root-token-id={ROOT}"), format!("-dev-listen-address=127.0.0.1:{}", bao.port));
        bao.launch(&["-dev", "-dev-no-store-token", &root, &address]);
        bao.furnish();
        bao
    }

    /// As [`start`](Self::start), over TLS.
    pub(crate) fn start_with_tls() -> Self {
        let mut bao = Self::new();
        let (root, address) =
            (format!("-dev-root-token-id={ROOT}"), format!("-dev-listen-address=127.0.0.1:{}", bao.port));
        let certificates = format!("-dev-tls-cert-dir={}", bao.folder.path().display());
        bao.ca_file = Some(bao.folder.path().join("vault-ca.pem"));
        bao.launch(&["-dev", "-dev-tls", &certificates, "-dev-no-store-token", &root, &address]);
        bao.furnish();
        bao
    }

    /// A server that keeps its data in files, so that it can be stopped and started again.
    pub(crate) fn start_durable() -> Self {
        let mut bao = Self::new();
        let (data, cluster) = (bao.folder.path().join("data"), free_port());
        fs::create_dir(&data).expect("a folder");
        let text = format!(
            "storage \"raft\" {{\n path = {data:?}\n node_id = \"one\"\n}}\n\
             listener \"tcp\" {{\n address = \"127.0.0.1:{port}\"\n cluster_address = \"127.0.0.1:{cluster}\"\n tls_disable = true\n}}\n\
             api_addr = \"http://127.0.0.1:{port}\"\ncluster_addr = \"http://127.0.0.1:{cluster}\"\n",
            port = bao.port,
        );
        fs::write(bao.folder.path().join("bao.hcl"), text).expect("written");
        bao.start_again();
        let first = bao.ask("PUT", "sys/init", Some(&json!({ "secret_shares": 1, "secret_threshold": 1 })));
        let first = first.expect("initialized");
        bao.unseal_key = first["keys"][0].as_str().expect("a key").to_owned();
        *bao.root.borrow_mut() = first["root_token"].as_str().expect("a token").to_owned();
        bao.unseal();
        bao.furnish();
        bao
    }

    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self {
            port: free_port(),
            token_file: folder.path().join("token"),
            folder,
            root: RefCell::new(ROOT.into()),
            unseal_key: String::new(),
            ca_file: None,
            server: None,
        }
    }

    fn launch(&mut self, arguments: &[&str]) {
        let mut command = Command::new(python_program("bao"));
        command.arg("server").args(arguments).env("HOME", self.folder.path());
        let log = self.folder.path().join("log");
        // 501: not initialized, 503: sealed. It answers, which is enough.
        let ready = || self.ca_file.is_some() || self.health() != 0;
        self.server = Some(Server::start(&mut command, self.port, &log, ready));
    }

    /// An engine and a key in it.
    fn furnish(&self) {
        let began = std::time::Instant::now();
        while self.health() != 200 {
            assert!(began.elapsed().as_secs() < 60, "it does not become active");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        self.post("sys/mounts/transit", &json!({ "type": "transit" }));
        self.post("transit/keys/lightning", &json!({ "type": "aes256-gcm96", "derived": true }));
        secret_file(&self.token_file, &format!("{}\n", self.root.borrow()));
    }

    pub(crate) fn stop(&mut self) {
        self.server.as_mut().expect("it runs").stop();
    }

    /// Starts a durable server; it is sealed.
    pub(crate) fn start_again(&mut self) {
        let configuration = format!("-config={}", self.folder.path().join("bao.hcl").display());
        self.launch(&[&configuration]);
    }

    pub(crate) fn unseal(&self) {
        self.ask("PUT", "sys/unseal", Some(&json!({ "key": self.unseal_key }))).expect("unsealed");
        while self.health() != 200 {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    /// The URI of a key in the engine.
    pub(crate) fn uri(&self, key: &str) -> String {
        self.uri_of(&format!("transit/{key}"))
    }

    /// The URI of a key anywhere.
    pub(crate) fn uri_of(&self, path: &str) -> String {
        let ca = self.ca_file.as_ref().map(|path| format!("&ca-file={}", path.display())).unwrap_or_default();
        format!("vault:{path}?address={}&token-file={}{ca}", self.address(), self.token_file.display())
    }

    /// A policy by the key's name that allows what a database needs.
    pub(crate) fn allow_this_key_only(&self) {
        let rule = |path: &str, may: &str| {
            format!("path \"transit/{path}/lightning\" {{ capabilities = [\"{may}\"] }}\n")
        };
        let policy = [rule("keys", "read"), rule("encrypt", "update"), rule("decrypt", "update")].concat();
        self.post("sys/policies/acl/lightning", &json!({ "policy": policy }));
    }

    /// A new token.
    pub(crate) fn token(&self, what: &Value) -> String {
        let answer = self.ask("POST", "auth/token/create", Some(what)).expect("a token");
        answer["auth"]["client_token"].as_str().expect("a token").to_owned()
    }

    pub(crate) fn post(&self, path: &str, body: &Value) {
        self.ask("POST", path, Some(body)).unwrap_or_else(|| panic!("{path} was refused"));
    }

    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        self.ask("GET", path, None)
    }

    pub(crate) fn delete(&self, path: &str) {
        self.ask("DELETE", path, None).expect("deleted");
    }

    fn address(&self) -> String {
        format!("http{}://127.0.0.1:{}", if self.ca_file.is_some() { "s" } else { "" }, self.port)
    }

    fn agent(&self) -> ureq::Agent {
        let mut config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None);
        if let Some(path) = &self.ca_file {
            let certificate = Certificate::from_pem(&fs::read(path).expect("a certificate")).expect("in PEM");
            config = config.tls_config(
                TlsConfig::builder().root_certs(RootCerts::new_with_certs(&[certificate])).build(),
            );
        }
        config.build().new_agent()
    }

    fn health(&self) -> u16 {
        let answer = self.agent().get(format!("{}/v1/sys/health", self.address())).call();
        answer.map_or(0, |answer| answer.status().as_u16())
    }

    /// What the server answers; nothing if it refuses.
    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Option<Value> {
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}/v1/{path}", self.address()))
            .header("X-Vault-Token", &*self.root.borrow())
            .body(body.map(Value::to_string).unwrap_or_default())
            .expect("a request");
        let mut answer = self.agent().run(request).expect("an answer");
        let text = answer.body_mut().read_to_string().expect("text");
        answer.status().is_success().then(|| serde_json::from_str(&text).unwrap_or_default())
    }
}
