//! Each key service at work for a database, in all its failures, against real servers and devices.
//!
//! `cargo xtask test` installs what these tests start. A part that is missing fails them; nothing is skipped.
//!
//! What showed each failure: the real part named above the column, or a double.
//!
//! | failure | PKCS#11 (SoftHSM) | Vault transit (OpenBao) | AWS KMS (moto) | KMIP (PyKMIP) |
//! |---|---|---|---|---|
//! | not there at creation: no file is left | real | real | real | real |
//! | not there at opening: told in time, no file changes, opens later | real | real | real; opens later: double | real |
//! | service restarted | real (module finalized) | real (sealed, then unsealed) | double (moto forgets its keys: real) | real |
//! | not there while keys are rotated: nothing changes | – | real | – | – |
//! | connection or session lost | double | double | double | not shown |
//! | slow | double | double | double | double |
//! | throttled, failing for a while | – | double | double | – |
//! | wrong PIN or token, no permission | real; tried once however many slots there are: double | real | double | real (another user's, a stranger's certificate) |
//! | no credentials | real (no PIN file) | needs no server | real | not shown |
//! | locked PIN; token or credentials that end | double | real (renewed, revoked) | double | – |
//! | a wrong clock | – | – | double | – |
//! | no such key, key deleted | real | real | real | real |
//! | key disabled | real (may not unwrap) | real (version below the least allowed) | double | real (not active, revoked) |
//! | key rotated: old version opens, new one wraps | – | real | real | – |
//! | wrapped key changed | real | real | real | real |
//! | wrapped key of another database | real | real; service that lies: double | real; service that lies: double | real |
//! | another key | real | real | real | real |
//! | key replaced under its name | real | – | – | – |
//! | two tokens or keys of one name | real | – | – | – |
//! | certificate that nobody vouches for | – | real | not shown | real |
//! | secret file that others can read | real | real | – | real |
//! | URI with a mistake, or with a secret | needs no server | needs no server | needs no server | needs no server |
//!
//! The doubles: `pkcs11/double.c` is a module that passes everything on to SoftHSM but for the calls it is told to fail;
//! `support/between.rs` stands before a server and passes on what it is not told to answer itself.

mod awskms;
mod kmip;
mod pkcs11;
mod support;
mod vault;
