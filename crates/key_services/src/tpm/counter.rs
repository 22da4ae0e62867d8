//! A counter in a TPM that remembers how far a database had got: nobody can put it back, not even who may count it up.
//!
//! Two indexes of its non-volatile memory make it. At the handle that is given stands the counter, which starts higher than
//! any other that the TPM ever had. At the next one stands its base, which only the TPM's owner can write: of which database,
//! and at which generation, the counter had which value. Big-endian, as all of TPM 2.0:
//!
//! ```text
//! 0   magic "LDBCOUNT"
//! 8   database id [16]
//! 24  generation u64
//! 32  counter u64
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lightning_db::{FreshnessAnchor, FreshnessMark, SequenceNumber};
use lightning_db_crypto::{CryptoError, ProviderName, SecretPlace, ServiceUri, UriGrammar};
use tss_esapi::attributes::NvIndexAttributesBuilder;
use tss_esapi::constants::{NvIndexType, SessionType};
use tss_esapi::handles::{NvIndexHandle, NvIndexTpmHandle, ObjectHandle, TpmHandle};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::resource_handles::{NvAuth, Provision};
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{Auth, MaxNvBuffer, NvPublic, NvPublicBuilder, SymmetricDefinition};
use tss_esapi::{Context, Error, TctiNameConf};

use super::{faults, handle_of, read_secret, tcti_of};

const GRAMMAR: UriGrammar = UriGrammar {
    scheme: "tpm-counter",
    attributes: &[],
    parameters: &["owner-source", "tcti"],
    refused: &[("owner", "others can see it in a URI; put it into a file and give owner-source=file:PATH")],
    example: "tpm-counter:0x01800100?owner-source=file:PATH&tcti=device:/dev/tpmrm0",
};

/// The handles that are left to the owner of a machine, but for the last, which has none behind it.
const HANDLES: std::ops::Range<u32> = 0x0180_0000..0x01bf_ffff;
/// The most steps that are counted, each of which the TPM may take a tenth of a second for; beyond, a counter is begun anew.
const MAX_STEPS: u64 = 64;

/// Who uses a counter, by how its TPM is reached and its handle. What it did not do in time may go on, also when its database
/// was closed and opened again meanwhile, and two that count at once would count too far.
static TURNS: Mutex<BTreeMap<(String, u32), Turn>> = Mutex::new(BTreeMap::new());

/// Held by who uses the counter.
type Turn = Arc<Mutex<()>>;

const MAGIC: &[u8; 8] = b"LDBCOUNT";
const BASE_LEN: usize = 40;
const COUNTER_LEN: usize = 8;

/// Remembers in a TPM 2.0 how far a database had got, so that a directory that was put back is noticed.
///
/// Counting up needs no authorization; to begin a counter and to remove one needs that of the TPM's owner, which need not be
/// there afterwards. While it is empty, whoever reaches the TPM can begin the counter anew: give the owner one
/// (`tpm2_changeauth -c owner`), and give it here for the first open and after a database was put back on purpose.
///
/// Each manifest counts up by one, which takes a TPM some milliseconds to a tenth of a second and wears its memory, which is
/// made for some hundred thousand writes: it is for databases that flush some times an hour, not some times a second. Which
/// commit was the newest is not remembered. A creation that is cut short leaves no mark; an anchored database is then opened
/// once with `FreshnessPolicy::Ignore`.
///
/// ```no_run
/// use std::sync::Arc;
/// use lightning_db::{AnchorSource, Database, KeySource, LightningDbConfig};
/// use lightning_db_key_services::TpmCounter;
///
/// let counter = TpmCounter::from_uri("tpm-counter:0x01800100?owner-source=file:/etc/lightning/tpm-owner")?;
/// let config = LightningDbConfig {
///     encryption_enabled: true,
///     encryption_key: KeySource::from_uri("env:LIGHTNING_KEY")?,
///     freshness_anchor: AnchorSource::anchor(Arc::new(counter)),
///     ..LightningDbConfig::default()
/// };
/// let db = Database::open("./mydb", config)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TpmCounter {
    place: Arc<Place>,
    timeout: Duration,
}

struct Place {
    name: ProviderName,
    tcti: TctiNameConf,
    handle: u32,
    owner: Option<SecretPlace>,
    turn: Turn,
    /// How many marks were given to be stored.
    given: AtomicU64,
    /// Which of them was stored last.
    stored: AtomicU64,
}

