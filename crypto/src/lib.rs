//! Keys, authenticated encryption, key derivation and key providers of lightning_db.
