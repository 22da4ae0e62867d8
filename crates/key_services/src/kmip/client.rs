//! Requests to a KMIP server.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use kmip_protocol::types::common::{AttributeName, AttributeValue, KeyMaterial, State, UniqueIdentifier};
use kmip_protocol::types::request::RequestPayload;
use kmip_protocol::types::response::{ManagedObject, ResponsePayload, ResultReason};
use lightning_db_crypto::{CryptoError, ProviderName, SecretKey, SecretPlace, Zeroizing, presentable};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::wire::{self, Bounded, Failure};

/// A private key may stand between the certificates that go with it.
const MAX_PEM_LEN: usize = 64 << 10;

/// A key, and how to get at it.
pub(super) struct Place {
    pub(super) id: String,
    pub(super) server: String,
    pub(super) host: ServerName<'static>,
    pub(super) ca_file: PathBuf,
    pub(super) cert_file: PathBuf,
    pub(super) key: SecretPlace,
    pub(super) name: ProviderName,
}

impl Place {
    /// The key, if it is active.
    pub(super) fn fetch(&self, deadline: Instant) -> Result<SecretKey, CryptoError> {
        let mut connection = self.connect(deadline)?;
        let mut ask =
            |payload| wire::exchange(&mut connection, payload).map_err(|failure| self.fault(failure));
        let id = Some(UniqueIdentifier(self.id.clone()));
        let state = vec![AttributeName("State".into())];
        let ResponsePayload::GetAttributes(attributes) =
            ask(RequestPayload::GetAttributes(id.clone(), Some(state)))?
        else {
            return Err(self.name.failed("it answered something else than it was asked"));
        };
        let mut states =
            attributes.attributes.into_iter().flatten().filter_map(|attribute| match attribute.value {
                AttributeValue::State(state) => Some(state),
                _ => None,
            });
        match states.next() {
            Some(State::Active) => {}
            Some(state) => {
                let reason = format!("its state is {state}: activate it, or use another one");
                return Err(self.name.disabled(reason));
            }
            None => return Err(self.name.failed("it does not tell the key's state")),
        }
        let ResponsePayload::Get(answer) = ask(RequestPayload::Get(id, None, None, None))? else {
            return Err(self.name.failed("it answered something else than it was asked"));
        };
        let ManagedObject::SymmetricKey(key) = answer.cryptographic_object else {
            return Err(self.name.unusable("it is no symmetric key"));
        };
        let material = match key.key_block.key_value.key_material {
            KeyMaterial::Bytes(bytes) => Zeroizing::new(bytes),
            KeyMaterial::TransparentSymmetricKey(key) => Zeroizing::new(key.key),
            _ => return Err(self.name.unusable("it has a form that is not known")),
        };
        SecretKey::from_slice(&material).ok_or_else(|| {
            self.name.unusable(format!("it has {} bytes: make an AES key of 256 bits", material.len()))
        })
    }

    fn connect(&self, deadline: Instant) -> Result<StreamOwned<ClientConnection, Bounded>, CryptoError> {
        let config = self.configure()?;
        let lost = |error: io::Error| self.name.unreachable(error.to_string());
        let left = || deadline.saturating_duration_since(Instant::now());
        let mut refused = None;
        let stream = self.resolve(left())?.into_iter().find_map(|address| {
            // A time-out of zero is none.
            let left = left().max(Duration::from_millis(1));
            TcpStream::connect_timeout(&address, left).map_err(|error| refused = Some(error)).ok()
        });
        let stream = stream.ok_or_else(|| match refused {
            Some(error) => lost(error),
            None => self.name.unreachable("its name has no address"),
        })?;
        let connection = ClientConnection::new(Arc::new(config), self.host.clone());
        let connection = connection.map_err(|error| self.name.failed(error.to_string()))?;
        let mut stream = StreamOwned::new(connection, Bounded { stream, deadline });
        // Whoever answers is known before anything is asked.
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).map_err(|error| self.fault_of_tls(&error))?;
        }
        Ok(stream)
    }

    /// The server's addresses. The system's resolver has time limits of its own, which are not ours.
    fn resolve(&self, left: Duration) -> Result<Vec<SocketAddr>, CryptoError> {
        let (sender, receiver) = mpsc::channel();
        let server = self.server.clone();
        let resolver = thread::Builder::new().name("lightning-kmip".into());
        let started = resolver.spawn(move || {
            // Nobody listens any more if it took too long.
            sender.send(server.to_socket_addrs().map(Vec::from_iter)).ok();
        });
        started.map_err(|error| self.name.failed(format!("no thread could be started: {error}")))?;
        let found = receiver
            .recv_timeout(left)
            .map_err(|_| self.name.unreachable("its name was not resolved in time"))?;
        found.map_err(|error| self.name.unreachable(error.to_string()))
    }

    fn configure(&self) -> Result<ClientConfig, CryptoError> {
        let invalid = |path: &dyn std::fmt::Display, reason: &str| CryptoError::InvalidKey {
            source_name: format!("{path}"),
            reason: reason.into(),
        };
        let mut roots = RootCertStore::empty();
        let (trusted, _) = roots.add_parsable_certificates(certificates(&self.ca_file)?);
        if trusted == 0 {
            return Err(invalid(&self.ca_file.display(), "it holds no certificate in PEM"));
        }
        let key = self.key.read_up_to(MAX_PEM_LEN)?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|_| invalid(&self.key, "it holds no private key in PEM"))?;
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| self.name.failed(error.to_string()))?
            .with_root_certificates(roots)
            .with_client_auth_cert(certificates(&self.cert_file)?, key)
            .map_err(|error| {
                invalid(&self.cert_file.display(), &format!("it does not go with the key: {error}"))
            })
    }

    fn fault_of_tls(&self, error: &io::Error) -> CryptoError {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::AlertReceived(alert)) => self
                .name
                .refused(format!("it does not take this client's certificate ({alert:?}): see cert-file=")),
            Some(error) => {
                self.name.unreachable(format!("it is not the server that ca-file= vouches for: {error}"))
            }
            None if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
                self.name.unreachable(format!(
                    "{error}; it may not take this client's certificate, then see cert-file="
                ))
            }
            None => self.name.unreachable(error.to_string()),
        }
    }

    fn fault(&self, failure: Failure) -> CryptoError {
        let (reason, words) = match failure {
            Failure::Connection(error) => return self.fault_of_tls(&error),
            Failure::Form(reason) => return self.name.failed(reason),
            Failure::Refused(reason, words) => (reason, words),
        };
        let words = presentable(&words);
        match reason {
            Some(ResultReason::ItemNotFound) => self.name.no_such_key(format!("{words}; see the identifier")),
            Some(ResultReason::PermissionDenied | ResultReason::AuthenticationNotSuccessful) => self
                .name
                .refused(format!("{words}; see whose key it is, and whose certificate cert-file= is")),
            Some(ResultReason::ObjectArchived) => self.name.disabled(format!("{words}; recover it")),
            _ => self.name.failed(words),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "certificates are read before there is a database, and from outside of it"
)]
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CryptoError> {
    let pem = std::fs::read(path).map_err(|source| CryptoError::Io { path: path.into(), source })?;
    CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|_| CryptoError::InvalidKey {
        source_name: path.display().to_string(),
        reason: "it holds something else than certificates in PEM".into(),
    })
}
