//! Backup repository, manifests, retention and restore for lightning_db.
