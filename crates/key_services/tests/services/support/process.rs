//! Tests that need an environment of their own: each runs again in a new process that has it.

use std::env;
use std::path::Path;
use std::process::Command;

use super::run;

const FOLDER: &str = "LIGHTNING_TEST_FOLDER";

/// Runs `body`, which is the test of this name, in a process with these variables; `body` is given a folder.
pub(crate) fn with(name: &str, variables: &[(&'static str, &str)], body: impl FnOnce(&Path)) {
    with_folder(name, |_| variables.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(), body);
}

/// As [`with`], where the variables depend on the folder.
pub(crate) fn with_folder(
    name: &str,
    variables: impl FnOnce(&Path) -> Vec<(&'static str, String)>,
    body: impl FnOnce(&Path),
) {
    if let Some(folder) = env::var_os(FOLDER) {
        return body(Path::new(&folder));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut again = Command::new(env::current_exe().expect("this program"));
    again.args([name, "--exact", "--nocapture", "--test-threads=1"]).env(FOLDER, folder.path());
    for variable in [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
        "AZURE_CLIENT_ID",
        "AZURE_CLIENT_SECRET",
        "AZURE_FEDERATED_TOKEN_FILE",
        "AZURE_TENANT_ID",
    ] {
        again.env_remove(variable);
    }
    let output = run(again.envs(variables(folder.path())));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("1 passed"), "the test {name} did not run: {text}");
}
