//! One visit to a token: find it, log in, find the key, wrap or unwrap, log out.

use std::time::Instant;

use cryptoki::{
    context::Pkcs11,
    error::Error,
    mechanism::{Mechanism, MechanismType},
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::{Session, UserType},
    slot::{Slot, TokenInfo},
    types::AuthPin,
};
use zeroize::{Zeroize, Zeroizing};

use super::{Place, faults, modules};
use crate::{CryptoError, WrappedBy};

/// AES key wrap (RFC 3394), and with padding (RFC 5649). Stored in the slots that they wrap.
const METHODS: [(u8, MechanismType, Mechanism<'static>); 2] = [
    (1, MechanismType::AES_KEY_WRAP, Mechanism::AesKeyWrap),
    (2, MechanismType::AES_KEY_WRAP_PAD, Mechanism::AesKeyWrapPad),
];

/// A token that is logged in to, and the wrapping key in it.
pub(super) struct Token<'a> {
    place: &'a Place,
    context: &'a Pkcs11,
    slot: Slot,
    session: Session,
    key: ObjectHandle,
    name: String,
}

/// What a visit can end with: the module's own errors may be worth a second try.
enum Failure {
    Module(&'static str, Error),
    Said(CryptoError),
}

impl From<CryptoError> for Failure {
    fn from(error: CryptoError) -> Self {
        Self::Said(error)
    }
}

fn during(what: &'static str) -> impl FnOnce(Error) -> Failure {
    move |error| Failure::Module(what, error)
}

impl Token<'_> {
    /// Logs in and runs `work`. A module that somebody finalized, and a token that came back, are tried a second time
    /// before any of it.
    pub(super) fn with<T>(
        place: &Place,
        deadline: Instant,
        work: impl FnOnce(&Token<'_>) -> Result<T, CryptoError>,
    ) -> Result<T, CryptoError> {
        let module = modules::load(&place.module, deadline).map_err(|error| {
            let reason = format!("the module {} cannot be used: {error}", place.module.display());
            place.name.unreachable(format!("{reason}: see module-path="))
        })?;
        let busy = || place.name.unreachable("its module was busy the whole time");
        let module = module.ok_or_else(busy)?;
        let _turn = module.take_turn(deadline).ok_or_else(busy)?;
        let entered = match enter(place, &module.context) {
            Err(Failure::Module(_, error)) if faults::is_loss(&error) => {
                module.initialize().map_err(|error| place.fault("to begin again", &error))?;
                enter(place, &module.context)
            }
            entered => entered,
        };
        let (token, logged_in) = entered.map_err(|failure| match failure {
            Failure::Said(error) => error,
            Failure::Module(what, error) => place.fault(what, &error),
        })?;
        let outcome = work(&token);
        if logged_in {
            // Closing the last session, which follows, logs out too.
            token.session.logout().ok();
        }
        outcome
    }

    /// Wraps `payload`: the key's name, the method, and the result.
    pub(super) fn wrap(&self, payload: &[u8]) -> Result<(String, u8, Vec<u8>), CryptoError> {
        let can_wrap = |mechanism| {
            self.context
                .get_mechanism_info(self.slot, mechanism)
                .is_ok_and(|info| info.wrap() && info.unwrap())
        };
        let chosen = METHODS.into_iter().find(|(_, mechanism, _)| can_wrap(*mechanism));
        let (method, _, mechanism) =
            chosen.ok_or_else(|| self.place.name.failed("the token cannot do AES key wrap"))?;
        let mut attributes = session_object();
        attributes.push(Attribute::Value(payload.to_vec()));
        let object = self.session.create_object(&attributes);
        if let Some(Attribute::Value(value)) = attributes.last_mut() {
            value.zeroize();
        }
        let object = object.map_err(|error| self.place.fault("to take a key into the session", &error))?;
        let wrapped = self.session.wrap_key(&mechanism, self.key, object);
        self.forget(object);
        let wrapped = wrapped.map_err(|error| self.place.fault("to wrap", &error))?;
        Ok((self.name.clone(), method, wrapped))
    }

    /// Unwraps what [`wrap`](Self::wrap) gave.
    pub(super) fn unwrap(&self, by: &WrappedBy, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let known = METHODS.into_iter().find(|(method, ..)| *method == by.method);
        let (.., mechanism) = known.ok_or_else(|| CryptoError::Malformed {
            what: "key slot's parameters",
            reason: format!("there is no method {} of wrapping in a token", by.method),
        })?;
        let unwrapped = self.session.unwrap_key(&mechanism, self.key, wrapped, &session_object());
        let object = unwrapped.map_err(|error| self.not_unwrapped(by, &error))?;
        let value = self.session.get_attributes(object, &[AttributeType::Value]);
        self.forget(object);
        match value.map_err(|error| self.place.fault("to read what it unwrapped", &error))?.pop() {
            Some(Attribute::Value(value)) if !value.is_empty() => Ok(Zeroizing::new(value)),
            _ => Err(self.place.name.failed("it does not let what it unwrapped be read")),
        }
    }

    fn not_unwrapped(&self, by: &WrappedBy, error: &Error) -> CryptoError {
        if !faults::is_not_its_own(error) {
            return self.place.fault("to unwrap", error);
        }
        // A token that is about to be lost says so in the same words; then it has no answer to anything else, either.
        let alive = self.session.get_attributes(self.key, &[AttributeType::KeyType]);
        if let Some(lost) = alive.err().filter(|_| faults::is_vague(error)) {
            return self.place.name.unreachable(format!("to unwrap: {error}; and then: {lost}"));
        }
        if by.key != self.name {
            return self.place.name.wrong_key(by, &self.name);
        }
        self.place.name.tampered(format!(
            "{} does not open it: it was changed, or the key was replaced by one of the same name ({error})",
            self.name
        ))
    }

    /// It would go with the session, a moment later.
    fn forget(&self, object: ObjectHandle) {
        if let Err(error) = self.session.destroy_object(object) {
            tracing::debug!(%error, "a key in a session was not destroyed before its end");
        }
    }
}

/// Finds the token and the key, and logs in; says whether the login is ours to end.
fn enter<'a>(place: &'a Place, context: &'a Pkcs11) -> Result<(Token<'a>, bool), Failure> {
    let (slot, info) = find_token(place, context)?;
    let session = context.open_ro_session(slot).map_err(during("to open a session"))?;
    let logged_in = log_in(place, &session, &info)?;
    let key = find_key(place, &session)?;
    let name = format!(
        "token {} {}, object {}",
        info.label(),
        info.serial_number(),
        place.object.clone().or_else(|| place.id.as_ref().map(hex::encode)).unwrap_or_default()
    );
    Ok((Token { place, context, slot, session, key, name }, logged_in))
}

