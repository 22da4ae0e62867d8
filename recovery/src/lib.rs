//! Redo after a crash, replay to a target, and verification for lightning_db.
