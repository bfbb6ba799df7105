//! `holdfast plugin new`: a project for a plugin of one's own.

mod templates;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow};
use clap::ValueEnum;
use serde::Serialize;

use super::super::Context;
use super::super::failure::FailureExt as _;
use templates::Template;

/// Where the SDK finds the contract: beside it in this repository, within it in a project.
const WIT_IN_REPOSITORY: &str = "\"../../wit/";
const WIT_IN_PROJECT: &str = "\"wit/";

/// Begin a plugin of your own
///
/// Makes a folder with a project that builds with its language's ordinary commands: a small plugin of the kind, its test, a sample
/// config, and a README that leads into the agent. What it needs of Holdfast, the contract and for Rust the SDK, is in the project,
/// as it fits this very version.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast plugin new service-accounts
  holdfast plugin new enough-secrets --lang python --summary 'Checks that enough Secrets are there'
  holdfast plugin new pager --kind notifier --lang go")]
pub struct Args {
    /// The plugin's name, and the folder's: lower case, digits and dashes
    pub name: String,
    /// What kind of plugin
    #[arg(long, value_enum, default_value_t)]
    pub kind: Kind,
    /// In which language
    #[arg(long, value_enum, default_value_t)]
    pub lang: Language,
    /// One sentence on what it does
    #[arg(long, value_name = "TEXT")]
    pub summary: Option<String>,
    /// Where the folder is made
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub directory: PathBuf,
}

/// What a plugin is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Judges a snapshot.
    #[default]
    Verifier,
    /// Works with an etcd that was restored from a backup.
    Script,
    /// Tells someone what happened.
    Notifier,
    /// Keeps backups.
    Store,
}

impl Kind {
    /// As it is written on the command line and called in the contract.
    fn name(self) -> &'static str {
        match self {
            Kind::Verifier => "verifier",
            Kind::Script => "script",
            Kind::Notifier => "notifier",
            Kind::Store => "store",
        }
    }

    /// What the agent calls of it; of a store there is more than one.
    fn call(self) -> &'static str {
        match self {
            Kind::Verifier => "verify",
            Kind::Script => "run",
            Kind::Notifier => "notify",
            Kind::Store => "objects",
        }
    }

    /// What a plugin does of which nothing else was said.
    fn summary(self) -> &'static str {
        match self {
            Kind::Verifier => "Checks that enough keys are there",
            Kind::Script => "Checks that the restored etcd can be written to",
            Kind::Notifier => "Posts events to a URL",
            Kind::Store => "Keeps backups on a server",
        }
    }
}

/// What a plugin is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// Needs rustup.
    #[default]
    Rust,
    /// JavaScript; needs Node.
    Js,
    /// Needs Python 3.10 or later.
    Python,
    /// Needs Go 1.25 or later.
    Go,
    /// Needs clang and the C library for WebAssembly.
    C,
}

#[derive(Serialize)]
struct Made {
    directory: String,
    kind: Kind,
    language: Language,
    files: Vec<String>,
}

/// Runs the command.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    // The name of the file that it will be is the name of the plugin.
    let file = format!("{}.wasm", args.name);
    if holdfast_runtime::plugin_name(Path::new(&file)).as_ref() != Some(&args.name) {
        return Err(anyhow!("`{}` is no plugin's name", args.name))
            .hint("a name is lower case, digits and dashes: `service-accounts`");
    }
    // It becomes a string in five languages.
    let summary = args.summary.as_deref().unwrap_or_else(|| args.kind.summary());
    if summary.contains(['"', '\\', '\'', '{', '}'])
        || summary.contains("*/")
        || summary.chars().any(char::is_control)
    {
        return Err(anyhow!("the summary has a character that would need escaping"))
            .hint("write one plain sentence; the files can be changed afterwards");
    }
    let folder = args.directory.join(&args.name);
    std::fs::create_dir(&folder)
        .with_context(|| format!("`{}` cannot be made", folder.display()))
        .hint("name another plugin, or another place with `--directory DIR`")?;
    let files = files(&args.name, args.kind, args.lang, summary);
    for (place, text) in &files {
        let path = folder.join(place);
        path.parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| std::fs::write(&path, text))
            .with_context(|| format!("`{}` cannot be written", path.display()))?;
    }
    let made = Made {
        directory: folder.display().to_string(),
        kind: args.kind,
        language: args.lang,
        files: files.into_iter().map(|(place, _)| place).collect(),
    };
    context.printer.show(&made, |printer| {
        printer.line(&made.directory);
        printer.note(format_args!("next: `{}/README.md` says how to build, try and use it", made.directory));
    });
    Ok(ExitCode::SUCCESS)
}

/// The templates of a kind in a language.
fn templates(kind: Kind, lang: Language) -> &'static [&'static [Template]] {
    match (kind, lang) {
        (Kind::Verifier, Language::Rust) => templates::RUST_VERIFIER,
        (Kind::Verifier, Language::Js) => templates::JS_VERIFIER,
        (Kind::Verifier, Language::Python) => templates::PYTHON_VERIFIER,
        (Kind::Verifier, Language::Go) => templates::GO_VERIFIER,
        (Kind::Verifier, Language::C) => templates::C_VERIFIER,
        (Kind::Script, Language::Rust) => templates::RUST_SCRIPT,
        (Kind::Script, Language::Js) => templates::JS_SCRIPT,
        (Kind::Script, Language::Python) => templates::PYTHON_SCRIPT,
        (Kind::Script, Language::Go) => templates::GO_SCRIPT,
        (Kind::Script, Language::C) => templates::C_SCRIPT,
        (Kind::Notifier, Language::Rust) => templates::RUST_NOTIFIER,
        (Kind::Notifier, Language::Js) => templates::JS_NOTIFIER,
        (Kind::Notifier, Language::Python) => templates::PYTHON_NOTIFIER,
        (Kind::Notifier, Language::Go) => templates::GO_NOTIFIER,
        (Kind::Notifier, Language::C) => templates::C_NOTIFIER,
        (Kind::Store, Language::Rust) => templates::RUST_STORE,
        (Kind::Store, Language::Js) => templates::JS_STORE,
        (Kind::Store, Language::Python) => templates::PYTHON_STORE,
        (Kind::Store, Language::Go) => templates::GO_STORE,
        (Kind::Store, Language::C) => templates::C_STORE,
    }
}

