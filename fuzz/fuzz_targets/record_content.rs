#![no_main]

lightning_db_fuzz::program!(lightning_db_backup::fuzzing::RECORD_CONTENT);
