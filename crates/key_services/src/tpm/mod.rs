//! A TPM 2.0: the master key sealed by it, so that this machine alone opens the database, and if you like only while it was
//! started as it was then (PCRs), and only for who knows a PIN.
//!
//! What is sealed is a child of a key of the storage hierarchy, and is stored in the slot. All that is secret crosses to the
//! TPM within a session that is encrypted with a key which only that parent can open.

mod counter;
mod faults;
mod pcrs;
mod sealing;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use lightning_db_crypto::{
    CryptoError, Entropy, KeyProvider, ProviderName, RefusedSecret, SecretKey, SecretPlace, ServiceUri,
    SlotContext, UriGrammar, WrappedBy, WrappedKey, Zeroizing,
};
use tss_esapi::TctiNameConf;
use tss_esapi::handles::PersistentTpmHandle;

pub use counter::TpmCounter;
use pcrs::Pcrs;
use sealing::Tpm;

const GRAMMAR: UriGrammar = UriGrammar {
    scheme: "tpm",
    attributes: &[],
    parameters: &["pcrs", "pin-source", "tcti"],
    refused: &[("pin", "others can see a PIN in a URI; put it into a file and give pin-source=file:PATH")],
    example: "tpm:[0x81000001]?pcrs=sha256:0,2,7&pin-source=file:PATH&tcti=device:/dev/tpmrm0",
};

/// The only way in which it wraps.
const METHOD: u8 = 1;
/// The kernel's own resource manager, so that several programs can use the TPM.
const DEVICE: &str = "device:/dev/tpmrm0";
const TCTI_VARIABLE: &str = "TPM2TOOLS_TCTI";
/// What every TPM takes: the length of a SHA-256.
const MAX_SECRET_LEN: usize = 32;

/// Seals with a TPM 2.0.
pub struct TpmProvider {
    place: Arc<Place>,
    timeout: Duration,
}

/// Which TPM, below which of its keys, and on what conditions.
struct Place {
    name: ProviderName,
    tcti: TctiNameConf,
    /// A key that stays in the TPM; else the primary key that it derives from the seed of the storage hierarchy.
    parent: Option<PersistentTpmHandle>,
    pcrs: Option<Pcrs>,
    pin: Option<SecretPlace>,
    refused_pin: RefusedSecret,
}

impl TpmProvider {
    /// Reads a URI `tpm:`, or `tpm:HANDLE` for a storage key that was made persistent. Nothing is connected to yet.
    ///
    /// Behind a question mark: `pcrs` (`BANK:NUMBER,NUMBER…`, such as `sha256:0,2,7`), `pin-source` (`file:PATH`, a path, or
    /// `env:NAME`; at most 32 bytes), `tcti` (how to reach the TPM; else `TPM2TOOLS_TCTI`, else `device:/dev/tpmrm0`), and
    /// `timeout` in seconds.
    ///
    /// # Errors
    /// [`CryptoError::InvalidKey`] if it is none, and where.
    pub fn from_uri(uri: &str) -> Result<Self, CryptoError> {
        let uri = ServiceUri::parse(&GRAMMAR, uri)?;
        let parent = match uri.path() {
            "" => None,
            path => {
                let handle = handle_of(path).and_then(|number| PersistentTpmHandle::new(number).ok());
                let reason = "nothing, or the handle of a persistent key (0x81000001) is expected here";
                Some(handle.ok_or_else(|| uri.bad("", reason))?)
            }
        };
        let pcrs = uri.get("pcrs").map(|text| {
            Pcrs::parse(text).ok_or_else(|| {
                uri.bad("pcrs", "BANK:NUMBER,NUMBER is expected here: sha256, sha384 or sha512, and 0 to 23")
            })
        });
        let (tcti, at) = tcti_of(&uri)?;
        let place = Place {
            name: ProviderName::new(format!("tpm:{} at {at}", uri.path())),
            tcti,
            parent,
            pcrs: pcrs.transpose()?,
            pin: uri.get("pin-source").map(SecretPlace::parse),
            refused_pin: RefusedSecret::default(),
        };
        Ok(Self { place: Arc::new(place), timeout: uri.timeout()? })
    }

    /// Runs `work` with the TPM, which is given the PIN, too.
    fn with_tpm<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tpm<'_>, Option<&str>) -> Result<T, CryptoError> + Send + 'static,
    ) -> Result<T, CryptoError> {
        let pin = self.place.read_pin()?;
        let place = Arc::clone(&self.place);
        self.place.name.within(self.timeout, move || {
            let mut tpm = Tpm::connect(&place)?;
            work(&mut tpm, pin.as_ref().map(|pin| pin.as_str()))
        })
    }
}

