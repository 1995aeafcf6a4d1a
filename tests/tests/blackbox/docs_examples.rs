//! Every YAML block of the pages is a configuration that the gateway takes, or a
//! part of one: its sections stand in the place of those of a small whole, and
//! what has no section goes on with that one's route.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use knoxcall_tests::{Authority, Cli};

/// What a block does not say. The route comes last.
const BASE: &str = "\
tenant: {slug: acme, base_domain: example.com}
environments: [{name: production}, {name: staging}]
routes:
  - slug: orders
    target_base_url: https://orders.example.com
";

/// Sections of the files of others: Kubernetes, Compose, Prometheus, cloudflared.
const FOREIGN: [&str; 5] = [
    "livenessProbe",
    "readinessProbe",
    "services",
    "scrape_configs",
    "tunnel",
];

struct Block {
    page: String,
    /// The page's line at which its text begins.
    line: usize,
    text: String,
}

#[test]
fn every_yaml_block_of_the_pages_passes_the_check() {
    let blocks: Vec<Block> = pages().iter().flat_map(|page| blocks_of(page)).collect();
    let ours: Vec<&Block> = blocks.iter().filter(|block| !block.is_foreign()).collect();
    assert!(ours.len() >= 8, "only {} of {}", ours.len(), blocks.len());
    let wrong: Vec<String> = ours.iter().filter_map(|block| block.mistakes()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

impl Block {
    fn is_foreign(&self) -> bool {
        sections(&self.text).any(|name| FOREIGN.contains(&name))
    }

    /// What the check says of it, with the lines of the page.
    fn mistakes(&self) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let file = Path::new(&self.page).file_name().unwrap();
        std::fs::write(folder.path().join(file), self.whole()).unwrap();
        self.place_files(folder.path());
        let check = Cli::new(["config".as_ref(), "check".as_ref(), file]);
        let output = self
            .words()
            .filter(|word| is_variable(word))
            .fold(check, |check, name| check.env(name, "a made-up value"))
            .current_dir(folder.path())
            .run();
        (output.code != 0).then(|| format!("{}:{}:\n{}", self.page, self.line, output.stderr))
    }

    /// With what it does not say before it, and at the line at which it stands.
    fn whole(&self) -> String {
        let mut is_left_out = false;
        let base = BASE.split_inclusive('\n').filter(|line| {
            if let Some(name) = section(line) {
                is_left_out = sections(&self.text).any(|own| own == name);
            }
            !is_left_out
        });
        let base: Vec<&str> = base.collect();
        let empty = (self.line - 1).saturating_sub(base.len());
        format!("{}{}{}", "\n".repeat(empty), base.concat(), self.text)
    }

    /// The files that it names: certificates, their keys, and secrets.
    fn place_files(&self, folder: &Path) {
        let authority = Authority::new();
        for name in self.words().filter(|word| word.ends_with(".pem")) {
            let file = folder.join(name);
            let stem = file.file_stem().unwrap().to_str().unwrap();
            let (certificate, key) = authority.issue_as(stem, "DNS:example.com");
            place(&file, &std::fs::read(certificate).unwrap());
            place(&file.with_extension("key"), &std::fs::read(key).unwrap());
        }
        let is_file = |word: &&str| word.ends_with(".key") || word.starts_with("secrets/");
        for name in self.words().filter(is_file) {
            let file = folder.join(name);
            if !file.exists() {
                // As long as a ticket key, and a text.
                let made_up: Vec<u8> = (b'0'..b'0' + 48).collect();
                place(&file, &made_up);
            }
        }
    }

    /// Without comments.
    fn words(&self) -> impl Iterator<Item = &str> {
        let is_between = |c: char| !c.is_ascii_alphanumeric() && !"_./-".contains(c);
        self.text
            .lines()
            .filter_map(|line| line.split('#').next())
            .flat_map(move |line| line.split(is_between))
    }
}

fn place(file: &Path, content: &[u8]) {
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, content).unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn is_variable(word: &str) -> bool {
    word.contains('_') && word.bytes().all(|c| c == b'_' || c.is_ascii_uppercase())
}

fn sections(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(section)
}

/// The name that begins here.
fn section(line: &str) -> Option<&str> {
    let (name, _) = line.split_once(':')?;
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        .then_some(name)
}

fn blocks_of(page: &Path) -> Vec<Block> {
    let text = std::fs::read_to_string(page).unwrap();
    let name = page.strip_prefix(root()).unwrap().display().to_string();
    let mut lines = (1..).zip(text.lines());
    let mut blocks = Vec::new();
    while let Some((number, line)) = lines.next() {
        let Some(language) = line.trim_start().strip_prefix("```") else {
            continue;
        };
        let inside = lines.by_ref().map(|(_, line)| line);
        let inside: Vec<&str> = inside
            .take_while(|line| line.trim_start() != "```")
            .collect();
        if ["yaml", "yml"].contains(&language) {
            blocks.push(Block {
                page: name.clone(),
                line: number + 1,
                text: inside.join("\n") + "\n",
            });
        }
    }
    blocks
}

fn pages() -> Vec<PathBuf> {
    let docs = std::fs::read_dir(root().join("docs")).unwrap();
    let docs = docs.map(|entry| entry.unwrap().path());
    let is_page = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "md");
    let mut pages: Vec<PathBuf> = docs.filter(is_page).collect();
    pages.push(root().join("README.md"));
    pages.sort();
    pages
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
