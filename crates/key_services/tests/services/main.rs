//! Each key service at work for a database, in all its failures, against real servers and devices.
//!
//! `cargo xtask test` installs what these tests start. A part that is missing fails them; nothing is skipped.
//!
//! What showed each failure: the real part named above the column, or a double.
//!
//! | failure | PKCS#11 (SoftHSM) | TPM 2.0 (swtpm) | keyring (GNOME's) | Vault transit (OpenBao) | AWS KMS (moto) | KMIP (PyKMIP) |
//! |---|---|---|---|---|---|---|
//! | not there at creation: no file is left | real | real | real | real | real | real |
//! | not there at opening: told in time, no file changes, opens later | real | real | real (no service, no bus) | real | real; opens later: double | real |
//! | service restarted | real (module finalized) | real (rebooted) | real | real (sealed, then unsealed) | double (moto forgets its keys: real) | real |
//! | not there while keys are rotated: nothing changes | – | real | real | real | – | – |
//! | connection or session lost | double | – | – | double | double | not shown |
//! | slow | double | double | real (stopped) | double | double | double |
//! | throttled, failing for a while | – | – | – | double | double | – |
//! | wrong PIN or token, no permission | real; tried once however many slots there are: double | real; tried once however many slots there are: real | – | real | double | real (another user's, a stranger's certificate) |
//! | no credentials | real (no PIN file) | – | – | needs no server | real | not shown |
//! | locked PIN; token or credentials that end | double | real (locks, is unlocked) | real (locked, then unlocked) | real (renewed, revoked) | double | – |
//! | a wrong clock | – | – | – | – | double | – |
//! | no such key, key deleted | real | real (a persistent parent) | real | real | real | real |
//! | key disabled | real (may not unwrap) | – | – | real (version below the least allowed) | double | real (not active, revoked) |
//! | machine started in another way | – | real | – | – | – | – |
//! | the owner's authorization is wanted; PCRs that are not there | – | real | – | – | – | – |
//! | key rotated: old version opens, new one wraps | – | – | – | real | real | – |
//! | wrapped key changed | real | real | real | real | real | real |
//! | wrapped key of another database | real | real | real | real; service that lies: double | real; service that lies: double | real |
//! | another key | real | real (another TPM, a cleared one) | real | real | real | real |
//! | key replaced under its name | real | – | real | – | – | – |
//! | two tokens or keys of one name | real | – | real | – | – | – |
//! | somebody reads along | – | double (between machine and TPM) | – | – | – | – |
//! | certificate that nobody vouches for | – | – | – | real | not shown | real |
//! | secret file that others can read | real | real | – | real | – | real |
//! | URI with a mistake, or with a secret | needs no server | needs no server | needs no server | needs no server | needs no server | needs no server |
//!
//! A TPM's counter as freshness anchor, all with swtpm: a directory put back, the machine restarted, the TPM not there, the
//! counter removed or half removed, a wrong or missing authorization of the owner, somebody else's index (`tpm/counter.rs`).
//!
//! The doubles: `pkcs11/double.c` is a module that passes everything on to SoftHSM but for the calls it is told to fail;
//! `support/between.rs` stands before a server and passes on what it is not told to answer itself;
//! `tpm/tap.rs` passes everything on and remembers it.
//!
//! Google Cloud KMS and Azure Key Vault are not in the table: no real part of theirs can be had, so all that is shown of
//! them is shown by a double of the whole service (`gcpkms/double.rs`, `azurekv/double.rs`): not there at creation, at opening
//! and in a rotation, slow, throttling, refusing, no such key, key disabled, another key, wrapped key changed or of another
//! database, a lying service, no credentials, for Google also what is damaged on the way, for Azure also a certificate that
//! nobody vouches for and a demand for a token of another service.
//!
//! The tests of TPM, Google and Azure need the features `tpm`, `gcpkms` and `azurekv`, with which `cargo xtask test` builds
//! them.

mod awskms;
#[cfg(feature = "azurekv")]
mod azurekv;
#[cfg(feature = "gcpkms")]
mod gcpkms;
mod keyring;
mod kmip;
mod pkcs11;
mod support;
#[cfg(feature = "tpm")]
mod tpm;
mod vault;
