//! `knoxcall config check`: every mistake at once, each with path, line and
//! remedy, and never a word of a secret.

use std::os::unix::fs::PermissionsExt;

use knoxcall_tests::{Cli, Output};

const SOUND: &str = "\
listeners:
  - address: 127.0.0.1:0
tenant:
  slug: acme
  base_domain: knox.test
environments:
  - name: production
secrets:
  - name: token
    from_env: TOKEN
routes:
  - slug: echo
    target_base_url: https://api.example.com/v1
    inject_headers:
      Authorization: Bearer {{secret:token}}
";

#[test]
fn a_sound_file_exits_with_0() {
    let output = check(SOUND);
    assert_eq!(output.code, 0, "{}", output.stderr);
}

#[test]
fn every_mistake_is_told_at_once_with_its_line() {
    let text = "\
listeners:
  - address: 127.0.0.1
tenant:
  slug: Ac me
environments:
  - name: production
secrets:
  - name: token
    from_env: NOT_SET_ANYWHERE
routes:
  - slug: echo
    target_base_urll: https://api.example.com
  - slug: second
    name: echo
    target_base_url: ftp://api.example.com
    ip_allowlist: [10.0.0.0/33]
    inject_headers:
      X-A: '{{secret:tokn}}'
      X-B: '{{nothing.known}}'
  - slug: second
    target_base_url: https://api.example.com
    rate_limit_requests: 0
";
    let output = check(text);
    assert_eq!(output.code, 2, "{}{}", output.stdout, output.stderr);
    for (line, path, words) in [
        (2, "listeners[0].address", ""),
        (4, "tenant.slug", ""),
        (9, "secrets[0].from_env", ""),
        (
            12,
            "routes[0].target_base_urll",
            "did you mean `target_base_url`?",
        ),
        (14, "routes[1].name", "slug"),
        (15, "routes[1].target_base_url", "http"),
        (16, "routes[1].ip_allowlist[0]", ""),
        (18, "routes[1].inject_headers.X-A", "secrets[0]"),
        (19, "routes[1].inject_headers.X-B", ""),
        (20, "routes[2].slug", ""),
        (22, "routes[2].rate_limit_requests", ""),
    ] {
        let start = format!("config.yaml:{line}: {path}: ");
        let told = output.stderr.lines().find(|told| told.contains(&start));
        let told = told.unwrap_or_else(|| panic!("no {start:?} in\n{}", output.stderr));
        assert!(told.contains(words), "{words:?} in {told}");
    }
}

#[test]
fn no_scalar_under_secrets_is_ever_quoted() {
    let marks = ["s3cr3t-a", "s3cr3t-b", "s3cr3t-c", "s3cr3t-d", "s3cr3t-e"];
    for secrets in [
        "- {name: token, value: s3cr3t-a}",
        "- {name: token, valeu: s3cr3t-a}",
        "- {name: token, from_env: s3cr3t-b}",
        "- {name: token, from_file: s3cr3t-c}",
        "- {name: 's3cr3t-d!', value: [s3cr3t-a]}",
        "- {name: token, environments: {production: s3cr3t-a}}",
        "- {name: token, environments: {production: {value: 5, from_env: s3cr3t-e}}}",
        "- s3cr3t-a",
        "- {name: token, optional: s3cr3t-a}",
        "[s3cr3t-a, {name: s3cr3t-b",
        "- name: token\n  value: s3cr3t-a\n    bad: s3cr3t-b",
        "- name: token\n  value: \"s3cr3t-a",
        "- name: token\n  value: &s3cr3t-a x",
        "- {name: token, name: s3cr3t-a}",
    ] {
        let text = format!(
            "tenant: {{slug: acme, base_domain: knox.test}}\nroutes: []\nsecrets:\n{secrets}\n"
        );
        let output = check(&text);
        assert_eq!(output.code, 2, "{secrets}");
        let told = format!("{}{}", output.stdout, output.stderr);
        assert!(
            marks.iter().all(|mark| !told.contains(mark)),
            "{secrets}: {told}"
        );
    }
}

#[test]
fn text_that_is_no_configuration_is_told_by_its_line() {
    for (text, line) in [
        ("routes: [\n", 2),
        ("tenant:\n  slug: a\n slug: b\n", 3),
        ("tenant: {slug: a}\ntenant: {slug: b}\n", 2),
        ("a: &x 1\nb: *x\n", 1),
    ] {
        let output = check(text);
        assert_eq!(output.code, 2, "{text}");
        let near = (line - 1..=line + 1)
            .any(|line| output.stderr.contains(&format!("config.yaml:{line}:")));
        assert!(near, "line {line} of {text:?}: {}", output.stderr);
    }
    for text in ["", "[]", "5", "\0"] {
        assert_eq!(check(text).code, 2, "{text:?}");
    }
}

