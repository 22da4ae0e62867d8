//! Machinery that looks for the ways in which lightning_db could lose data, give a wrong answer or leak a secret.
//!
//! ```text
//! seeds/        the general campaign: everything at once against a model
//! ci.rs         all campaigns, as CI runs them
//! machine.rs    a computer in memory: a disk that can lose power, a clock, randomness, planned faults
//! turns.rs      its file system and clock, as threads see them that take turns
//! random.rs     numbers that one seed repeats
//! messages.rs   what the program says, read for secrets
//! allocation.rs how much memory is asked for at once
//! coverage.rs   how often each thing happened, with a floor on each
//! isolation/    concurrent transactions, and whether what they saw is what their level promises
//! attack/       every byte damaged, everything exchanged and set back
//! power/        a process on a real file system whose power is cut
//! soak/         real files and threads for an hour: nothing may grow
//! sweep/        short workloads, and everything that can go wrong in them, one after the other
//! ```

pub mod allocation;
pub mod attack;
pub mod ci;
pub mod coverage;
pub mod isolation;
pub mod machine;
mod messages;
pub mod power;
pub mod random;
pub mod seeds;
pub mod soak;
pub mod sweep;
pub mod turns;
