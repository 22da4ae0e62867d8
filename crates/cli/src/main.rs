//! Command line of lightning_db.

fn main() {}