#[test]
fn secret_files_must_be_private() {
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("token");
    std::fs::write(&secret, "s3cr3t-in-a-file\n").unwrap();
    let text = SOUND.replace(
        "from_env: TOKEN",
        &format!("from_file: {}", secret.display()),
    );
    for (mode, code) in [
        (0o600, 0),
        (0o400, 0),
        (0o440, 0),
        (0o644, 2),
        (0o604, 2),
        (0o660, 2),
        (0o602, 2),
    ] {
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(mode)).unwrap();
        let output = check(&text);
        assert_eq!(output.code, code, "mode {mode:o}: {}", output.stderr);
        assert!(!output.stderr.contains("s3cr3t"), "{}", output.stderr);
    }
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&secret, "").unwrap();
    assert_eq!(check(&text).code, 2, "an empty secret");
    std::fs::remove_file(&secret).unwrap();
    assert_eq!(check(&text).code, 2, "a missing file");
}

/// What would fail at the start, or at every request, fails here.
#[test]
fn what_could_not_be_served_is_a_mistake() {
    let digest_of_nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    for (section, path) in [
        (
            "counters: {redis_url: 'redis://h:99999/x'}".to_owned(),
            "counters.redis_url",
        ),
        (
            "logging: {requests: {queue: 1}}".to_owned(),
            "logging.requests.queue",
        ),
        (
            "limits: {head_bytes: 1048576}".to_owned(),
            "limits.head_bytes",
        ),
        (
            "trusted_proxies: [{cidr: 0.0.0.0/0}]".to_owned(),
            "trusted_proxies[0].cidr",
        ),
        (
            format!("api_keys: [{{key_id: tk_live_a, key_sha256: {digest_of_nothing}}}]"),
            "api_keys[0].key_sha256",
        ),
        (
            format!(
                "api_keys: [{{key_id: tk_tset_a, key_sha256: '{}'}}]",
                "a".repeat(64)
            ),
            "api_keys[0].key_id",
        ),
    ] {
        let output = check(&format!("{SOUND}{section}\n"));
        assert_eq!(output.code, 2, "{section}");
        let told = output.stderr.contains(&format!(": {path}: "));
        assert!(told, "{section}: {}", output.stderr);
    }
}

#[test]
fn listeners_that_overlap_are_a_mistake() {
    for (one, other) in [
        ("127.0.0.1:8080", "127.0.0.1:8080"),
        ("0.0.0.0:8080", "127.0.0.1:8080"),
        ("127.0.0.1:8080", "0.0.0.0:8080"),
        ("[::]:8080", "127.0.0.1:8080"),
        ("[::1]:8080", "[::]:8080"),
    ] {
        let listeners = format!("  - address: '{one}'\n  - address: '{other}'\n");
        let output = check(&SOUND.replace("  - address: 127.0.0.1:0\n", &listeners));
        assert_eq!(output.code, 2, "{one} {other}");
        let told = output
            .stderr
            .contains("config.yaml:3: listeners[1].address: cannot be open");
        assert!(told, "{}", output.stderr);
    }
    let with_admin = SOUND.replace("127.0.0.1:0", "0.0.0.0:9901");
    let output = check(&with_admin);
    assert_eq!(output.code, 2);
    assert!(
        output.stderr.contains("admin.address: cannot be open"),
        "{}",
        output.stderr
    );
}

#[test]
fn a_blank_secret_is_a_mistake() {
    for blank in ["", "   ", " \n"] {
        let output = check_with(SOUND, blank);
        assert_eq!(output.code, 2, "{blank:?}");
        assert!(
            output.stderr.contains("secrets[0].from_env: "),
            "{}",
            output.stderr
        );
    }
}

#[test]
fn a_secret_that_no_header_can_carry_is_a_mistake() {
    let output = check_with(SOUND, "s3cr3t-token\n");
    assert_eq!(output.code, 2);
    let start = "config.yaml:15: routes[0].inject_headers.Authorization: ";
    assert!(output.stderr.contains(start), "{}", output.stderr);
    assert!(!output.stderr.contains("s3cr3t"), "{}", output.stderr);
}

#[test]
fn the_quickstart_is_sound() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf/quickstart.yaml");
    let output = Cli::new(["config", "check", file.to_str().unwrap()])
        .env("DEMO_TOKEN", "demo-token")
        .env("DEMO_TOKEN_STAGING", "demo-token")
        .env("DEMO_SIGNING_SECRET", "demo")
        .run();
    assert_eq!(output.code, 0, "{}", output.stderr);
}

fn check(text: &str) -> Output {
    check_with(text, "s3cr3t-token")
}

fn check_with(text: &str, token: &str) -> Output {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("config.yaml"), text).unwrap();
    Cli::new(["config", "check", "config.yaml"])
        .env("TOKEN", token)
        .current_dir(directory.path())
        .run()
}