impl TpmCounter {
    /// Reads a URI `tpm-counter:HANDLE`: of the counter, from 0x01800000 on; the next handle is taken, too. Nothing is
    /// connected to yet.
    ///
    /// Behind a question mark: `owner-source` (where the authorization of the TPM's owner is: `file:PATH`, a path, or
    /// `env:NAME`; at most 32 bytes; else an empty one is tried), `tcti` (how to reach the TPM; else `TPM2TOOLS_TCTI`, else
    /// `device:/dev/tpmrm0`), and `timeout` in seconds.
    ///
    /// # Errors
    /// [`CryptoError::InvalidKey`] if it is none, and where.
    pub fn from_uri(uri: &str) -> Result<Self, CryptoError> {
        let uri = ServiceUri::parse(&GRAMMAR, uri)?;
        let reason = "the handle of an index of the owner is expected here (0x01800000 to 0x01bffffe)";
        let handle = handle_of(uri.path())
            .filter(|number| HANDLES.contains(number))
            .ok_or_else(|| uri.bad("", reason))?;
        let (tcti, name) = tcti_of(&uri)?;
        let mut turns = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = Arc::clone(turns.entry((name.clone(), handle)).or_default());
        let place = Place {
            name: ProviderName::new(format!("tpm-counter:{} at {name}", uri.path())),
            tcti,
            handle,
            owner: uri.get("owner-source").map(SecretPlace::parse),
            turn,
            given: AtomicU64::new(0),
            stored: AtomicU64::new(0),
        };
        Ok(Self { place: Arc::new(place), timeout: uri.timeout()? })
    }

    fn with_tpm<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Indexes<'_>) -> Result<T, CryptoError> + Send + 'static,
    ) -> io::Result<T> {
        let place = Arc::clone(&self.place);
        let done = self.place.name.within(self.timeout, move || {
            let _turn = place.turn.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut Indexes::connect(&place)?)
        });
        done.map_err(io::Error::other)
    }
}

impl FreshnessAnchor for TpmCounter {
    fn load(&self) -> io::Result<Option<FreshnessMark>> {
        self.with_tpm(|indexes| Ok(indexes.read()?.map(|counted| counted.mark())))
    }

    fn store(&self, mark: &FreshnessMark) -> io::Result<()> {
        let (mark, number) = (*mark, self.place.given.fetch_add(1, Ordering::Relaxed) + 1);
        self.with_tpm(move |indexes| {
            // It waited for one that was late, and a newer one went first.
            if number < indexes.place.stored.load(Ordering::Relaxed) {
                return Ok(());
            }
            let known = indexes.read()?.map(|counted| counted.mark());
            let known = known.filter(|known| known.database == mark.database);
            match known.and_then(|known| mark.generation.checked_sub(known.generation)) {
                Some(steps) if steps <= MAX_STEPS => indexes.count(steps)?,
                // It is the first, or the database was put back on purpose, or is another.
                _ => indexes.begin(&mark)?,
            }
            indexes.place.stored.store(number, Ordering::Relaxed);
            Ok(())
        })
    }
}

impl fmt::Debug for TpmCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.name.fmt(f)
    }
}

/// What the base says, and what the counter is at.
struct Counted {
    database: [u8; 16],
    generation: u64,
    from: u64,
    to: u64,
}

impl Counted {
    fn mark(&self) -> FreshnessMark {
        FreshnessMark {
            database: self.database,
            incarnation: None,
            generation: self.generation.saturating_add(self.to.saturating_sub(self.from)),
            sequence: SequenceNumber(0),
        }
    }
}

/// A connected TPM.
struct Indexes<'a> {
    place: &'a Place,
    context: Context,
    session: Option<AuthSession>,
}

impl<'a> Indexes<'a> {
    fn connect(place: &'a Place) -> Result<Self, CryptoError> {
        let context = Context::new(place.tcti.clone())
            .map_err(|error| place.name.unreachable(format!("{}; see tcti=", faults::words(error))))?;
        Ok(Self { place, context, session: None })
    }

    /// What is remembered; nothing unless both indexes are there and were written.
    fn read(&mut self) -> Result<Option<Counted>, CryptoError> {
        let (Some((counter, true)), Some((base, true))) = (self.counter()?, self.base()?) else {
            return Ok(None);
        };
        let bytes = self.asked("to read the counter's base", |indexes| indexes.bytes(base, BASE_LEN))?;
        let to = self.asked("to read the counter", |indexes| indexes.value(counter))?;
        let place = self.place;
        let counted = decode(&bytes, to).ok_or_else(|| place.foreign(place.handle + 1))?;
        Ok(Some(counted))
    }

