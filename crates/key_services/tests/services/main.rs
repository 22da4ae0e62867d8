//! Each key service at work for a database, in all its failures, against real servers and devices.
//!
//! `cargo xtask test` installs what these tests start. A part that is missing fails them; nothing is skipped.
//!
//! What showed each failure: the real part named above the column, or a double.
//!
//! | failure | PKCS#11 (SoftHSM) |
//! |---|---|
//! | not there at creation: no file is left | real |
//! | not there at opening: told in time, no file changes, opens later | real |
//! | service restarted, session lost | real (finalized), double (session closed, token removed within a call) |
//! | slow | double |
//! | wrong PIN or token, no permission | real; tried once however many slots there are: double |
//! | locked PIN | double |
//! | no such key | real |
//! | key disabled | real (may not unwrap) |
//! | wrapped key changed | real |
//! | wrapped key of another database | real |
//! | another key; key replaced under its name | real |
//! | two tokens or keys of one name | real |
//! | secret file that others can read; URI with a mistake, with a secret | needs no server |
//!
//! The doubles: `pkcs11/double.c` is a module that passes everything on to SoftHSM but for the calls it is told to fail.

mod pkcs11;
mod support;
