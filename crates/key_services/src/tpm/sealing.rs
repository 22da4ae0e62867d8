//! One visit to a TPM: the parent, a session that hides what crosses, and what is sealed below it.
//!
//! A slot holds, big-endian as all of TPM 2.0:
//!
//! ```text
//! ┌─────────────┬───────────────────────────┬────────────────────────────────────┐
//! │ length  u16 │ public part (TPMT_PUBLIC) │ private part, encrypted by the TPM │
//! └─────────────┴───────────────────────────┴────────────────────────────────────┘
//! ```

use lightning_db_crypto::{CryptoError, WrappedBy, Zeroizing};
use tss_esapi::Context;
use tss_esapi::attributes::{ObjectAttributesBuilder, SessionAttributesBuilder};
use tss_esapi::constants::{CapabilityType, SessionType};
use tss_esapi::handles::{KeyHandle, ObjectHandle};
use tss_esapi::interface_types::algorithm::{HashingAlgorithm, PublicAlgorithm};
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::resource_handles::Hierarchy;
use tss_esapi::interface_types::session_handles::{AuthSession, PolicySession};
use tss_esapi::structures::{
    Auth, CapabilityData, Digest, EccPoint, KeyedHashScheme, Private, Public, PublicBuilder,
    PublicEccParametersBuilder, PublicKeyedHashParameters, SensitiveData, SymmetricDefinition,
    SymmetricDefinitionObject,
};
use tss_esapi::traits::{Marshall, UnMarshall};

use super::faults::{self, unexpected};
use super::{METHOD, Place};

/// A TPM, and the key in it below which is sealed. Dropping it flushes what it has put there: a TPM has room for three
/// objects and three sessions.
pub(super) struct Tpm<'a> {
    place: &'a Place,
    context: Context,
    parent: KeyHandle,
    name: String,
}

impl<'a> Tpm<'a> {
    /// Connects, and finds or derives the parent.
    pub(super) fn connect(place: &'a Place) -> Result<Self, CryptoError> {
        let mut context = Context::new(place.tcti.clone())
            .map_err(|error| place.name.unreachable(format!("{}; see tcti=", faults::words(error))))?;
        let parent = find_parent(&mut context, place)
            .map_err(|error| place.fault("to find the storage key", error))?;
        let name = context
            .tr_get_name(parent.into())
            .map_err(|error| place.fault("to read the storage key's name", error))?;
        Ok(Self { place, context, parent, name: place.conditions(name.value()) })
    }

    /// What a slot says of who sealed it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Seals `payload`.
    pub(super) fn seal(&mut self, payload: &[u8], pin: Option<&str>) -> Result<Vec<u8>, CryptoError> {
        self.check_pcrs()?;
        let place = self.place;
        self.try_seal(payload, pin).map_err(|error| place.fault("to seal", error))
    }

