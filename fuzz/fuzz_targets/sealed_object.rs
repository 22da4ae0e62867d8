#![no_main]

lightning_db_fuzz::program!(lightning_db_crypto::fuzzing::SEALED_OBJECT);