    fn count(&mut self, steps: u64) -> Result<(), CryptoError> {
        let Some((counter, _)) = self.counter()? else { return Ok(()) };
        for _ in 0..steps {
            self.asked("to count", |indexes| indexes.increment(counter))?;
        }
        Ok(())
    }

    /// Begins a counter that stands for `mark`. What was there goes first, the base before all: a counter without one is no
    /// mark, which an anchored database does not take for the first use.
    fn begin(&mut self, mark: &FreshnessMark) -> Result<(), CryptoError> {
        self.authorize()?;
        for index in [self.base()?, self.counter()?].into_iter().flatten() {
            self.asked("to remove the counter of before", |indexes| indexes.remove(index.0))?;
        }
        let counter = self.asked("to begin a counter", |indexes| {
            let counter = indexes.define(indexes.place.handle, NvIndexType::Counter, COUNTER_LEN)?;
            indexes.increment(counter).map(|()| counter)
        })?;
        self.asked("to write the counter's base", |indexes| {
            let bytes = encode(mark, indexes.value(counter)?);
            let base = indexes.define(indexes.place.handle + 1, NvIndexType::Ordinary, BASE_LEN)?;
            indexes.write_as_owner(base, &bytes)
        })
    }

    fn counter(&mut self) -> Result<Option<(NvIndexHandle, bool)>, CryptoError> {
        self.find(self.place.handle, NvIndexType::Counter, COUNTER_LEN)
    }

    fn base(&mut self) -> Result<Option<(NvIndexHandle, bool)>, CryptoError> {
        self.find(self.place.handle + 1, NvIndexType::Ordinary, BASE_LEN)
    }

    /// The index under a handle, and whether it was written. Somebody else's is left alone, and so is one that others than
    /// the owner can write what they like to.
    fn find(
        &mut self,
        handle: u32,
        kind: NvIndexType,
        len: usize,
    ) -> Result<Option<(NvIndexHandle, bool)>, CryptoError> {
        let found = self.asked("to find the counter", |indexes| match indexes.open(handle) {
            Err(error) if faults::is_absent(error) => Ok(None),
            other => other.map(Some),
        })?;
        let Some((index, public)) = found else { return Ok(None) };
        let attributes = public.attributes();
        let is_guarded =
            kind == NvIndexType::Counter || !(attributes.auth_write() || attributes.policy_write());
        if attributes.index_type().ok() != Some(kind) || public.data_size() != len || !is_guarded {
            return Err(self.place.foreign(handle));
        }
        Ok(Some((index, attributes.written())))
    }

    /// Gives the owner's authorization to whatever the owner is asked for from here on.
    fn authorize(&mut self) -> Result<(), CryptoError> {
        let owner = read_secret(self.place.owner.as_ref(), "an authorization")?;
        let Some(owner) = owner else { return Ok(()) };
        self.asked("to take the owner's authorization", |indexes| {
            let owner = Auth::try_from(owner.as_bytes())?;
            indexes.context.tr_set_auth(ObjectHandle::Owner, owner)
        })
    }

    fn asked<T>(
        &mut self,
        what: &str,
        work: impl FnOnce(&mut Self) -> tss_esapi::Result<T>,
    ) -> Result<T, CryptoError> {
        let place = self.place;
        work(self).map_err(|error| place.fault(what, error))
    }

    fn open(&mut self, handle: u32) -> tss_esapi::Result<(NvIndexHandle, NvPublic)> {
        let handle = TpmHandle::NvIndex(NvIndexTpmHandle::new(handle)?);
        let index = NvIndexHandle::from(
            self.context.execute_without_session(|context| context.tr_from_tpm_public(handle))?,
        );
        let (public, _) = self.context.execute_without_session(|context| context.nv_read_public(index))?;
        Ok((index, public))
    }

    fn define(&mut self, handle: u32, kind: NvIndexType, len: usize) -> tss_esapi::Result<NvIndexHandle> {
        let attributes = NvIndexAttributesBuilder::new()
            .with_nv_index_type(kind)
            .with_auth_read(true)
            .with_auth_write(kind == NvIndexType::Counter)
            .with_owner_write(kind == NvIndexType::Ordinary)
            .with_no_da(true)
            .build()?;
        let public = NvPublicBuilder::new()
            .with_nv_index(NvIndexTpmHandle::new(handle)?)
            .with_index_name_algorithm(HashingAlgorithm::Sha256)
            .with_index_attributes(attributes)
            .with_data_area_size(len)
            .build()?;
        self.in_session(|context| context.nv_define_space(Provision::Owner, None, public))
    }

