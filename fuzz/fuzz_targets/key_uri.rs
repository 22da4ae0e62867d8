#![no_main]

lightning_db_fuzz::program!(lightning_db_crypto::fuzzing::KEY_URI);
