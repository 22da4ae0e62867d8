//! Checks and tests of lightning_db, one command each.

fn main() {}
