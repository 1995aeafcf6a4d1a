//! The command line: help, exit codes, one clear line for what went wrong.

use std::net::{SocketAddr, TcpListener, TcpStream};

use knoxcall_tests::{Cli, Config, Gateway, RawClient, Request, Upstream, keys};
use serde_json::{Value, json};

#[test]
fn help_names_every_command_with_defaults_and_units() {
    let help = Cli::new(["--help"]).run();
    assert_eq!(help.code, 0);
    for command in [
        "serve",
        "config",
        "keys",
        "sign",
        "explain",
        "health",
        "demo-upstream",
        "completions",
        "man",
    ] {
        assert!(
            help.stdout.contains(command),
            "{command} in {}",
            help.stdout
        );
        assert_eq!(Cli::new([command, "--help"]).run().code, 0, "{command}");
    }
    let serve = Cli::new(["serve", "--help"]).run().stdout;
    for word in [
        "KNOXCALL_CONFIG",
        "KNOXCALL_LOG",
        "KNOXCALL_WORKERS",
        "default",
    ] {
        assert!(serve.contains(word), "{word} in {serve}");
    }
    assert_eq!(Cli::new(["--version"]).run().code, 0);
}

#[test]
fn bad_flags_exit_with_2() {
    for arguments in [
        vec![],
        vec!["nonsense"],
        vec!["serve"],
        vec!["serve", "--config"],
        vec!["serve", "--nonsense"],
        vec!["config"],
        vec!["config", "check"],
        vec!["keys", "new", "--kind", "nonsense"],
        vec!["sign", "--target", "/"],
        vec![
            "sign",
            "--secret-env",
            "S",
            "--version",
            "v2",
            "--target",
            "/",
        ],
        vec!["explain", "--config", "x"],
        vec!["health", "--url", "https://127.0.0.1:9901/healthz"],
        vec!["health", "--timeout-ms", "0"],
        vec!["completions"],
        vec!["completions", "nonsense"],
    ] {
        let output = Cli::new(&arguments).run();
        assert_eq!(output.code, 2, "{arguments:?}: {}", output.stderr);
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
        assert!(output.stderr.contains("--help"), "{}", output.stderr);
        assert!(!output.stderr.contains("panicked"), "{}", output.stderr);
    }
}

#[test]
fn a_missing_file_is_one_clear_line() {
    for arguments in [
        ["serve", "--config", "no-such.yaml"].as_slice(),
        &["config", "check", "no-such.yaml"],
        &["config", "show", "no-such.yaml"],
        &["explain", "--config", "no-such.yaml", "--", "http://x/"],
    ] {
        let output = Cli::new(arguments).run();
        assert_eq!(output.code, 2, "{}", output.stderr);
        assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
        assert!(
            output
                .stderr
                .trim_end()
                .ends_with("no-such.yaml: cannot be read: No such file or directory"),
            "{}",
            output.stderr
        );
    }
}

#[test]
fn a_busy_port_is_one_clear_line() {
    let upstream = Upstream::start();
    let port = knoxcall_tests::free_port();
    let _busy = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let mut gateway = Gateway::spawn_on(&Config::new(upstream.address()), port);
    assert_eq!(gateway.process().wait().code(), Some(2));
    let told = gateway.process().stderr();
    assert!(
        told.contains(&port.to_string()) && told.contains("use"),
        "{told}"
    );
    assert!(!told.contains("panicked"), "{told}");

    let mut gateway =
        Gateway::spawn(&Config::new(upstream.address()).admin(&format!("127.0.0.1:{port}")));
    assert_eq!(gateway.process().wait().code(), Some(2));
    assert!(gateway.process().stderr().contains(&port.to_string()));
}

#[test]
fn flags_win_over_the_file() {
    let upstream = Upstream::start();
    let address = format!("127.0.0.1:{}", knoxcall_tests::free_port());
    let _gateway = Gateway::spawn(
        &Config::new(upstream.address())
            .argument("--workers=1")
            .argument(&format!("--listen={address}")),
    );
    let address: SocketAddr = address.parse().unwrap();
    knoxcall_tests::eventually("the address of the flag", || {
        TcpStream::connect(address).ok()
    });
    let mut client = RawClient::connect(address);
    client.send(Request::get("/").bytes());
    client.read().assert_served();
}

