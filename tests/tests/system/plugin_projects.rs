//! Projects that `holdfast plugin new` begins, and the way that `plugins/README.md` leads: every console block runs as it stands.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

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
    // They share a target folder, and `cargo test` goes back to what another may have replaced meanwhile.
    static CARGO: Mutex<()> = Mutex::new(());
    let _alone = document.contains("cargo ").then(|| CARGO.lock().unwrap_or_else(PoisonError::into_inner));
    let target = target().display().to_string();
    let script = script(document)
        .replace("/etc/holdfast/plugins", &site.path("plugins").display().to_string())
        .replace(" target/wasm32-wasip2/", &format!(" {target}/wasm32-wasip2/"));
    let binary = tools::holdfast().parent().expect("a binary lies in a folder");
    let etcd = tools::Etcd::version("3.6").etcdctl();
    let path = std::env::join_paths(
        [binary, etcd.parent().expect("a binary lies in a folder"), &tools::directory().join("bin")]
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
    // What package managers and compilers have fetched and made is kept for the next project.
    let kept = tools::directory().join("cache");
    for (variable, folder) in [("npm_config_cache", "npm"), ("PIP_CACHE_DIR", "pip"), ("GOCACHE", "go")] {
        command.env(variable, kept.join(folder));
    }
    finish(&mut command)
}

fn new_project(directory: &Path, name: &str, kind: &str, lang: &str) -> PathBuf {
    let place = directory.display().to_string();
    holdfast(&["plugin", "new", name, "--kind", kind, "--lang", lang, "--directory", &place]).exits(0);
    directory.join(name)
}

/// A site that has no cluster to ask: projects need none.
fn site() -> Site {
    Site::with_endpoints(&["http://127.0.0.1:1"])
}

fn follow_project(lang: &str) -> Output {
    let directory = temporary_directory();
    let project = new_project(directory.path(), &format!("my-{lang}-check"), "verifier", lang);
    fs::rename(objects::sample("kubernetes-t1", directory.path()), project.join("snapshot.db"))
        .expect("a file can be renamed");
    let mut readme = fs::read_to_string(project.join("README.md")).expect("a project has a README");
    // Interpreters take long to build: a check that asks a server is tried with the same component.
    let server = change(lang).map(|(file, changes)| {
        let server = Cluster::builder().start();
        let endpoint = server.endpoints().remove(0);
        let mut check = fs::read_to_string(project.join(file)).expect("a project has a check");
        for (from, to) in changes {
            assert!(check.contains(from), "`{from}` is not in {check}");
            check = check.replacen(from, &to.replace("ENDPOINT", &endpoint), 1);
        }
        fs::write(project.join(file), check).expect("it can be written");
        let granted = format!("--plugin-config config.toml --allow 'http = [\"{endpoint}\"]'");
        readme = readme.replace("--plugin-config config.toml", &granted);
        server
    });
    let output = follow(&readme, &project, &site());
    assert!(server.is_none() || output.stdout.contains("asked       200"), "{output}");
    assert!(output.exits(0).stdout.contains("ok: an agent takes it"), "{output}");
    assert!(output.stdout.contains("passed: 1055 keys begin with `/`"), "{output}");
    output
}

/// What an author changes in a new project so that its check asks a server for something.
fn change(lang: &str) -> Option<(&'static str, &'static [(&'static str, &'static str)])> {
    match lang {
        "js" => Some((
            "src/check.js",
            &[
                ("wants: []", "wants: ['http = [\"ENDPOINT\"]']"),
                ("export function verify", "export async function verify"),
                (
                    "  report.measure(",
                    "  const answer = await host.send('ENDPOINT/version');\n  report.measure('asked', answer.status, 'status');\n  report.measure(",
                ),
            ],
        )),
        "python" => Some((
            "check.py",
            &[
                ("from report import", "from answer import Request\nfrom report import"),
                ("WANTS: list[str] = []", "WANTS = ['http = [\"ENDPOINT\"]']"),
                (
                    "    report.measure(",
                    "    report.measure(\"asked\", host.send(Request(\"ENDPOINT/version\")).status, \"status\")\n    report.measure(",
                ),
            ],
        )),
        _ => None,
    }
}

#[test]
fn a_rust_project_does_what_its_readme_says() {
    let directory = temporary_directory();
    let place = directory.path().display().to_string();
    holdfast(&["plugin", "new", "Not A Name", "--directory", &place])
        .exits(2)
        .explains(&["no plugin's name"]);
    new_project(directory.path(), "twice", "verifier", "rust");
    holdfast(&["plugin", "new", "twice", "--directory", &place]).exits(2).explains(&["cannot be made"]);
    follow_project("rust");
}

