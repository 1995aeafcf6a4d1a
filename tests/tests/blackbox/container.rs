//! What the files for containers promise, as far as it can be read from them;
//! `make image` tries the rest.

use std::path::{Path, PathBuf};

#[test]
fn every_crate_of_the_workspace_is_in_the_images_context() {
    let manifest = read("Cargo.toml");
    let members = manifest
        .lines()
        .find_map(|line| line.strip_prefix("members = ["))
        .expect("the members of the workspace");
    let ignored = read(".dockerignore");
    let let_in: Vec<&str> = ignored
        .lines()
        .filter_map(|l| l.strip_prefix('!'))
        .collect();
    let members: Vec<&str> = members.split('"').skip(1).step_by(2).collect();
    assert!(members.len() > 5, "{members:?}");
    for member in members {
        assert!(let_in.contains(&member), "{member} is not in .dockerignore");
    }
}

#[test]
fn local_files_stay_out_of_the_images_context() {
    let ignored = read(".dockerignore");
    let first = ignored.lines().find(|line| !line.starts_with('#'));
    assert_eq!(first, Some("*"), "what is not named stays out");
    for secret in ["**/*.local.yaml", "**/.env"] {
        assert!(ignored.lines().any(|line| line == secret), "{secret}");
    }
}

#[test]
fn the_last_stage_runs_nothing_and_is_not_root() {
    let dockerfile = read("Dockerfile");
    let (_, last) = dockerfile.rsplit_once("\nFROM ").unwrap();
    assert!(last.starts_with("${RUNTIME_BASE}\n"), "{last}");
    assert!(!last.lines().any(|line| line.starts_with("RUN ")), "{last}");
    for wanted in ["USER 65532:65532", "STOPSIGNAL SIGTERM", "HEALTHCHECK "] {
        assert!(last.contains(&format!("\n{wanted}")), "{wanted}");
    }
}

#[test]
fn every_service_is_hardened() {
    let compose = read("compose.yaml");
    for setting in [
        "read_only: true",
        "cap_drop: [ALL]",
        "no-new-privileges:true",
    ] {
        assert!(compose.contains(setting), "{setting}");
    }
    let (_, services) = compose.split_once("\nservices:\n").unwrap();
    let is_name = |line: &&str| line.starts_with("  ") && !line.starts_with("   ");
    let named: Vec<&str> = services.lines().filter(is_name).collect();
    assert_eq!(named.len(), 4, "{named:?}");
    assert_eq!(services.matches("    <<: *hardened\n").count(), named.len());
}

#[test]
fn ports_are_published_on_loopback_alone() {
    let compose = read("compose.yaml");
    let (_, ports) = compose.split_once("    ports:\n").unwrap();
    let ports: Vec<&str> = ports
        .lines()
        .map_while(|line| line.strip_prefix("      - "))
        .collect();
    assert_eq!(compose.matches("ports:").count(), 1);
    assert!(!ports.is_empty());
    for port in ports {
        assert!(port.starts_with("127.0.0.1:"), "{port}");
    }
}

fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
