//! Rules that keep data, each with the test that fails when the rule is taken out. Those that a crate below proves closer
//! to the code are named here and not repeated.
//!
//! | promise | test |
//! |---|---|
//! | Only ciphertext is in a mapped file, at any moment | `log::only_ciphertext_is_in_the_files_…`, `tests/secrecy` |
//! | The log ends where what was promised ends, and damage before that is noticed | `log::damage_to_…`, `log::a_quiet_log_…` |
//! | What was cut off stays cut off; what was replayed is synced before anything new is acknowledged | `log::what_was_never_promised_…`, `log::what_a_killed_process_left_…`, `log::a_power_cut_while_the_log_…`, `tests/crash` |
//! | Nothing is acknowledged in a file that nobody knows; no older state wins | `log::an_acknowledged_commit_…`, `log::an_old_copy_…`, `tests/crash` |
//! | A commit of any size is whole or absent | `log::a_commit_larger_than_a_log_file_…` |
//! | A full disk can be opened, read and cleared; no map over a hole | `log::a_full_disk_…`, `log::a_file_system_without_…`, `log::a_log_file_has_its_space_…` |
//! | Log is kept for repositories, up to a cap, and the gap is announced | `repositories::log_is_kept_…` |
//! | No merge brings back what was deleted | `versions::deleted_rows_…` |
//! | No update is lost after a flush; no phantoms | `tests/transactions`, `conflicts.rs` |
//! | No read is stale | `versions::a_read_never_…`, `versions::a_snapshot_…`, `src/cache/hot_records_tests.rs` |
//! | Snapshots do not hold memory without bound | `versions::what_snapshots_hold_…` |
//! | Two copies never share one history | `repositories::of_two_copies_…`, `src/backup/tests.rs` |
//! | What was never logged is not pretended | `src/backup/tests.rs`, `without_a_log_…` |
//! | A clock that steps makes no wrong answer | `src/backup/tests.rs`, `a_clock_that_steps_back_…`; `recovery/src/locate.rs` |
//! | A checkpoint does not grow | `repositories::a_checkpoint_is_of_its_moment_…` |
//! | Nothing is believed because a file says so | `keys::…` |
//! | No nonce twice | `storage/src/segment/tests/nonces.rs`, `crypto/src/sealed.rs`, `storage/src/wal/tests/writing.rs` |
//! | No downgrade to an unencrypted database | `keys::an_unencrypted_database_…`, `keys::a_database_keeps_to_its_encryption_…` |
//! | A segment carries its dictionary | `storage/src/segment/tests.rs`, `a_segment_carries_its_dictionary` |
//! | Keys of old backups; who signed a backup; two writers of one repository | `crypto/src/keyring/tests.rs`, `backup/src` |
//! | A backup costs what changed | `repositories::a_backup_costs_what_changed` |
//! | Files hold mostly what is live | `repositories::files_hold_mostly_what_is_live` |
//! | Without encryption accidents are noticed | `keys::a_flipped_bit_anywhere_…_without_encryption_too` |
//! | The documented interface | `tests/api` |

mod keys;
mod log;
mod repositories;
#[path = "../support/mod.rs"]
mod support;
mod versions;