#[test]
fn a_new_key_is_known_by_the_lines_to_paste() {
    let upstream = Upstream::start();
    for (kind, prefix, environment) in [
        ("live", "tk_live_", "production"),
        ("test", "tk_test_", "sandbox"),
        ("access-key", "AKE", "production"),
    ] {
        let output = Cli::new(["keys", "new", "--kind", kind, "--name", "a \"name\": with"]).run();
        assert_eq!(output.code, 0, "{}", output.stderr);
        let line = |start: &str| {
            let line = output
                .stdout
                .lines()
                .find(|line| line.trim_start_matches([' ', '-']).starts_with(start));
            line.unwrap_or_else(|| panic!("{start} in {}", output.stdout))
                .trim()
                .to_owned()
        };
        let value = |field: &str| line(field).rsplit_once(": ").unwrap().1.to_owned();
        let key = line(prefix);
        let id = value("key_id");
        assert!(
            key.starts_with(&format!("{id}_")) && key.len() > id.len() + 40,
            "{key}"
        );
        assert_eq!(
            output.stdout.matches(&key).count(),
            1,
            "shown more than once"
        );

        let entry = json!({"key_id": id, "key_sha256": value("key_sha256"), "name": "pasted"});
        let gateway = Gateway::start(&Config::new(upstream.address()).set("/api_keys/0", entry));
        gateway
            .send(&Request::get("/").key(&key).environment(environment))
            .assert_served();
        gateway
            .send(&Request::get("/").key(keys::LIVE))
            .assert_refused(401, "unauthorized");
    }
}

#[test]
fn two_new_keys_differ() {
    let key = || Cli::new(["keys", "new"]).run().stdout;
    assert_ne!(key(), key());
}

#[test]
fn the_schema_describes_the_configuration() {
    let output = Cli::new(["config", "schema"]).run();
    assert_eq!(output.code, 0);
    let schema: Value = serde_json::from_str(&output.stdout).unwrap();
    for section in [
        "listeners",
        "tenant",
        "environments",
        "secrets",
        "api_keys",
        "clients",
        "routes",
        "limits",
        "logging",
    ] {
        assert!(schema["properties"][section].is_object(), "{section}");
    }
}

#[test]
fn show_fills_in_defaults_and_redacts_secrets() {
    let upstream = Upstream::start();
    let config = Config::new(upstream.address()).set(
        "/secrets/0",
        json!({"name": "token", "environments": {"production": {"value": "s3cr3t-inline-1"}, "staging": {"value": "s3cr3t-inline-2"}}}),
    );
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("c.yaml");
    std::fs::write(
        &file,
        config
            .clone()
            .set("/listeners", json!([{"address": "127.0.0.1:1"}]))
            .text(),
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let refused = Cli::new(["config", "show", file]).env_of(&config).run();
    assert_eq!(refused.code, 2, "inline secrets need a flag");
    assert!(!refused.stderr.contains("s3cr3t"), "{}", refused.stderr);
    let output = Cli::new(["config", "show", "--allow-inline-secrets", file])
        .env_of(&config)
        .run();
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(!output.stdout.contains("s3cr3t"), "{}", output.stdout);
    assert!(output.stdout.contains("[redacted]"));
    let shown: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(shown["limits"]["head_bytes"], 16_384);
    assert_eq!(shown["routes"][0]["slug"], "echo");
}

#[test]
fn sign_never_shows_the_secret() {
    let sign = |variable: &str| {
        Cli::new(["sign", "--secret-env", variable, "--target", "/"])
            .env("SIGNING", "s3cr3t-to-sign")
            .run()
    };
    let output = sign("SIGNING");
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(!output.stdout.contains("s3cr3t") && !output.stderr.contains("s3cr3t"));
    let missing = sign("NOT_SET");
    assert_eq!(missing.code, 2);
    assert!(missing.stderr.contains("NOT_SET"), "{}", missing.stderr);
}

#[test]
fn a_switch_in_the_environment_takes_the_usual_words() {
    let upstream = Upstream::start();
    let config = Config::new(upstream.address())
        .set("/listeners", json!([{"address": "127.0.0.1:1"}]))
        .set(
            "/secrets/0",
            json!({"name": "token", "environments": {"production": {"value": "s3cr3t-inline-1"}, "staging": {"value": "s3cr3t-inline-2"}}}),
        );
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("c.yaml"), config.text()).unwrap();
    let check = |word: &str| {
        Cli::new(["config", "check", "c.yaml"])
            .env_of(&config)
            .env("KNOXCALL_ALLOW_INLINE_SECRETS", word)
            .current_dir(directory.path())
            .run()
    };
    for yes in ["1", "true", "yes", "TRUE", "on"] {
        let output = check(yes);
        assert_eq!(output.code, 0, "{yes}: {}", output.stderr);
    }
    for no in ["0", "false", "no", "off", ""] {
        let output = check(no);
        assert_eq!(output.code, 2, "{no}");
        assert!(output.stderr.contains("in clear"), "{}", output.stderr);
    }
    let neither = check("perhaps");
    assert_eq!(neither.code, 2);
    assert!(neither.stderr.contains("true"), "{}", neither.stderr);
    assert_eq!(neither.stderr.lines().count(), 1, "{}", neither.stderr);
}