    /// Unseals what [`seal`](Self::seal) gave.
    pub(super) fn unseal(
        &mut self,
        by: &WrappedBy,
        bytes: &[u8],
        pin: Option<&str>,
    ) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        if by.method != METHOD {
            return Err(CryptoError::Malformed {
                what: "key slot's parameters",
                reason: format!("there is no method {} of sealing in a TPM", by.method),
            });
        }
        // Before anything is sent: a wrong PIN counts, and another parent cannot be the one that the session needs.
        if by.key != self.name {
            return Err(self.place.name.wrong_key(by, &self.name));
        }
        let place = self.place;
        let object = self.load(bytes).map_err(|error| place.not_loaded(error))?;
        self.try_unseal(object, pin).map_err(|error| {
            if faults::is_wrong_authorization(error)
                && let Some(pin) = pin
            {
                place.refused_pin.remember(Zeroizing::new(pin.to_owned()));
            }
            place.not_unsealed(error)
        })
    }

    /// A TPM leaves out registers that it does not have, and would seal to fewer than were asked for.
    fn check_pcrs(&mut self) -> Result<(), CryptoError> {
        let (place, Some(pcrs)) = (self.place, &self.place.pcrs) else { return Ok(()) };
        let present = self.context.get_capability(CapabilityType::AssignedPcr, 0, 1);
        let has_all = present.and_then(|(data, _)| match data {
            CapabilityData::AssignedPcr(present) => pcrs.are_in(&present),
            _ => Ok(false),
        });
        match has_all.map_err(|error| place.fault("to list its PCRs", error))? {
            true => Ok(()),
            false => Err(place.name.unusable(format!("it has no PCRs {pcrs}: see pcrs="))),
        }
    }

    fn try_seal(&mut self, payload: &[u8], pin: Option<&str>) -> tss_esapi::Result<Vec<u8>> {
        let policy = self.policy_session(SessionType::Trial)?;
        let policy = self.context.policy_get_digest(policy)?;
        let public = sealed_public(policy, pin.is_some())?;
        let auth = pin.map(|pin| Auth::try_from(pin.as_bytes())).transpose()?;
        let data = SensitiveData::try_from(payload)?;
        let (session, parent) = (self.session(SessionType::Hmac)?, self.parent);
        self.hide(session, true)?;
        let made = self.context.execute_with_session(Some(session), |context| {
            context.create(parent, public, auth, Some(data), None, None)
        })?;
        let public = made.out_public.marshall()?;
        let len = u16::try_from(public.len()).map_err(|_| unexpected())?;
        Ok([&len.to_be_bytes(), &public[..], made.out_private.value()].concat())
    }

    fn load(&mut self, bytes: &[u8]) -> tss_esapi::Result<ObjectHandle> {
        let (len, rest) = bytes.split_first_chunk().ok_or_else(unexpected)?;
        let (public, private) =
            rest.split_at_checked(usize::from(u16::from_be_bytes(*len))).ok_or_else(unexpected)?;
        // The library's own complaints could be taken for those of the way to the TPM.
        let public = Public::unmarshall(public).map_err(|_| unexpected())?;
        let private = Private::try_from(private)?;
        let (session, parent) = (self.session(SessionType::Hmac)?, self.parent);
        self.hide(session, true)?;
        let object = self
            .context
            .execute_with_session(Some(session), |context| context.load(parent, private, public))?;
        Ok(object.into())
    }

    fn try_unseal(
        &mut self,
        object: ObjectHandle,
        pin: Option<&str>,
    ) -> tss_esapi::Result<Zeroizing<Vec<u8>>> {
        let policy = self.policy_session(SessionType::Policy)?;
        let session = AuthSession::from(policy);
        // Nothing that goes there can be hidden, and nothing need be: the PIN is only the key of a checksum.
        self.hide(session, false)?;
        if let Some(pin) = pin {
            self.context.tr_set_auth(object, Auth::try_from(pin.as_bytes())?)?;
        }
        let data = self.context.execute_with_session(Some(session), |context| context.unseal(object))?;
        Ok(Zeroizing::new(data.value().to_vec()))
    }

    /// A session with the conditions of this place: the PCRs as they are now, and the PIN, which is empty without one.
    fn policy_session(&mut self, kind: SessionType) -> tss_esapi::Result<PolicySession> {
        let session = PolicySession::try_from(self.session(kind)?)?;
        if let Some(pcrs) = &self.place.pcrs {
            self.context.policy_pcr(session, Digest::default(), pcrs.selection()?)?;
        }
        self.context.policy_auth_value(session)?;
        Ok(session)
    }

    /// A session whose keys come from a secret that is sent to the parent, so that only the TPM has them too.
    fn session(&mut self, kind: SessionType) -> tss_esapi::Result<AuthSession> {
        let salted_by = (kind != SessionType::Trial).then_some(self.parent);
        let session = self.context.start_auth_session(
            salted_by,
            None,
            None,
            kind,
            SymmetricDefinition::AES_128_CFB,
            HashingAlgorithm::Sha256,
        )?;
        session.ok_or_else(unexpected)
    }

    /// Encrypts the first parameter of answers, and where there is one that can be, of commands.
    fn hide(&mut self, session: AuthSession, in_commands: bool) -> tss_esapi::Result<()> {
        let (attributes, mask) =
            SessionAttributesBuilder::new().with_decrypt(in_commands).with_encrypt(true).build();
        self.context.tr_sess_set_attributes(session, attributes, mask)
    }
}

fn find_parent(context: &mut Context, place: &Place) -> tss_esapi::Result<KeyHandle> {
    if let Some(handle) = place.parent {
        return context.tr_from_tpm_public(handle.into()).map(KeyHandle::from);
    }
    let template = storage_key()?;
    let made = context.execute_with_session(Some(AuthSession::Password), |context| {
        context.create_primary(Hierarchy::Owner, template, None, None, None, None)
    })?;
    Ok(made.key_handle)
}

/// The storage key that a TPM derives from its seed: always the same one, until the TPM is cleared.
fn storage_key() -> tss_esapi::Result<Public> {
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_user_with_auth(true)
        .with_no_da(true)
        .with_restricted(true)
        .with_decrypt(true)
        .build()?;
    let parameters = PublicEccParametersBuilder::new_restricted_decryption_key(
        SymmetricDefinitionObject::AES_128_CFB,
        EccCurve::NistP256,
    );
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::Ecc)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_ecc_parameters(parameters.build()?)
        .with_ecc_unique_identifier(EccPoint::default())
        .build()
}

/// What is sealed: for this TPM and parent alone, and only for who meets `policy`. Wrong PINs count where there is a PIN.
fn sealed_public(policy: Digest, has_pin: bool) -> tss_esapi::Result<Public> {
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_no_da(!has_pin)
        .build()?;
    PublicBuilder::new()
        .with_public_algorithm(PublicAlgorithm::KeyedHash)
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes)
        .with_auth_policy(policy)
        .with_keyed_hash_parameters(PublicKeyedHashParameters::new(KeyedHashScheme::Null))
        .with_keyed_hash_unique_identifier(Digest::default())
        .build()
}