/// Is this language's compiler here, or to be demanded? Those that bring an interpreter take a minute and some hundred megabytes each,
/// and are left to CI.
fn is_wanted(lang: &str) -> bool {
    if lang == "c" {
        // An empty file, linked with the C library.
        let mut probe = Command::new("clang");
        probe.args([
            "--target=wasm32-wasi",
            "-mexec-model=reactor",
            "-x",
            "c",
            "/dev/null",
            "-o",
            "/dev/null",
        ]);
        let there = probe.output().is_ok_and(|output| output.status.success());
        if !there {
            tools::skip("clang does not compile for WebAssembly here: `tools/install.sh wasi-c`");
        }
        return there;
    }
    let wanted =
        std::env::var("CI").as_deref() == Ok("true") || std::env::var_os("HOLDFAST_TEST_LANGUAGES").is_some();
    if !wanted {
        tools::skip(&format!("plugins in {lang} are built in CI, or with HOLDFAST_TEST_LANGUAGES=1"));
    }
    wanted
}

fn verifier_in(lang: &str) {
    if is_wanted(lang) {
        follow_project(lang);
    }
}

#[test]
fn a_javascript_project_does_what_its_readme_says() {
    verifier_in("js");
}

#[test]
fn a_python_project_does_what_its_readme_says() {
    verifier_in("python");
}

#[test]
fn a_go_project_does_what_its_readme_says() {
    verifier_in("go");
}

#[test]
fn a_c_project_does_what_its_readme_says() {
    verifier_in("c");
}

/// An example as it lies in the repository, on a cluster's snapshot.
fn example(name: &str, lang: &str, verdict: &str) {
    if !is_wanted(lang) {
        return;
    }
    let directory = temporary_directory();
    let folder = directory.path().join(name);
    fs::create_dir(&folder).expect("a folder can be made");
    for entry in
        fs::read_dir(tools::root().join("examples/plugins").join(name)).expect("the example is there")
    {
        let file = entry.expect("a folder can be read").path();
        fs::copy(&file, folder.join(file.file_name().expect("a file has a name")))
            .expect("a file can be copied");
    }
    fs::rename(objects::sample("kubernetes-t1", directory.path()), folder.join("snapshot.db"))
        .expect("a file can be renamed");
    let readme = fs::read_to_string(folder.join("README.md")).expect("an example has a README");
    let output = follow(&readme, &folder, &site());
    assert!(output.stdout.contains("ok: an agent takes it"), "{output}");
    assert!(output.stdout.contains(verdict), "{output}");
}

#[test]
fn the_example_in_c_finds_what_is_not_encrypted() {
    example("encryption-at-rest", "c", "failed: 30 of 30 objects are not encrypted");
}

#[test]
fn the_example_in_go_finds_what_has_no_label() {
    example("labelled", "go", "passed: 0 labels are missing on 9 namespaces");
}

#[test]
fn the_example_in_javascript_finds_what_has_no_namespace() {
    example("orphans", "js", "passed: 0 of 582 objects lie in namespaces that are gone");
}

#[test]
fn the_example_in_python_finds_bad_names() {
    example("names", "python", "passed: 0 of 9 names do not follow the rules");
}

#[test]
fn what_is_no_module_becomes_no_component() {
    let directory = temporary_directory();
    let place = directory.path().display().to_string();
    let project = new_project(directory.path(), "my-check", "verifier", "c");
    let path = |name: &str| project.join(name).display().to_string();
    let component = |module: &str, more: &[&str]| {
        let (module, made, wit) = (path(module), path("made.wasm"), path("wit"));
        holdfast(&[&["plugin", "component", &module, &made, "--wit", &wit], more].concat())
    };
    component("nowhere.wasm", &[]).exits(2).says(&["nowhere.wasm"]);
    fs::write(project.join("text.wasm"), "no module").expect("a file can be written");
    component("text.wasm", &[]).exits(2).explains(&["no WebAssembly module", "clang --target=wasm32-wasi"]);
    // Whole, and without what the contract asks for.
    fs::write(project.join("empty.wasm"), b"\0asm\x01\0\0\0").expect("a file can be written");
    component("empty.wasm", &[]).exits(2).explains(&["does not fit the contract"]);
    component("empty.wasm", &["--world", "other"]).exits(2).explains(&["the contract in", "other"]);
    fs::write(project.join("whole.wasm"), b"\0asm\x0d\0\x01\0").expect("a file can be written");
    component("whole.wasm", &[]).exits(2).explains(&["a component already"]);
    holdfast(&["plugin", "component", &path("empty.wasm"), &path("made.wasm"), "--wit", &place])
        .exits(2)
        .explains(&["the contract in"]);
    assert!(!project.join("made.wasm").exists());
}

