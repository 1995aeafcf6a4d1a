//! The command line: help, exit codes, one clear line for what went wrong.

use std::net::{SocketAddr, TcpListener, TcpStream};

use knoxcall_tests::{Cli, Config, Gateway, RawClient, Request, Upstream, keys};
use serde_json::{Value, json};

#[test]
fn help_names_every_command() {
    let help = help_of(&[]);
    for command in [
        "serve",
        "config",
        "keys",
        "sign",
        "explain",
        "check",
        "health",
        "demo-upstream",
        "completions",
        "man",
    ] {
        assert!(
            help.commands.iter().any(|name| name == command),
            "{command}"
        );
    }
    let serve = help_of(&["serve"]).text;
    for variable in ["KNOXCALL_CONFIG", "KNOXCALL_LOG", "KNOXCALL_WORKERS"] {
        assert!(serve.contains(variable), "{variable} in {serve}");
    }
    assert_eq!(Cli::new(["--version"]).run().code, 0);
}

/// That have no default: they are demanded, at least with `--version v2` or for
/// want of their neighbour, or what is done without them is not done otherwise.
const WITHOUT_DEFAULT: [&str; 10] = [
    "--config",
    "--target",
    "--secret-env",
    "--secret-file",
    "--body-file",
    "--host",
    "--route-id",
    "sign --environment",
    "--upgrade",
    "--directory",
];

#[test]
fn every_option_has_help_and_tells_its_default() {
    let mut known = 0;
    for help in every_help() {
        for option in &help.options {
            let name = format!("knoxcall {} {}", help.command, option.flags);
            assert!(option.says_what_it_is_for(), "{name} has no help");
            let of_this = format!("{} {}", help.command, option.flag());
            let has_default = option.takes_value()
                && !WITHOUT_DEFAULT.contains(&option.flag())
                && !WITHOUT_DEFAULT.contains(&&*of_this);
            let told = option.help.contains("[default: ");
            assert_eq!(told, has_default, "{name}: {}", option.help);
            known += 1;
        }
    }
    assert!(known > 50, "only {known} options were found");
}

/// What `--help` says of a command.
struct Help {
    /// Its words, without ours.
    command: String,
    text: String,
    commands: Vec<String>,
    options: Vec<HelpOfOption>,
}

struct HelpOfOption {
    /// `-X, --method <METHOD>`
    flags: String,
    help: String,
}

impl HelpOfOption {
    fn flag(&self) -> &str {
        let mut words = self.flags.split([' ', ',', '[']);
        words.rfind(|word| word.starts_with("--")).expect("a flag")
    }

    fn takes_value(&self) -> bool {
        self.flags.contains('<')
    }

    /// Beside what clap says by itself.
    fn says_what_it_is_for(&self) -> bool {
        let own = self.help.split('[').next().unwrap_or_default();
        let own = own.split("Possible values:").next().unwrap_or_default();
        own.contains(char::is_alphabetic)
    }
}

fn every_help() -> Vec<Help> {
    let mut all = vec![help_of(&[])];
    let mut next = 0;
    while let Some(help) = all.get(next) {
        let words: Vec<String> = help.command.split_whitespace().map(str::to_owned).collect();
        let below: Vec<Help> = help
            .commands
            .iter()
            .filter(|name| *name != "help")
            .map(|name| {
                let words: Vec<&str> = words.iter().map(String::as_str).chain([&**name]).collect();
                help_of(&words)
            })
            .collect();
        all.extend(below);
        next += 1;
    }
    all
}

/// An entry begins with two to six blanks; what is said of it follows after two
/// at least, or on lines further to the right.
fn help_of(command: &[&str]) -> Help {
    let output = Cli::new(command.iter().chain(&["--help"])).run();
    assert_eq!(
        (output.code, output.stderr.as_str()),
        (0, ""),
        "{command:?}"
    );
    let mut help = Help {
        command: command.join(" "),
        text: output.stdout.clone(),
        commands: Vec::new(),
        options: Vec::new(),
    };
    let mut section = "";
    for line in output.stdout.lines() {
        let entry = line.trim_start();
        let (begun, said) = entry.split_once("  ").unwrap_or((entry, ""));
        match (section, line.len() - entry.len()) {
            (_, 0) if !line.is_empty() => section = line,
            ("Commands:", 2) => help.commands.push(begun.to_owned()),
            ("Options:", 2..=6) => help.options.push(HelpOfOption {
                flags: begun.to_owned(),
                help: said.to_owned(),
            }),
            ("Options:", _) => {
                if let Some(option) = help.options.last_mut() {
                    option.help.push_str(&format!(" {entry}"));
                }
            }
            _ => {}
        }
    }
    help
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
    assert_busy(&mut gateway, port);
    let mut gateway =
        Gateway::spawn(&Config::new(upstream.address()).admin(&format!("127.0.0.1:{port}")));
    assert_busy(&mut gateway, port);
}

#[track_caller]
fn assert_busy(gateway: &mut Gateway, port: u16) {
    assert_eq!(gateway.process().wait().code(), Some(2));
    let told = gateway.process().stderr();
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(
        told.contains(&port.to_string()) && told.contains("use"),
        "{told}"
    );
    assert!(!told.contains("panicked"), "{told}");
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
