//! What can be typed.

use clap::{Args, Parser, Subcommand};

use crate::commands;
use crate::failure::Outcome;
use crate::session::Session;

const HELP: &str = "\
Keys are named by a URI, never typed themselves:
  file:PATH              32 raw bytes or 64 hex digits in a file that only you can read
  env:NAME               64 hex digits in an environment variable
  passphrase:prompt      asked for at the terminal
  passphrase-file:PATH   a passphrase in a file that only you can read
  passphrase-env:NAME    a passphrase in an environment variable
  recovery-file:PATH     the words of a recovery key, or enough shares, in a file that only you can read
  recovery:prompt        the same, asked for at the terminal
  exec:PROGRAM           held by an external command
  pkcs11:token=T;object=O?module-path=M&pin-source=file:P
                         an AES key in an HSM
  keyring:NAME           an entry of the operating system's keyring
  tpm:[HANDLE]?pcrs=sha256:7&pin-source=file:P
                         sealed by this machine's TPM 2.0 (where built with the feature tpm)
  awskms:ARN-OR-alias/NAME?region=R
                         a key of AWS KMS
  azurekv://VAULT/keys/NAME
                         a key of Azure Key Vault (where built with the feature azurekv; never tried with Azure)
  gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K
                         a key of Google Cloud KMS (where built with the feature gcpkms; never tried with Google)
  kmip:ID?server=HOST:PORT&ca-file=P&cert-file=P&key-file=P
                         a key of a KMIP server
  vault:MOUNT/KEY?address=URL&token-file=PATH
                         a key of the transit engine of Vault or OpenBao

Exit status: 0 done, 1 failed, 2 wrong usage, 3 damaged data or a wrong or missing key, \
4 not found or not reachable, 5 done, but not everywhere.

Examples:
  lightning-cli create ./mydb --key passphrase:prompt
  lightning-cli put ./mydb greeting hello
  lightning-cli backup ./mydb ./repo
  lightning-cli restore ./repo ./again --to time:2026-05-01T12:00:00Z";

/// Works with databases of lightning_db: encrypted, embedded, recoverable to any moment.
#[derive(Debug, Parser)]
#[command(name = "lightning-cli", version, after_help = HELP, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// Options of all commands.
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of all commands.
#[derive(Args, Debug)]
pub(crate) struct Global {
    /// Where the key comes from (default: what LIGHTNING_DB_KEY names)
    #[arg(long, global = true, value_name = "URI")]
    pub(crate) key: Option<String>,
    /// Write one JSON object, and errors as {"error": {"kind", "message"}}
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Do not say what was done
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

macro_rules! commands {
    ($($(#[$attribute:meta])* $name:ident($module:ident),)*) => {
        /// What to do.
        #[derive(Debug, Subcommand)]
        pub(crate) enum Command {
            $($(#[$attribute])* $name(commands::$module::Command),)*
        }

        impl Command {
            /// Does it.
            ///
            /// # Errors
            /// Why it failed.
            pub(crate) fn run(self, session: &Session) -> Outcome {
                match self {
                    $(Self::$name(command) => command.run(session),)*
                }
            }
        }
    };
}

commands! {
    /// Make a new database
    Create(create),
    /// Set a key's value
    Put(put),
    /// Print a key's value
    Get(get),
    /// Remove a key
    Delete(delete),
    /// Print keys and values in order
    Scan(scan),
    /// Read entries from a file of another format
    Import(import),
    /// Write all entries to a file
    Export(export),
    /// Show what a database consists of
    Inspect(inspect),
    /// Show every figure that a database keeps
    Stats(stats),
    /// Look for damage
    Check(check),
    /// Merge everything into one sorted tree
    Compact(compact),
    /// Back up into a repository: in full at first, then what is new
    Backup(backup),
    /// List the backups of a repository
    Backups(backups),
    /// Prove that a repository's backups are whole
    Verify(verify),
    /// Bring a database back, to any moment
    Restore(restore),
    /// Give the present moment a name to restore to
    RestorePoint(restore_point),
    /// Show or change who can open a database
    Keys(keys),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example() {
        for command in Cli::command().get_subcommands_mut() {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Example"), "{}", command.get_name());
        }
    }
}