fn find_token(place: &Place, context: &Pkcs11) -> Result<(Slot, TokenInfo), Failure> {
    let slots = context.get_slots_with_token().map_err(during("to list tokens"))?;
    let is_wanted = |info: &TokenInfo| {
        place.token.as_ref().is_none_or(|label| info.label() == label)
            && place.serial.as_ref().is_none_or(|serial| info.serial_number() == serial)
    };
    // A slot can lose its token while we ask.
    let infos = slots.into_iter().filter_map(|slot| Some((slot, context.get_token_info(slot).ok()?)));
    let mut found: Vec<_> = infos.filter(|(_, info)| info.token_initialized() && is_wanted(info)).collect();
    if found.len() > 1 {
        let serials: Vec<_> = found.iter().map(|(_, info)| info.serial_number().to_owned()).collect();
        let reason = format!("{} tokens fit: add serial= with one of {}", found.len(), serials.join(", "));
        return Err(place.name.unusable(reason).into());
    }
    found.pop().ok_or_else(|| {
        place.name.unreachable("no slot holds this token: connect it, and see token= and serial=").into()
    })
}

fn log_in(place: &Place, session: &Session, info: &TokenInfo) -> Result<bool, Failure> {
    if !info.login_required() {
        return Ok(false);
    }
    if info.user_pin_locked() {
        return Err(place
            .name
            .refused("the token has locked its PIN: its security officer can set a new one")
            .into());
    }
    let Some(source) = &place.pin else {
        if info.protected_authentication_path() {
            return ended(session.login(UserType::User, None));
        }
        return Err(place.name.refused("it wants a PIN: give pin-source=file:PATH").into());
    };
    let pin = source.read()?;
    let wrong = || {
        place.name.refused(format!("the PIN in {source} is wrong; it was tried once, to not lock the token"))
    };
    let serial = info.serial_number();
    if modules::is_refused(&place.module, serial, &pin) {
        return Err(wrong().into());
    }
    if info.user_pin_final_try() {
        let reason = "the token says that one more wrong PIN locks it: log in once with its own tools, which resets that";
        return Err(place.name.refused(reason).into());
    }
    match session.login(UserType::User, Some(&AuthPin::from(pin.to_string()))) {
        Err(error) if faults::is_wrong_pin(&error) => {
            modules::remember_refused(&place.module, serial, pin);
            Err(wrong().into())
        }
        outcome => ended(outcome),
    }
}

/// Somebody else's login is as good, and stays.
fn ended(login: Result<(), Error>) -> Result<bool, Failure> {
    match login {
        Ok(()) => Ok(true),
        Err(error) if faults::is_logged_in(&error) => Ok(false),
        Err(error) => Err(Failure::Module("to log in", error)),
    }
}

fn find_key(place: &Place, session: &Session) -> Result<ObjectHandle, Failure> {
    let mut wanted = vec![Attribute::Class(ObjectClass::SECRET_KEY), Attribute::Token(true)];
    wanted.extend(place.object.as_ref().map(|label| Attribute::Label(label.as_bytes().to_vec())));
    wanted.extend(place.id.as_ref().map(|id| Attribute::Id(id.clone())));
    let found = session.find_objects(&wanted).map_err(during("to look for the key"))?;
    match found[..] {
        [key] => Ok(key),
        [] => {
            let reason =
                "the token has no secret key of this name that this PIN can see: see object= and id=";
            Err(place.name.no_such_key(reason).into())
        }
        _ => Err(place.name.unusable(format!("{} secret keys fit: add id=", found.len())).into()),
    }
}

/// A key that is not the token's: it goes with the session, and may be read.
fn session_object() -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::GENERIC_SECRET),
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(false),
        Attribute::Extractable(true),
    ]
}
