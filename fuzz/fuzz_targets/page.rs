#![no_main]

lightning_db_fuzz::program!(lightning_db_storage::fuzzing::PAGE);
