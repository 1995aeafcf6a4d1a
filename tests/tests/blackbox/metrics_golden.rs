//! The list of metrics is a contract: dashboards and alerts of others hang on
//! it. The list in docs/metrics.md is what a gateway really shows, and what
//! conf/ names is on it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use knoxcall_tests::{Config, Gateway, Redis, Upstream};
use serde_json::{Value, json};

const PAGE: &str = "docs/metrics.md";
const MARK: &str = "<!-- What follows is written by: \
    UPDATE_GOLDEN=1 cargo test -p knoxcall-tests --test blackbox metrics_golden -->\n";
/// What a histogram is made of.
const PARTS: [&str; 3] = ["_bucket", "_sum", "_count"];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Metric {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
}

type Metrics = BTreeMap<String, Metric>;

/// `UPDATE_GOLDEN=1` writes the list.
#[test]
fn the_metrics_change_only_on_purpose() {
    let shown = table(&exposed());
    let file = root().join(PAGE);
    let text = std::fs::read_to_string(&file).unwrap();
    let (prose, listed) = text.split_once(MARK).expect("the mark above the list");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, format!("{prose}{MARK}\n{shown}")).unwrap();
        return;
    }
    assert_eq!(listed.trim_start(), shown, "see the mark in {PAGE}");
}

/// One that shows itself only after something has happened must happen in
/// `exposed`, or nobody will find it in the list.
#[test]
fn every_metric_in_the_source_is_on_the_list() {
    let listed = listed();
    let mut named = BTreeSet::new();
    for file in sources(&root().join("proxy/src")) {
        named.extend(quoted_names(&std::fs::read_to_string(file).unwrap()));
    }
    // Crates, as the log's directives name them.
    named.retain(|name| !root().join(&name["knoxcall_".len()..]).is_dir());
    assert!(named.len() > 20, "{named:?}");
    for name in named {
        assert!(listed.contains_key(&name), "{name} is not in {PAGE}");
    }
}

#[test]
fn the_alert_rules_name_metrics_and_labels_that_exist() {
    let rules = read("conf/prometheus/knoxcall.rules.yaml");
    let used = selectors(&rules);
    assert!(used.len() > 10, "{used:?}");
    assert_known(&used);
}

#[test]
fn the_alert_rules_name_refusals_that_exist() {
    let refusals = read("docs/refusals.md");
    let rules = read("conf/prometheus/knoxcall.rules.yaml");
    let mut types = 0;
    for (matcher, values) in values_of(&rules, "type") {
        for value in values.split('|') {
            let is_known = match value.strip_suffix(".*") {
                Some(prefix) => refusals.contains(&format!("`{prefix}")),
                None => refusals.contains(&format!("`{value}`")),
            };
            assert!(is_known, "{value} in type{matcher}");
            types += 1;
        }
    }
    assert!(types > 4);
}

#[test]
fn the_dashboard_names_metrics_and_labels_that_exist() {
    let dashboard: Value = serde_json::from_str(&read("conf/grafana/knoxcall.json")).unwrap();
    let mut expressions = Vec::new();
    strings_of(&dashboard, "expr", &mut expressions);
    assert!(expressions.len() > 20);
    for expression in &expressions {
        assert!(expression.contains("knoxcall_"), "{expression}");
    }
    strings_of(&dashboard, "definition", &mut expressions);
    assert_known(&selectors(&expressions.join("\n")));
}

#[test]
fn every_metric_is_on_the_dashboard_or_in_a_rule() {
    let watched = read("conf/grafana/knoxcall.json") + &read("conf/prometheus/knoxcall.rules.yaml");
    let watched = selectors(&watched);
    for name in listed().keys() {
        let is_watched = watched.iter().any(|(used, _)| base_name(used) == name);
        assert!(is_watched, "{name} is neither shown nor watched");
    }
}

/// What a gateway shows that uses everything.
fn exposed() -> Metrics {
    let upstream = Upstream::start();
    let redis = Redis::start();
    let gateway = Gateway::start(
        &Config::new(upstream.address())
            .set("/counters", json!({"redis_url": redis.url()}))
            .edit_route("echo", json!({"rate_limit_requests": 100})),
    );
    gateway.get("/").assert_served();
    parse(&gateway.metrics())
}