/// What a project's README leads to, where `plugin run` listens at a port: at a free one.
fn listening(kind: &str, lang: &str) -> Output {
    let directory = temporary_directory();
    let project = new_project(directory.path(), &format!("my-{lang}-{kind}"), kind, lang);
    let address = format!("127.0.0.1:{}", holdfast_tests::cluster::free_port());
    let read = |name: &str| {
        let text = fs::read_to_string(project.join(name)).expect("the project has it");
        text.replace("127.0.0.1:8080", &address)
    };
    fs::write(project.join("config.toml"), read("config.toml")).expect("it can be written");
    follow(&read("README.md"), &project, &site())
}

/// A store: built, tested natively, and looked at for every promise, with a server that keeps objects in memory.
fn store_in(lang: &str) {
    let output = listening("store", lang);
    for part in ["ok: an agent takes it", "ok: it keeps what every store must"] {
        assert!(output.exits(0).stdout.contains(part), "`{part}` is missing in {output}");
    }
}

#[test]
fn a_store_in_rust_does_what_its_readme_says() {
    store_in("rust");
}

#[test]
fn a_store_in_javascript_does_what_its_readme_says() {
    if is_wanted("js") {
        store_in("js");
    }
}

#[test]
fn a_store_in_python_does_what_its_readme_says() {
    if is_wanted("python") {
        store_in("python");
    }
}

#[test]
fn a_store_in_go_does_what_its_readme_says() {
    if is_wanted("go") {
        store_in("go");
    }
}

#[test]
fn a_store_in_c_does_what_its_readme_says() {
    if is_wanted("c") {
        store_in("c");
    }
}

/// A notifier: built, tested natively, and sent sample events, which a listener shows.
fn notifier_in(lang: &str) {
    let output = listening("notifier", lang);
    for part in ["ok: an agent takes it", "delivered: answered 200", "arrived: POST /hook"] {
        assert!(output.exits(0).stdout.contains(part), "`{part}` is missing in {output}");
    }
}

#[test]
fn a_notifier_in_rust_does_what_its_readme_says() {
    notifier_in("rust");
}

#[test]
fn a_notifier_in_c_does_what_its_readme_says() {
    if is_wanted("c") {
        notifier_in("c");
    }
}

#[test]
fn a_notifier_in_go_does_what_its_readme_says() {
    if is_wanted("go") {
        notifier_in("go");
    }
}

#[test]
fn a_notifier_in_javascript_does_what_its_readme_says() {
    if is_wanted("js") {
        notifier_in("js");
    }
}

#[test]
fn a_notifier_in_python_does_what_its_readme_says() {
    if is_wanted("python") {
        notifier_in("python");
    }
}

/// A script: built, tested natively, and run on an etcd that is restored for it.
fn script_in(lang: &str) {
    if !is_wanted(lang) {
        return;
    }
    let directory = temporary_directory();
    let project = new_project(directory.path(), &format!("my-{lang}-script"), "script", lang);
    fs::rename(objects::sample("kubernetes-t1", directory.path()), project.join("snapshot.db"))
        .expect("a file can be renamed");
    let readme = fs::read_to_string(project.join("README.md")).expect("a project has a README");
    let output = follow(&readme, &project, &site());
    let verdict = "passed: 1055 keys begin with `/`, and more can be written";
    assert!(output.exits(0).stdout.contains(verdict), "{output}");
}

#[test]
fn a_script_in_c_does_what_its_readme_says() {
    script_in("c");
}

#[test]
fn a_script_in_go_does_what_its_readme_says() {
    script_in("go");
}

#[test]
fn a_script_in_javascript_does_what_its_readme_says() {
    script_in("js");
}

#[test]
fn a_script_in_python_does_what_its_readme_says() {
    script_in("python");
}

#[test]
fn a_script_project_does_what_its_readme_says() {
    let directory = temporary_directory();
    let project = new_project(directory.path(), "trial", "script", "rust");
    fs::rename(objects::sample("kubernetes-t1", directory.path()), project.join("snapshot.db"))
        .expect("a file can be renamed");
    let readme = fs::read_to_string(project.join("README.md")).expect("a project has a README");
    // Its `run` starts the etcd that is on the PATH.
    let output = follow(&readme, &project, &site());
    assert!(output.exits(0).stdout.contains("ok: an agent takes it"), "{output}");
    let passed = "passed: 1055 keys begin with `/`, and more can be written";
    assert!(output.stdout.contains(passed), "{output}");
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
