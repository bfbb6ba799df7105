//! Projects that `holdfast plugin new` begins, and the way that `plugins/README.md` leads: every console block runs as it stands.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use holdfast_tests::cluster::temporary_directory;
use holdfast_tests::site::{Output, finish, holdfast};
use holdfast_tests::{Cluster, Site, objects, tools};

/// A fenced block of a document: its language, its text, and the line before it.
struct Block {
    language: String,
    text: String,
    before: String,
}

fn blocks(document: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let (mut before, mut open): (String, Option<Block>) = (String::new(), None);
    for line in document.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => {
                open = Some(Block {
                    language: language.to_owned(),
                    text: String::new(),
                    before: before.clone(),
                });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => writeln!(block.text, "{line}").expect("text"),
            (None, None) if line.is_empty() => {}
            (None, None) => line.clone_into(&mut before),
        }
    }
    blocks
}

/// The blocks as one shell script: console lines are run, and a text that follows the name of a file is written there.
fn script(document: &str) -> String {
    let mut script = "set -eu\n".to_owned();
    for block in blocks(document) {
        let file = block.before.strip_prefix('`').and_then(|rest| rest.strip_suffix("`:"));
        if let Some(file) = file {
            writeln!(script, "cat >{file} <<'END-OF-BLOCK'\n{}END-OF-BLOCK", block.text).expect("text");
        }
        if block.language != "console" {
            continue;
        }
        for command in block.text.lines().filter_map(|line| line.strip_prefix("$ ")) {
            // What is installed already need not be asked for on the network.
            if !command.starts_with("rustup ") {
                writeln!(script, "echo '$ {}' >&2\n{command}", command.replace('\'', "'\\''")).expect("text");
            }
        }
    }
    script
}

/// Where projects are built: together, so that what they share is compiled once.
fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugin-projects")
}

/// Runs a document's blocks in `directory`, with the `holdfast` under test and paths of the test's own in place of the system's.
fn follow(document: &str, directory: &Path, site: &Site) -> Output {
    let target = target().display().to_string();
    let script = script(document)
        .replace("/etc/holdfast/plugins", &site.path("plugins").display().to_string())
        .replace(" target/wasm32-wasip2/", &format!(" {target}/wasm32-wasip2/"));
    let binary = tools::holdfast().parent().expect("a binary lies in a folder");
    let etcd = tools::Etcd::version("3.6").etcdctl();
    let path = std::env::join_paths(
        [binary, etcd.parent().expect("a binary lies in a folder")]
            .into_iter()
            .map(Path::to_path_buf)
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    );
    let mut command = Command::new("bash");
    command
        .args(["-c", &script])
        .current_dir(directory)
        .env("PATH", path.expect("folders make a path"))
        .env("HOLDFAST_CONFIG", site.config())
        .env("XDG_CACHE_HOME", directory.join("cache"))
        .env("CARGO_TARGET_DIR", target)
        .env_remove("RUSTFLAGS");
    finish(&mut command)
}

fn new_project(directory: &Path, name: &str, lang: &str) -> PathBuf {
    let place = directory.display().to_string();
    holdfast(&["plugin", "new", name, "--lang", lang, "--directory", &place]).exits(0);
    directory.join(name)
}

/// A site that has no cluster to ask: projects need none.
fn site() -> Site {
    Site::with_endpoints(&["http://127.0.0.1:1"])
}

fn follow_project(lang: &str) -> Output {
    let directory = temporary_directory();
    let project = new_project(directory.path(), &format!("my-{lang}-check"), lang);
    fs::rename(objects::sample("kubernetes-t1", directory.path()), project.join("snapshot.db"))
        .expect("a file can be renamed");
    let readme = fs::read_to_string(project.join("README.md")).expect("a project has a README");
    let output = follow(&readme, &project, &site());
    assert!(output.exits(0).stdout.contains("ok: an agent takes it"), "{output}");
    assert!(output.stdout.contains("passed: 1055 keys begin with `/`"), "{output}");
    output
}

#[test]
fn a_rust_project_does_what_its_readme_says() {
    let directory = temporary_directory();
    let place = directory.path().display().to_string();
    holdfast(&["plugin", "new", "Not A Name", "--directory", &place])
        .exits(2)
        .explains(&["no plugin's name"]);
    new_project(directory.path(), "twice", "rust");
    holdfast(&["plugin", "new", "twice", "--directory", &place]).exits(2).explains(&["cannot be made"]);
    follow_project("rust");
}

/// Projects in languages that bring an interpreter take a minute and some hundred megabytes each.
fn other_language(lang: &str) {
    let wanted =
        std::env::var("CI").as_deref() == Ok("true") || std::env::var_os("HOLDFAST_TEST_LANGUAGES").is_some();
    if wanted {
        follow_project(lang);
    } else {
        tools::skip(&format!("a project in {lang} is built in CI, or with HOLDFAST_TEST_LANGUAGES=1"));
    }
}

#[test]
fn a_javascript_project_does_what_its_readme_says() {
    other_language("js");
}

#[test]
fn a_python_project_does_what_its_readme_says() {
    other_language("python");
}

#[test]
fn the_way_to_ones_own_verifier_works_as_it_is_written() {
    let readme = fs::read_to_string(tools::root().join("plugins/README.md")).expect("it is there");
    let directory = temporary_directory();
    let cluster = Cluster::builder().snapshot(&objects::sample("kubernetes-t2", directory.path())).start();
    // The chain is the one that the document shows.
    let chain = blocks(&readme)
        .into_iter()
        .find(|block| block.text.starts_with("[chain.sanity]"))
        .expect("the document shows a chain");
    let steps: Vec<&str> = chain.text.lines().map(str::trim).filter(|line| line.starts_with('{')).collect();
    let steps: Vec<&str> = steps.iter().map(|step| step.trim_end_matches(',')).collect();
    let site = Site::of(&cluster);
    site.holdfast(&["backup"]).exits(0);
    let site = site.chain("sanity", &steps);
    let endpoints = format!("export ETCDCTL_ENDPOINTS={}", cluster.endpoints().join(","));
    let document = format!("```console\n$ {endpoints}\n```\n{readme}");
    let output = follow(&document, directory.path(), &site);
    output.exits(0);
    for part in ["0 of 9 namespaces", "service-accounts", "by the trusted key"] {
        assert!(output.stdout.contains(part), "`{part}` is missing in {output}");
    }
}