#[test]
fn sign_refuses_what_the_gateway_would_refuse() {
    let sign = |arguments: &[&str]| {
        Cli::new(["sign", "--secret-env", "SIGNING"].iter().chain(arguments))
            .env("SIGNING", "s3cr3t-to-sign")
            .run()
    };
    for (arguments, named) in [
        (["--target", "pay"].as_slice(), "--target"),
        (&["--target", ""], "--target"),
        (&["--target", "http://gw.test/"], "--target"),
        (
            &["--target", "/", "--timestamp", "1700000000000"],
            "--timestamp",
        ),
        (&["--target", "/", "-X", "post"], "--method"),
    ] {
        let output = sign(arguments);
        assert_eq!(output.code, 2, "{arguments:?}: {}", output.stdout);
        assert!(output.stderr.contains(named), "{}", output.stderr);
    }
    assert_eq!(sign(&["--target", "/pay?x=1", "-X", "POST"]).code, 0);
}

#[test]
fn sign_takes_a_secret_as_the_gateway_does() {
    let directory = tempfile::tempdir().unwrap();
    let sign = |source: &str, name: &str| {
        Cli::new([
            "sign",
            source,
            name,
            "--target",
            "/",
            "--timestamp",
            "1700000000",
        ])
        .env("PLAIN", "s3cr3t-to-sign")
        .env("WITH_LINE_FEED", "s3cr3t-to-sign\n")
        .current_dir(directory.path())
        .run()
    };
    let file = directory.path().join("secret");
    let mode = |mode: u32| {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(&file, permissions).unwrap();
    };
    std::fs::write(&file, "s3cr3t-to-sign\n").unwrap();
    mode(0o600);
    let plain = sign("--secret-env", "PLAIN").stdout;
    assert_eq!(sign("--secret-file", "secret").stdout, plain);
    // from_env takes a variable as it is.
    assert_ne!(sign("--secret-env", "WITH_LINE_FEED").stdout, plain);
    for open in [0o644, 0o620] {
        mode(open);
        let refused = sign("--secret-file", "secret");
        assert_eq!(refused.code, 2, "{open:o}");
        assert!(refused.stderr.contains("chmod"), "{}", refused.stderr);
    }
}

#[test]
fn health_is_told_by_the_exit_code() {
    let upstream = Upstream::start();
    let mut gateway = Gateway::start(&Config::new(upstream.address()));
    let ask = |address: SocketAddr, path: &str| {
        let url = format!("http://{address}{path}");
        Cli::new(["health", "--url", &url]).run()
    };
    for address in [gateway.admin(), gateway.address()] {
        for path in ["/healthz", "/livez"] {
            let well = ask(address, path);
            assert_eq!(well.code, 0, "{}", well.stderr);
            assert!(well.stdout.contains(r#""status":"ok""#), "{}", well.stdout);
        }
    }
    let elsewhere = ask(gateway.admin(), "/nowhere");
    assert_eq!((elsewhere.code, elsewhere.stdout.as_str()), (1, ""));
    assert!(elsewhere.stderr.contains("404"), "{}", elsewhere.stderr);
    gateway.stop();
    let gone = ask(gateway.admin(), "/healthz");
    assert_eq!(gone.code, 1);
    assert_eq!(gone.stderr.lines().count(), 1, "{}", gone.stderr);
    assert!(gone.stderr.contains("refused"), "{}", gone.stderr);
}

#[test]
fn health_is_asked_where_the_environment_says() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let url = format!("http://{}/livez", gateway.admin());
    let output = Cli::new(["health"]).env("KNOXCALL_HEALTH_URL", &url).run();
    assert_eq!(output.code, 0, "{}", output.stderr);
}

#[test]
fn bash_takes_the_completions() {
    let output = Cli::new(["completions", "bash"]).run();
    assert_eq!(output.code, 0, "{}", output.stderr);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("knoxcall.bash");
    std::fs::write(&file, output.stdout).unwrap();
    let asked = r#"source "$0"; COMP_WORDS=(knoxcall config ""); COMP_CWORD=2
        _knoxcall knoxcall "" config; echo "${COMPREPLY[@]}""#;
    let bash = std::process::Command::new("bash")
        .args(["-c", asked])
        .arg(&file)
        .output()
        .unwrap();
    let offered = String::from_utf8(bash.stdout).unwrap();
    for command in ["check", "show", "schema"] {
        assert!(offered.contains(command), "{command} in {offered:?}");
    }
}

#[test]
fn the_manual_has_a_page_for_each_command() {
    let page = Cli::new(["man"]).run();
    assert_eq!(page.code, 0, "{}", page.stderr);
    assert!(page.stdout.contains(".TH knoxcall 1"), "{}", page.stdout);
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().to_str().unwrap();
    let written = Cli::new(["man", "--directory", folder]).run();
    assert_eq!((written.code, written.stdout.as_str()), (0, ""));
    for page in ["knoxcall.1", "knoxcall-serve.1", "knoxcall-config-check.1"] {
        assert!(directory.path().join(page).exists(), "{page}");
    }
    let refused = Cli::new(["man", "--directory", "/no/such/folder"]).run();
    assert_eq!(refused.code, 2);
    assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.stderr);
}
