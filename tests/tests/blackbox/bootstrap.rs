//! What `scripts/bootstrap` leaves behind on the system that it prepares.

use std::fs;
use std::process::Command;

/// Runs this while no service may start, with a policy of its own instead of
/// the system's. `None`: a signal ended it.
fn without_services(policy: &str, command: &str) -> Option<i32> {
    let script = r#"
        set -euo pipefail
        policy=$1
        as_root() { "$@"; }
        eval "$(sed -n '/^without_services()/,/^)/p' ../scripts/bootstrap)"
        without_services eval "$2"
    "#;
    // A shell cannot trap what it was told to ignore, as by `nohup`.
    let mut bash = Command::new("env");
    bash.args([
        "--default-signal",
        "bash",
        "-c",
        script,
        "bash",
        policy,
        command,
    ]);
    bash.output().unwrap().status.code()
}

#[test]
fn the_policy_against_services_goes_however_an_installation_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy-rc.d");
    let policy = path.to_str().unwrap();
    for (command, code) in [
        ("test -x $policy", 0),
        ("false", 1),
        ("kill -INT $BASHPID", 130),
        ("kill -HUP $BASHPID", 129),
        ("kill -TERM $BASHPID", 143),
    ] {
        assert_eq!(without_services(policy, command), Some(code), "{command}");
        assert!(!path.exists(), "left behind after {command}");
    }
}

#[test]
fn a_policy_of_the_systems_own_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy-rc.d");
    fs::write(&path, "its own").unwrap();
    let policy = path.to_str().unwrap();
    assert_eq!(without_services(policy, "kill -TERM $BASHPID"), Some(143));
    assert_eq!(fs::read_to_string(&path).unwrap(), "its own");
}