    fn remove(&mut self, index: NvIndexHandle) -> tss_esapi::Result<()> {
        self.in_session(|context| context.nv_undefine_space(Provision::Owner, index))
    }

    fn increment(&mut self, index: NvIndexHandle) -> tss_esapi::Result<()> {
        self.in_session(|context| context.nv_increment(NvAuth::NvIndex(index), index))
    }

    fn write_as_owner(&mut self, index: NvIndexHandle, bytes: &[u8]) -> tss_esapi::Result<()> {
        let bytes = MaxNvBuffer::try_from(bytes)?;
        self.in_session(|context| context.nv_write(NvAuth::Owner, index, bytes, 0))
    }

    fn value(&mut self, counter: NvIndexHandle) -> tss_esapi::Result<u64> {
        let bytes = self.bytes(counter, COUNTER_LEN)?;
        bytes.try_into().map(u64::from_be_bytes).map_err(|_| faults::unexpected())
    }

    fn bytes(&mut self, index: NvIndexHandle, len: usize) -> tss_esapi::Result<Vec<u8>> {
        let bytes =
            self.in_session(|context| context.nv_read(NvAuth::NvIndex(index), index, len as u16, 0))?;
        Ok(bytes.value().to_vec())
    }

    /// Runs a command in the session, so that an authorization is the key of a checksum and does not cross.
    fn in_session<T>(
        &mut self,
        work: impl FnOnce(&mut Context) -> tss_esapi::Result<T>,
    ) -> tss_esapi::Result<T> {
        let session = match self.session {
            Some(session) => session,
            None => {
                let (symmetric, hash) = (SymmetricDefinition::AES_128_CFB, HashingAlgorithm::Sha256);
                let started = self.context.execute_without_session(|context| {
                    context.start_auth_session(None, None, None, SessionType::Hmac, symmetric, hash)
                })?;
                *self.session.insert(started.ok_or_else(faults::unexpected)?)
            }
        };
        self.context.execute_with_session(Some(session), work)
    }
}

impl Place {
    fn foreign(&self, handle: u32) -> CryptoError {
        self.name.unusable(format!(
            "what the TPM has at {handle:#010x} is no counter of a database: choose handles that nobody uses"
        ))
    }

    fn fault(&self, what: &str, error: Error) -> CryptoError {
        let reason = format!("{what}: {}", faults::words(error));
        if faults::is_wrong_authorization(error) {
            return self.name.refused(format!(
                "the authorization of the TPM's owner is wrong or missing: see owner-source= ({reason})"
            ));
        }
        if faults::is_of_the_way(error) { self.name.unreachable(reason) } else { self.name.failed(reason) }
    }
}

fn encode(mark: &FreshnessMark, counter: u64) -> Vec<u8> {
    let numbers = [mark.generation.to_be_bytes(), counter.to_be_bytes()].concat();
    [&MAGIC[..], &mark.database, &numbers].concat()
}

fn decode(bytes: &[u8], to: u64) -> Option<Counted> {
    let (database, rest) = bytes.strip_prefix(MAGIC)?.split_first_chunk::<16>()?;
    let (generation, rest) = rest.split_first_chunk()?;
    let from = u64::from_be_bytes(rest.try_into().ok()?);
    Some(Counted { database: *database, generation: u64::from_be_bytes(*generation), from, to })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_pointed_at_and_no_secret_repeated() {
        for (uri, reason) in [
            ("tpm-counter:", "at character 13: the handle"),
            ("tpm-counter:0x01bfffff", "at character 13: the handle"),
            ("tpm-counter:0x81000001", "at character 13: the handle"),
            ("tpm-counter:0x01800100?owner=hunter2", "owner= is refused"),
            ("tpm-counter:0x01800100?tcti=hunter2", "device:PATH"),
        ] {
            let text = TpmCounter::from_uri(uri).expect_err(uri).to_string();
            assert!(text.contains(reason) && !text.contains("hunter2"), "{uri}: {text}");
        }
    }

    #[test]
    fn a_mark_is_the_base_and_what_was_counted_since() {
        let mark = FreshnessMark {
            database: [7; 16],
            incarnation: None,
            generation: 40,
            sequence: SequenceNumber(0),
        };
        let bytes = encode(&mark, 1000);
        assert_eq!(bytes.len(), BASE_LEN);
        assert_eq!(decode(&bytes, 1000).expect("a base").mark(), mark);
        assert_eq!(decode(&bytes, 1003).expect("a base").mark().generation, 43);
        assert!(decode(&bytes[1..], 1000).is_none() && decode(&[0; BASE_LEN], 1000).is_none());
    }
}