impl KeyProvider for TpmProvider {
    fn kind(&self) -> &'static str {
        "tpm"
    }

    fn wrap(
        &self,
        ctx: &SlotContext,
        key: &SecretKey,
        _entropy: &dyn Entropy,
    ) -> Result<WrappedKey, CryptoError> {
        let payload = ctx.payload(key);
        let (name, bytes) = self.with_tpm(move |tpm, pin| {
            let bytes = tpm.seal(&payload, pin)?;
            Ok((tpm.name().to_owned(), bytes))
        })?;
        let params = WrappedBy { key: name, method: METHOD }.to_params(ctx)?;
        Ok(WrappedKey { params, bytes, commitment: ctx.commitment_to(key) })
    }

    fn unwrap(&self, ctx: &SlotContext, wrapped: &WrappedKey) -> Result<SecretKey, CryptoError> {
        let by = self.place.name.wrapped_by(ctx, wrapped)?;
        let bytes = wrapped.bytes.clone();
        let payload = self.with_tpm(move |tpm, pin| tpm.unseal(&by, &bytes, pin))?;
        ctx.accept(self.place.name.as_ref(), &payload, wrapped)
    }
}

impl Place {
    fn read_pin(&self) -> Result<Option<Zeroizing<String>>, CryptoError> {
        let pin = read_secret(self.pin.as_ref(), "a PIN")?;
        if pin.as_ref().is_some_and(|pin| self.refused_pin.is(pin)) {
            return Err(self.wrong_pin());
        }
        Ok(pin)
    }

    fn wrong_pin(&self) -> CryptoError {
        let source = self.pin.as_ref().map(SecretPlace::to_string).unwrap_or_default();
        self.name.refused(format!(
            "the PIN in {source} is wrong; it was tried once, for a few wrong ones lock the TPM"
        ))
    }

    /// What has to be as it was when a key was sealed; `parent` is the name of the key above it, by which a TPM is known.
    fn conditions(&self, parent: &[u8]) -> String {
        let pcrs = self.pcrs.as_ref().map_or_else(|| "no PCRs".to_owned(), |pcrs| format!("PCRs {pcrs}"));
        let pin = if self.pin.is_some() { "a PIN" } else { "no PIN" };
        format!("the TPM whose storage key is {}, with {pcrs} and {pin}", hex::encode(parent))
    }
}

/// A secret that is given to the TPM, and what it is in words; none where no place is named.
fn read_secret(source: Option<&SecretPlace>, what: &str) -> Result<Option<Zeroizing<String>>, CryptoError> {
    let Some(source) = source else { return Ok(None) };
    let secret = source.read()?;
    if secret.len() > MAX_SECRET_LEN {
        return Err(CryptoError::InvalidKey {
            source_name: source.to_string(),
            reason: format!("a TPM takes {what} of at most {MAX_SECRET_LEN} bytes"),
        });
    }
    Ok(Some(secret))
}

/// The number of a handle, as a URI writes it.
fn handle_of(path: &str) -> Option<u32> {
    u32::from_str_radix(path.strip_prefix("0x")?, 16).ok()
}

/// How to reach the TPM, and in words: what the URI says, else the environment, else the machine's own.
fn tcti_of(uri: &ServiceUri) -> Result<(TctiNameConf, String), CryptoError> {
    let variable = std::env::var(TCTI_VARIABLE).ok().filter(|text| !text.is_empty());
    let text = uri.get("tcti").or(variable.as_deref()).unwrap_or(DEVICE);
    let reason = "device:PATH, tabrmd, or swtpm:host=HOST,port=PORT is expected here";
    let tcti = text.parse().map_err(|_| uri.bad("tcti", reason))?;
    Ok((tcti, text.to_owned()))
}

impl fmt::Debug for TpmProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.name.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_names_parent_pcrs_and_pin() {
        let uri = "tpm:0x81000001?pcrs=sha256:7,0&pin-source=file:/pin&tcti=swtpm:host=127.0.0.1,port=2321";
        let provider = TpmProvider::from_uri(uri).expect("a URI");
        assert_eq!(format!("{provider:?}"), "tpm:0x81000001 at swtpm:host=127.0.0.1,port=2321");
        let conditions = provider.place.conditions(&[0, 0x0b]);
        assert_eq!(conditions, "the TPM whose storage key is 000b, with PCRs sha256:0,7 and a PIN");
        let provider = TpmProvider::from_uri("tpm:?tcti=device:/dev/tpm0").expect("a URI");
        assert!(provider.place.conditions(&[1]).ends_with("with no PCRs and no PIN"));
    }

    #[test]
    fn a_mistake_is_pointed_at_and_no_secret_repeated() {
        for (uri, reason) in [
            ("tpm:81000001", "at character 5: "),
            ("tpm:0x01000001", "at character 5: "),
            ("tpm:hunter2", "at character 5: "),
            ("tpm:?pcrs=7", "at character 11: BANK"),
            ("tpm:?pcrs=sha256:", "at character 11: BANK"),
            ("tpm:?pcrs=sha256:24", "at character 11: BANK"),
            ("tpm:?pcrs=sha1:7", "at character 11: BANK"),
            ("tpm:?pcr=sha256:7", "is it pcrs=?"),
            ("tpm:?pin=hunter2", "at character 6: pin= is refused"),
            ("tpm:?tcti=hunter2", "at character 11: device:PATH"),
        ] {
            let text = TpmProvider::from_uri(uri).expect_err(uri).to_string();
            assert!(text.contains(reason) && !text.contains("hunter2"), "{uri}: {text}");
        }
    }
}
