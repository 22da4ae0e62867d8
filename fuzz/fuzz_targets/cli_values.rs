#![no_main]

lightning_db_fuzz::program!(lightning_cli::fuzzing::CLI_VALUES);
