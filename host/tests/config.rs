//! What the configuration says to mistakes: each `config/*.toml` beside what is shown for it, `*.err`.
//!
//! `UPDATE=1 cargo test -p holdfast --test config` writes the `.err` files anew; look at the difference before it is committed.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use holdfast::config::{Config, ConfigErrors};

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|it| it == "toml")).collect();
    cases.sort();
    cases
}

fn shown(case: &Path) -> String {
    // The name alone, so that the text does not tell where the repository lies.
    let name = Path::new(case.file_name().unwrap());
    let text = fs::read_to_string(case).unwrap();
    match Config::parse(name, &text) {
        Ok(config) => {
            let mut shown = String::new();
            for warning in &config.warnings {
                writeln!(shown, "{}\n", config.source.render(warning, false).trim_end()).unwrap();
            }
            shown + "sound\n"
        }
        Err(ConfigErrors::Invalid(invalid)) => {
            // What programs are shown counts the same.
            assert_eq!(
                serde_json::to_value(&invalid).unwrap().as_array().unwrap().len(),
                invalid.diagnostics.len()
            );
            invalid.render(false)
        }
        Err(error) => panic!("{}: {error}", case.display()),
    }
}

#[test]
fn mistakes_are_shown() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut failed = Vec::new();
    let cases = cases();
    assert!(cases.len() > 10, "the cases are gone");
    for case in cases {
        let expected = case.with_extension("err");
        let shown = shown(&case);
        // By name: whoever runs the tests may have the working folder anywhere.
        let shown = shown.replace(&std::env::current_dir().unwrap().display().to_string(), "[FOLDER]");
        if update {
            fs::write(&expected, &shown).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != shown {
            failed.push(format!("{}:\n{shown}", case.display()));
        }
    }
    assert!(failed.is_empty(), "not as in the .err file:\n\n{}", failed.join("\n"));
}

/// No cut and no changed byte of a configuration makes the parser or the renderer panic.
#[test]
fn any_text_is_taken() {
    for case in cases() {
        let text = fs::read_to_string(&case).unwrap();
        let show = |text: &str| {
            if let Err(ConfigErrors::Invalid(invalid)) = Config::parse(Path::new("a.toml"), text) {
                assert!(!invalid.render(true).is_empty());
            }
        };
        for (position, character) in text.char_indices() {
            show(&text[..position]);
            let rest = &text[position + character.len_utf8()..];
            for other in ["", "\"", "[", "é", "="] {
                show(&format!("{}{other}{rest}", &text[..position]));
            }
        }
    }
}

#[test]
fn limits_of_one_plugin_stand_on_those_of_all() {
    let text = r#"
        [cluster]
        name = "test"
        endpoints = ["http://127.0.0.1:2379"]
        [backup]
        stores = ["local"]
        [store.local.directory]
        path = "/backups"
        [chain.sanity]
        steps = [{ plugin = "drift" }, { plugin = "query" }]
        [plugins.limits]
        memory = "128MiB"
        timeout = "10s"
        handles = 64
        http_timeout = "3s"
        [plugin.drift]
        timeout = "2m"
        host_calls = 7
        [plugin.query]
        cpu = "1s"
        report = "2MiB"
        http_received = "5MiB"
    "#;
    let config = Config::parse(Path::new("holdfast.toml"), text).unwrap();
    let options = holdfast::agent::host_options(&config.plugins);
    let (all, drift, query) =
        (&options.limits, &options.plugins["drift"].limits, &options.plugins["query"].limits);
    let seconds = std::time::Duration::from_secs;
    assert_eq!(
        (all.memory_bytes, all.timeout, all.cpu, all.handles),
        (128 << 20, seconds(10), seconds(10), 64)
    );
    // More time is more time to compute.
    assert_eq!((drift.timeout, drift.cpu, drift.host_calls), (seconds(120), seconds(120), 7));
    assert_eq!((drift.memory_bytes, drift.handles, drift.http_timeout), (128 << 20, 64, seconds(3)));
    assert_eq!((query.timeout, query.cpu, query.report_bytes), (seconds(10), seconds(1), 2 << 20));
    assert_eq!((query.http_response_bytes, query.http_request_bytes), (5 << 20, 1 << 20));
}