fn parse(exposition: &str) -> Metrics {
    let mut metrics = Metrics::new();
    for line in exposition.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(name_and_rest) {
            metrics.entry(name).or_default().help = help;
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(name_and_rest) {
            metrics.entry(name).or_default().kind = kind;
        }
    }
    for (series, labels) in selectors(exposition) {
        let name = base_name(&series).to_owned();
        let metric = metrics.get_mut(&name).expect("HELP and TYPE of a series");
        metric.labels.extend(labels);
        // Every histogram has it.
        metric.labels.remove("le");
    }
    for (name, metric) in &metrics {
        assert!(!metric.help.is_empty() && !metric.kind.is_empty(), "{name}");
    }
    metrics
}

fn name_and_rest(line: &str) -> Option<(String, String)> {
    let (name, rest) = line.split_once(' ')?;
    Some((name.to_owned(), rest.to_owned()))
}

fn table(metrics: &Metrics) -> String {
    let mut table = String::from("| metric | type | labels | what |\n| --- | --- | --- | --- |\n");
    for (name, metric) in metrics {
        let labels: Vec<String> = metric.labels.iter().map(|l| format!("`{l}`")).collect();
        table += &format!(
            "| `{name}` | {} | {} | {} |\n",
            metric.kind,
            labels.join(", "),
            metric.help.replace('|', "\\|")
        );
    }
    table
}

/// The metrics and labels in the list.
fn listed() -> Metrics {
    let text = read(PAGE);
    let (_, table) = text.split_once(MARK).expect("the mark above the list");
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split(" | ").collect();
        let bare = |text: &str| text.trim_matches(['|', ' ', '`']).to_owned();
        let labels = cells[2].split(", ").map(bare);
        let metric = Metric {
            kind: cells[1].to_owned(),
            help: bare(cells[3]),
            labels: labels.filter(|label| !label.is_empty()).collect(),
        };
        (bare(cells[0]), metric)
    })
    .collect()
}

fn assert_known(used: &[(String, BTreeSet<String>)]) {
    let listed = listed();
    // Prometheus adds these two to everything it collects.
    let always = ["job", "instance", "le"];
    for (name, labels) in used {
        let Some(metric) = listed.get(base_name(name)) else {
            panic!("{name} is not in {PAGE}");
        };
        let is_part = base_name(name) != name;
        assert_eq!(is_part, metric.kind == "histogram", "{name}");
        for label in labels {
            assert!(
                always.contains(&label.as_str()) || metric.labels.contains(label),
                "{name} has no label {label}"
            );
        }
    }
}

/// The metric that a series belongs to.
fn base_name(series: &str) -> &str {
    let is_measured = ["_seconds_", "_bytes_"]
        .iter()
        .any(|unit| series.contains(unit));
    let part = PARTS
        .iter()
        .find(|part| is_measured && series.ends_with(**part));
    part.map_or(series, |part| &series[..series.len() - part.len()])
}

/// Every metric of ours in a text, with the labels in braces behind it.
fn selectors(text: &str) -> Vec<(String, BTreeSet<String>)> {
    let mut found = Vec::new();
    // In JSON the quotes within are escaped.
    let text = text.replace("\\\"", "\"");
    for (start, _) in text.match_indices("knoxcall_") {
        let rest = &text[start..];
        let end = rest.find(|c: char| !is_of_name(c)).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        let labels = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let labels = labels.map_or_else(BTreeSet::new, |(inside, _)| labels_of(inside));
        found.push((name.to_owned(), labels));
    }
    found
}

/// `a="x", b=~"y"`: a and b.
fn labels_of(matchers: &str) -> BTreeSet<String> {
    let outside = matchers.split('"').step_by(2);
    let names = outside.map(|part| part.trim_matches(|c: char| !is_of_name(c)));
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The values that a label is compared with: the operator, and what it says.
fn values_of<'a>(text: &'a str, label: &str) -> Vec<(&'a str, &'a str)> {
    let mut found = Vec::new();
    for (start, _) in text.match_indices(&format!("{{{label}=")) {
        let (operator, rest) = text[start + 1 + label.len()..].split_once('"').unwrap();
        found.push((operator, rest.split('"').next().unwrap()));
    }
    found
}

/// `"knoxcall_…"`, and nothing else between the quotes.
fn quoted_names(source: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (start, _) in source.match_indices("\"knoxcall_") {
        let rest = &source[start + 1..];
        let end = rest.find(|c: char| !is_of_name(c)).unwrap_or(rest.len());
        if rest[end..].starts_with('"') {
            found.insert(rest[..end].to_owned());
        }
    }
    found
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'
}

fn strings_of(value: &Value, name: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                match member {
                    Value::String(text) if key == name => found.push(text.clone()),
                    member => strings_of(member, name, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| strings_of(item, name, found)),
        _ => {}
    }
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

fn read(file: &str) -> String {
    let file = root().join(file);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