/// The files of the project, by their place in it.
fn files(name: &str, kind: Kind, lang: Language, summary: &str) -> Vec<(String, String)> {
    let own = templates(kind, lang);
    let agent = format!("\"example.com/{name}/agent/");
    let filled = |text: &str| {
        text.replace("{{name}}", name)
            .replace("{{crate}}", &name.replace('-', "_"))
            .replace("{{summary}}", summary.trim_end_matches('.'))
            .replace("{{sdk_version}}", env!("CARGO_PKG_VERSION"))
            .replace("{{kind}}", kind.name())
            .replace("{{call}}", kind.call())
            .replace("{{world}}", if joins(own) { "plugin" } else { kind.name() })
            // Where the generated bindings of Go believe themselves to be.
            .replace("\"wit_component/", &agent)
    };
    let place = |place: &str| if place == "gitignore" { ".gitignore".to_owned() } else { place.to_owned() };
    let mut files: Vec<(String, String)> =
        own.iter().copied().flatten().map(|(at, text)| (place(at), filled(text))).collect();
    if lang == Language::Rust {
        files.extend(
            templates::SDK
                .iter()
                .map(|(place, text)| ((*place).to_owned(), text.replace(WIT_IN_REPOSITORY, WIT_IN_PROJECT))),
        );
        files
            .extend(templates::SDK_WIT.iter().map(|(place, text)| ((*place).to_owned(), (*text).to_owned())));
    } else {
        files.extend(contract(kind, own));
    }
    files
}

/// Has a project a world of its own, which joins the kind's with HTTP?
fn joins(own: &[&'static [Template]]) -> bool {
    own.contains(&templates::WASI_HTTP)
}

/// The contract, as tools of languages other than Rust want it: the world's package on top, and what it uses beneath.
fn contract(kind: Kind, own: &[&'static [Template]]) -> Vec<(String, String)> {
    let packages = match kind {
        Kind::Notifier => templates::NOTIFIER_WIT,
        Kind::Script => templates::SCRIPT_WIT,
        Kind::Store => templates::STORE_WIT,
        Kind::Verifier => templates::VERIFIER_WIT,
    };
    let joins = joins(own);
    let place = |package: &str| {
        if package == kind.name() && !joins {
            format!("wit/{package}.wit")
        } else {
            format!("wit/deps/{package}/{package}.wit")
        }
    };
    let mut files: Vec<(String, String)> =
        packages.iter().map(|(package, text)| (place(package), (*text).to_owned())).collect();
    if joins {
        if matches!(kind, Kind::Verifier | Kind::Script) {
            let (package, text) = templates::GRANTS_WIT;
            files.push((format!("wit/deps/{package}/host.wit"), text.to_owned()));
        }
        files.extend(templates::WASI_HTTP_WIT.iter().map(|(file, text)| {
            (format!("wit/deps/{}/{file}", file.trim_end_matches(".wit")), (*text).to_owned())
        }));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_to_fill_in() {
        for kind in Kind::value_variants() {
            for lang in Language::value_variants() {
                let files = files("service-accounts", *kind, *lang, "Checks service accounts");
                for (place, text) in &files {
                    for left in ["name", "crate", "summary", "sdk_version", "kind", "call", "world"] {
                        assert!(
                            !text.contains(&format!("{{{{{left}}}}}")),
                            "{kind:?} in {lang:?}: {place}: {left}"
                        );
                    }
                    assert!(!text.contains("wit_component/"), "{kind:?} in {lang:?}: {place}");
                }
                for needed in ["README.md", "config.toml", ".gitignore"] {
                    assert!(files.iter().any(|(place, _)| place == needed), "{kind:?} in {lang:?}: {needed}");
                }
                assert!(
                    files.iter().all(|(_, text)| !text.contains(WIT_IN_REPOSITORY)),
                    "{kind:?} in {lang:?}"
                );
                let mut places: Vec<&String> = files.iter().map(|(place, _)| place).collect();
                places.sort();
                places.dedup();
                assert_eq!(places.len(), files.len(), "{kind:?} in {lang:?}: two files in one place");
            }
        }
    }

    /// The page for authors has one list of kinds and languages, and it is true.
    #[test]
    fn the_page_for_authors_says_what_there_is() {
        let page = include_str!("../../../../plugins/README.md");
        let table: Vec<Vec<&str>> = page
            .lines()
            .skip_while(|line| !line.starts_with("| `--kind` |"))
            .take_while(|line| line.starts_with('|'))
            .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect())
            .collect();
        for kind in Kind::value_variants() {
            let row = table.iter().find(|row| row[0] == kind.name()).expect("a row for each kind");
            for lang in Language::value_variants() {
                let name = lang.to_possible_value().expect("no language is hidden");
                let column = table[0]
                    .iter()
                    .position(|cell| *cell == name.get_name())
                    .expect("a column for each language");
                assert_eq!(row[column], "yes", "{kind:?} in {lang:?}");
            }
        }
    }
}
