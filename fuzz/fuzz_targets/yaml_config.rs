//! A configuration file. Whatever stands in it, it is accepted or refused with
//! at least one mistake at a line that exists; what is accepted compiles; and
//! no report, debug output or `config show` tells what stands under `secrets`
//! or came from the environment.

#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use knoxcall_bundle::{LoadOptions, Loaded, Report, effective, load};
use knoxcall_filters::{EdgeRules, RouteTable};
use knoxcall_fuzz::let_panics_unwind;
use libfuzzer_sys::fuzz_target;

const SECRET: &str = "Xq7-vN2x_sRwTz5k";

/// Before the input, so that nothing in it can change what these lines are.
const SOUND: &str = "secrets:\n- name: one\n  value: Xq7-vN2x_sRwTz5k\n";
const MISTAKEN: &str = "secrets:
- {name: one, value: [Xq7-vN2x_sRwTz5k]}
- {name: two, from_file: Xq7-vN2x_sRwTz5k}
- {name: three, vlaue: Xq7-vN2x_sRwTz5k}
- {name: four, environments: {production: Xq7-vN2x_sRwTz5k, nowhere: {value: Xq7-vN2x_sRwTz5k}}}
- {name: five, id: Xq7-vN2x_sRwTz5k, value: Xq7-vN2x_sRwTz5k}
- value:Xq7-vN2x_sRwTz5k
- Xq7-vN2x_sRwTz5k
";

static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let name = format!("knoxcall-fuzz-{}.yaml", std::process::id());
    std::env::temp_dir().join(name)
});

fuzz_target!(init: let_panics_unwind(), |data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if text.contains(&SECRET[..4]) {
        return;
    }
    for secrets in [SOUND, MISTAKEN] {
        check(&format!("{secrets}{text}"));
    }
});

fn check(text: &str) {
    std::fs::write(&*FILE, text).expect("the folder of temporary files can be written");
    let options = LoadOptions {
        allow_inline_secrets: true,
        env: &from_env,
    };
    match load(&FILE, &options) {
        Ok(loaded) => check_loaded(&loaded, &options),
        Err(report) => check_report(&report, text),
    }
}

fn from_env(name: &str) -> Option<String> {
    Some(match name {
        "REDIS" => format!("redis://:{SECRET}@localhost/"),
        _other => SECRET.to_owned(),
    })
}

fn check_loaded(loaded: &Loaded, options: &LoadOptions<'_>) {
    check_silent(&format!("{loaded:?}"));
    let table = RouteTable::compile(&loaded.bundle, &EdgeRules::default());
    check_silent(&format!("{table:?}"));
    let shown = effective(&FILE, options).expect("what loads can be shown");
    check_silent(&shown.to_string());
}

fn check_report(report: &Report, text: &str) {
    check_silent(&report.to_string());
    check_silent(&format!("{report:?}"));
    assert!(!report.problems.is_empty());
    // YAML ends lines with a carriage return as well; the end of the file may
    // count as a line.
    let lines = text.split(['\n', '\r']).count() + 1;
    for problem in &report.problems {
        assert!(
            problem.line.is_none_or(|line| (1..=lines).contains(&line)),
            "{problem:?}"
        );
    }
}

fn check_silent(text: &str) {
    assert!(!text.contains(SECRET), "{text}");
}
