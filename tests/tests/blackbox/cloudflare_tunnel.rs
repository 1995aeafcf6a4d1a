//! docs/cloudflare-tunnel.md, tried as it is written: its configuration, and
//! the curl lines that send what cloudflared would. conf/compose.yaml trusts
//! the same way.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use knoxcall_tests::{Cli, Process, eventually, free_port};
use tempfile::TempDir;

const PAGE: &str = "docs/cloudflare-tunnel.md";
const GATEWAY: &str = "127.0.0.1:8080";
const UPSTREAM: &str = "127.0.0.1:8090";
const TOKEN: &str = "a-token-of-the-page";

/// What is announced above a line, and the line.
struct Line {
    status: String,
    command: String,
}

struct Page {
    text: String,
    gateway: String,
    upstream: String,
    folder: TempDir,
}

#[test]
fn every_line_of_the_page_does_what_it_says() {
    let page = Page::on_free_ports();
    let upstream = Cli::new(["demo-upstream", "--listen", &page.upstream]).spawn();
    let _gateway = page.start_gateway();
    let lines = page.lines();
    assert!(lines.len() > 5, "only {} lines", lines.len());
    for line in &lines {
        let shown = page.run(&line.command);
        let told = format!("{}\n{shown}", line.command);
        let status = format!("HTTP/1.1 {} ", line.status);
        assert!(shown.starts_with(&status), "{told}");
        assert_eq!(
            shown.contains(r#""upstream":"demo""#),
            line.status == "200",
            "{told}"
        );
    }
    let arrived = upstream.stdout();
    assert!(arrived.contains(TOKEN), "{arrived}");
    assert!(
        arrived.contains("x-forwarded-for: 203.0.113.7"),
        "{arrived}"
    );
    assert!(!arrived.contains("cf-connecting-ip"), "{arrived}");
    assert!(!arrived.contains("tk_live_"), "{arrived}");
}

#[test]
fn the_configuration_for_compose_is_sound() {
    for (redis, code) in [("redis://redis:6379/0", 0), ("redis at home", 2)] {
        let checked = Cli::new(["config", "check", "conf/compose.yaml"])
            .env("DEMO_TOKEN", TOKEN)
            .env("KNOXCALL_REDIS_URL", redis)
            .current_dir(&root())
            .run();
        assert_eq!(checked.code, code, "{}", checked.stderr);
    }
}

#[test]
fn the_configuration_for_compose_trusts_loopback_alone() {
    let shown = Cli::new(["config", "show", "conf/compose.yaml"])
        .env("DEMO_TOKEN", TOKEN)
        .env("KNOXCALL_REDIS_URL", "redis://redis:6379/0")
        .current_dir(&root())
        .run();
    let shown: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
    let trusted = shown["trusted_proxies"].as_array().unwrap();
    assert_eq!(trusted.len(), 1, "{trusted:?}");
    assert_eq!(trusted[0]["cidr"], "127.0.0.1/32");
    assert_eq!(trusted[0]["cf_connecting_ip"], true);
}

impl Page {
    fn on_free_ports() -> Self {
        let text = std::fs::read_to_string(root().join(PAGE)).unwrap();
        Self {
            text,
            gateway: format!("127.0.0.1:{}", free_port()),
            upstream: format!("127.0.0.1:{}", free_port()),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn start_gateway(&self) -> Process {
        let file = self.folder.path().join("gateway.yaml");
        let configuration = self.blocks("yaml").next().expect("a configuration");
        std::fs::write(&file, self.moved(configuration)).unwrap();
        let admin = format!("127.0.0.1:{}", free_port());
        let gateway = Cli::new(["serve", "--config", file.to_str().unwrap()])
            .env("UPSTREAM_TOKEN", TOKEN)
            .env("KNOXCALL_ADMIN_LISTEN", &admin)
            .spawn();
        for address in [&self.upstream, &self.gateway] {
            eventually("a listener", || TcpStream::connect(address).ok());
        }
        gateway
    }

    fn lines(&self) -> Vec<Line> {
        let block = self.blocks("sh").find(|block| block.contains("curl"));
        let block = block.expect("lines to try");
        let (key, lines) = block.split_once("\n\n").expect("key=…, then the lines");
        let pairs = lines.trim().split("\n\n").map(|pair| {
            let (announced, command) = pair.split_once('\n').expect("a comment and a line");
            let announced = announced.strip_prefix("# ").expect("a comment");
            Line {
                status: announced.split(':').next().unwrap().to_owned(),
                command: format!("{key}\n{command}"),
            }
        });
        pairs.collect()
    }

    fn run(&self, command: &str) -> String {
        let output = Command::new("bash")
            .args(["-c", &self.moved(command)])
            .env("no_proxy", "*")
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// On the ports of this test.
    fn moved(&self, text: &str) -> String {
        let text = text.replace(GATEWAY, &self.gateway);
        text.replace(UPSTREAM, &self.upstream)
    }

    fn blocks<'a>(&'a self, language: &str) -> impl Iterator<Item = &'a str> {
        let fence = format!("```{language}\n");
        let mut rest = self.text.as_str();
        std::iter::from_fn(move || {
            let (_, after) = rest.split_once(&fence)?;
            let (block, after) = after.split_once("```")?;
            rest = after;
            Some(block)
        })
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
