//! Power cuts on real file systems, a few of them, where the machine allows it. Where it does not, the program says so.

use std::process::Command;

#[test]
fn what_was_acknowledged_outlives_the_power_on_real_file_systems() {
    // Its output is not captured, so that a machine on which nothing is tested says so in every run.
    let status = Command::new(env!("CARGO_BIN_EXE_lightning_sim"))
        .args(["power", "--rounds", "2"])
        .status()
        .expect("the program runs");
    assert!(status.success());
}
