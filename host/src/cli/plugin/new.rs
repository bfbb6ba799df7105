//! `holdfast plugin new`: a project for a plugin of one's own.

mod templates;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow};
use clap::ValueEnum;
use serde::Serialize;

use super::super::Context;
use super::super::failure::FailureExt as _;

/// Where the SDK finds the contract: beside it in this repository, within it in a project.
const WIT_IN_REPOSITORY: &str = "\"../../wit/";
const WIT_IN_PROJECT: &str = "\"wit/";

/// Begin a plugin of your own
///
/// Makes a folder with a project that builds with its language's ordinary commands: a verifier that counts keys, its test, a sample
/// config, and a README that leads into the agent. What it needs of Holdfast, the contract and for Rust the SDK, is in the project,
/// as it fits this very version.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  holdfast plugin new service-accounts
  holdfast plugin new enough-secrets --lang python --summary 'Checks that enough Secrets are there'")]
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
    #[arg(long, value_name = "TEXT", default_value = "Checks that enough keys are there")]
    pub summary: String,
    /// Where the folder is made
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub directory: PathBuf,
}

/// What a plugin is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Kind {
    /// Judges a snapshot.
    #[default]
    Verifier,
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
}

#[derive(Serialize)]
struct Made {
    directory: String,
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
    // It becomes a string in three languages.
    if args.summary.contains(['"', '\\', '\'', '{', '}']) || args.summary.chars().any(char::is_control) {
        return Err(anyhow!("the summary has a character that would need escaping"))
            .hint("write one plain sentence; the files can be changed afterwards");
    }
    let folder = args.directory.join(&args.name);
    std::fs::create_dir(&folder)
        .with_context(|| format!("`{}` cannot be made", folder.display()))
        .hint("name another plugin, or another place with `--directory DIR`")?;
    let files = files(args);
    for (place, text) in &files {
        let path = folder.join(place);
        path.parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| std::fs::write(&path, text))
            .with_context(|| format!("`{}` cannot be written", path.display()))?;
    }
    let made = Made {
        directory: folder.display().to_string(),
        language: args.lang,
        files: files.into_iter().map(|(place, _)| place).collect(),
    };
    context.printer.show(&made, |printer| {
        printer.line(&made.directory);
        printer.note(format_args!("next: `{}/README.md` says how to build, try and use it", made.directory));
    });
    Ok(ExitCode::SUCCESS)
}

/// The files of the project, by their place in it.
fn files(args: &Args) -> Vec<(String, String)> {
    let own = match args.lang {
        Language::Rust => templates::RUST,
        Language::Js => templates::JS,
        Language::Python => templates::PYTHON,
    };
    let filled = |text: &str| {
        text.replace("{{name}}", &args.name)
            .replace("{{crate}}", &args.name.replace('-', "_"))
            .replace("{{summary}}", args.summary.trim_end_matches('.'))
            .replace("{{sdk_version}}", env!("CARGO_PKG_VERSION"))
    };
    let mut files: Vec<(String, String)> =
        own.iter().map(|(place, text)| ((*place).to_owned(), filled(text))).collect();
    if args.lang == Language::Rust {
        files.extend(
            templates::SDK
                .iter()
                .map(|(place, text)| ((*place).to_owned(), text.replace(WIT_IN_REPOSITORY, WIT_IN_PROJECT))),
        );
    }
    for (package, text) in templates::WIT {
        let place = match args.lang {
            Language::Rust => format!("sdk/wit/{package}-0.1.0/{package}.wit"),
            // Tools of other languages want the world's package on top and the others beneath.
            _ if package == "verifier" => "wit/verifier.wit".to_owned(),
            _ => format!("wit/deps/{package}/{package}.wit"),
        };
        files.push((place, text.to_owned()));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_to_fill_in() {
        for lang in [Language::Rust, Language::Js, Language::Python] {
            let args = Args {
                name: "service-accounts".to_owned(),
                kind: Kind::Verifier,
                lang,
                summary: "Checks service accounts".to_owned(),
                directory: ".".into(),
            };
            let files = files(&args);
            for (place, text) in files.iter().filter(|(place, _)| !place.starts_with("sdk/src")) {
                assert!(!text.contains("{{"), "{lang:?}: {place}");
            }
            assert!(files.iter().any(|(place, _)| place == "README.md"));
            assert!(files.iter().all(|(_, text)| !text.contains(WIT_IN_REPOSITORY)), "{lang:?}");
        }
    }
}
