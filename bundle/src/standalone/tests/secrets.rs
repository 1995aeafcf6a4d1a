use std::os::unix::fs::symlink;

use super::*;

fn secret_value(setup: &Setup) -> String {
    let loaded = setup.loaded();
    let secret = &only_tenant(&loaded).secrets[0];
    secret.values.values().next().unwrap().expose().to_owned()
}

#[test]
fn one_line_feed_at_a_files_end_is_not_part_of_the_secret() {
    for (content, value) in [
        ("x", "x"),
        ("x\n", "x"),
        ("x\n\n", "x\n"),
        ("a\nb\n", "a\nb"),
    ] {
        let setup = with("secrets: [{name: a, from_file: s}]\n").file("s", content, 0o640);
        assert_eq!(secret_value(&setup), value);
    }
}

#[test]
fn a_link_is_followed_as_kubernetes_mounts_secrets() {
    let setup = with("secrets: [{name: a, from_file: link}]\n").file("data", "x", 0o400);
    symlink(
        setup.folder.path().join("data"),
        setup.folder.path().join("link"),
    )
    .unwrap();
    assert_eq!(secret_value(&setup), "x");
}

#[test]
fn refuses_a_file_that_others_may_use_or_the_group_may_write() {
    for (mode, message) in [
        (0o604, "others may use the file (mode 0604) (chmod o-rwx)"),
        (0o602, "others may use the file (mode 0602) (chmod o-rwx)"),
        (0o601, "others may use the file (mode 0601) (chmod o-rwx)"),
        (
            0o620,
            "the group may write the file (mode 0620) (chmod g-w)",
        ),
    ] {
        let setup = with("secrets: [{name: a, from_file: s}]\n").file("s", "x", mode);
        assert_eq!(
            setup.report(),
            format!("config.yaml:2: secrets[0].from_file: {message}\n1 problem")
        );
    }
}

#[test]
fn refuses_an_open_file_behind_a_link() {
    let setup = with("secrets: [{name: a, from_file: link}]\n").file("data", "x", 0o644);
    symlink(
        setup.folder.path().join("data"),
        setup.folder.path().join("link"),
    )
    .unwrap();
    assert!(setup.report().contains("others may use the file"));
}

#[test]
fn refuses_what_is_missing_empty_too_large_or_no_file() {
    let secret = "secrets: [{name: a, from_file: s}]\n";
    assert!(
        with(secret)
            .report()
            .contains("the file cannot be read: entity not found")
    );
    assert!(
        with(secret)
            .file("s", "", 0o600)
            .report()
            .contains("the file is empty")
    );
    assert!(
        with(secret)
            .file("s", "\n", 0o600)
            .report()
            .contains("the file is empty")
    );
    let large = "x".repeat(64 * 1024 + 1);
    assert!(
        with(secret)
            .file("s", &large, 0o600)
            .report()
            .contains("larger than 64 KiB")
    );
    assert!(
        with("secrets: [{name: a, from_file: .}]\n")
            .report()
            .contains("not a regular file")
    );
}

#[test]
fn refuses_an_environment_variable_that_is_not_set_or_empty() {
    let secret = "secrets: [{name: a, from_env: HUNTER2}]\n";
    assert_eq!(
        with(secret).report(),
        "config.yaml:2: secrets[0].from_env: the environment variable is not set \
         (set it where the gateway is started)\n1 problem"
    );
    assert!(
        with(secret)
            .env("HUNTER2", "")
            .report()
            .contains("variable is empty")
    );
}

#[test]
fn a_secret_in_clear_needs_the_flag() {
    let text = "secrets: [{name: a, value: hunter2}]\n";
    let report = with(text).report();
    assert!(
        report.contains("secrets[0].value: a secret in clear is refused"),
        "{report}"
    );
    assert!(!report.contains("hunter2"), "{report}");
    assert_eq!(secret_value(&with(text).inline()), "hunter2");
}

#[test]
fn a_missing_value_is_a_mistake_unless_the_secret_is_optional() {
    let text = |optional: bool| {
        format!(
            "environments: [{{name: production}}, {{name: staging}}]
secrets: [{{name: s, optional: {optional}, environments: {{production: {{from_env: S}}}}}}]
routes:
  - slug: a
    target_base_url: http://x.example
    inject_headers: {{authorization: '{{{{secret:s}}}}'}}
    environments: {{staging: {{}}}}
"
        )
    };
    assert_eq!(
        with(&text(false)).env("S", "a-secret").report(),
        "config.yaml:7: routes[0].inject_headers.authorization: the secret `s` has no value in \
         `staging` (give it one, or declare it optional: true (such requests then get 503))\n\
         1 problem"
    );
    assert!(with(&text(true)).env("S", "a-secret").load().is_ok());
}

#[test]
fn neither_the_bundle_nor_the_settings_show_a_secret() {
    let loaded = quickstart().loaded();
    let shown = format!("{loaded:?}");
    for value in ["token-live", "token-staging", "signing-secret"] {
        assert!(!shown.contains(value), "{value}");
    }
}

#[test]
fn a_blank_value_is_no_secret() {
    for value in ["   ", " \n", "\t", "\u{a0}", "\r\n\n"] {
        let env = with("secrets: [{name: a, from_env: S}]\n").env("S", value);
        assert!(env.report().contains("variable is empty or blank"));
        let file = with("secrets: [{name: a, from_file: s}]\n").file("s", value, 0o600);
        assert!(file.report().contains("the file is empty or blank"));
    }
    let inline = with("secrets: [{name: a, value: '  '}]\n").inline();
    assert!(
        inline
            .report()
            .contains("secrets[0].value: is empty or blank")
    );
}
