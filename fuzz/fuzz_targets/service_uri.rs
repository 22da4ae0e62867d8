#![no_main]

lightning_db_fuzz::program!(lightning_db_key_services::fuzzing::SERVICE_URI);
