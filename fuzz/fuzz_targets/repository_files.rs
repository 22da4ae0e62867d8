#![no_main]

lightning_db_fuzz::program!(lightning_db::fuzzing::REPOSITORY_FILES);
