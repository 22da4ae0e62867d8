//! A server of PyKMIP's, and certificates for it and two users.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::support::server::{Server, free_port, python_program};
use crate::support::{run, secret_file};

/// A server, and a folder for the test.
pub(crate) struct Kmip {
    pub(crate) folder: TempDir,
    pub(crate) port: u16,
    server: RefCell<Option<Server>>,
}

impl Kmip {
    pub(crate) fn start() -> Self {
        let kmip = Self {
            folder: tempfile::tempdir().expect("a folder"),
            port: free_port(),
            server: RefCell::default(),
        };
        let ca = authority(kmip.path(), "ca");
        certify(kmip.path(), &ca, "server", ExtendedKeyUsagePurpose::ServerAuth);
        certify(kmip.path(), &ca, "alice", ExtendedKeyUsagePurpose::ClientAuth);
        certify(kmip.path(), &ca, "mallory", ExtendedKeyUsagePurpose::ClientAuth);
        let stranger = authority(kmip.path(), "stranger-ca");
        certify(kmip.path(), &stranger, "stranger", ExtendedKeyUsagePurpose::ClientAuth);
        fs::create_dir(kmip.path().join("policy")).expect("a folder");
        let folder = kmip.path().display();
        let text = format!(
            "[server]\nhostname=127.0.0.1\nport={}\ncertificate_path={folder}/server.pem\nkey_path={folder}/server.key\n\
             ca_path={folder}/ca.pem\nauth_suite=TLS1.2\npolicy_path={folder}/policy\nenable_tls_client_auth=True\n\
             logging_level=ERROR\ndatabase_path={folder}/pykmip.db\n",
            kmip.port
        );
        fs::write(kmip.path().join("server.conf"), text).expect("written");
        kmip.start_again();
        kmip
    }

    /// Starts it with the keys that it had.
    pub(crate) fn start_again(&self) {
        let mut command = Command::new(python_program("pykmip-server"));
        command.arg("-f").arg(self.path().join("server.conf")).arg("-l").arg(self.path().join("server.log"));
        *self.server.borrow_mut() =
            Some(Server::start(&mut command, self.port, &self.path().join("log"), || true));
    }

    pub(crate) fn stop(&self) {
        self.server.borrow_mut().as_mut().expect("it runs").stop();
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A new active key of Alice's.
    pub(crate) fn make_key(&self) -> String {
        let id = self.manage("make", "256");
        self.manage("activate", &id);
        id
    }

    /// Does something to a key in Alice's name.
    pub(crate) fn manage(&self, what: &str, argument: &str) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/services/kmip/manage.py");
        let mut command = Command::new(python_program("python"));
        command.arg(script).arg(self.path()).args([&self.port.to_string(), "alice", what, argument]);
        String::from_utf8_lossy(&run(&mut command).stdout).trim().to_owned()
    }

    /// The URI of a key, asked for by Alice.
    pub(crate) fn uri(&self, id: &str) -> String {
        self.uri_by("alice", id)
    }

    /// The URI of a key, asked for by somebody.
    pub(crate) fn uri_by(&self, user: &str, id: &str) -> String {
        let folder = self.path().display();
        format!(
            "kmip:{id}?server=127.0.0.1:{}&ca-file={folder}/ca.pem&cert-file={folder}/{user}.pem&key-file={folder}/{user}.key",
            self.port
        )
    }

    pub(crate) fn key_file(&self) -> PathBuf {
        self.path().join("alice.key")
    }
}

fn authority(folder: &Path, name: &str) -> Issuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().expect("a key");
    fs::write(folder.join(format!("{name}.pem")), params.self_signed(&key).expect("signed").pem())
        .expect("written");
    Issuer::new(params, key)
}

fn certify(folder: &Path, issuer: &Issuer<'_, KeyPair>, name: &str, usage: ExtendedKeyUsagePurpose) {
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![usage];
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, issuer).expect("signed");
    fs::write(folder.join(format!("{name}.pem")), certificate.pem()).expect("written");
    secret_file(&folder.join(format!("{name}.key")), &key.serialize_pem());
}
