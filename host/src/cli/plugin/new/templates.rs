//! What `holdfast plugin new` writes: the projects, the contract, and for Rust the SDK, all as this agent was built with.

/// A file of a project: its place, and its text with `{{name}}` and the like in it.
pub(super) type Template = (&'static str, &'static str);

/// Files of `plugins/templates`.
macro_rules! templates {
    ($($place:literal from $file:literal),* $(,)?) => {
        &[$(($place, include_str!(concat!("../../../../../plugins/templates/", $file)))),*]
    };
}

/// Files of `plugins/sdk/src`.
macro_rules! sdk {
    ($($file:literal),* $(,)?) => {
        &[$((concat!("sdk/src/", $file), include_str!(concat!("../../../../../plugins/sdk/src/", $file)))),*]
    };
}

pub(super) const RUST: &[Template] = templates![
    "Cargo.toml" from "rust/Cargo.toml",
    "src/lib.rs" from "rust/src/lib.rs",
    "sdk/Cargo.toml" from "rust/sdk/Cargo.toml",
    "config.toml" from "config.toml",
    "README.md" from "rust/README.md",
    ".gitignore" from "rust/gitignore",
];

pub(super) const JS: &[Template] = templates![
    "package.json" from "js/package.json",
    "build.mjs" from "js/build.mjs",
    "src/plugin.js" from "js/src/plugin.js",
    "src/check.js" from "js/src/check.js",
    "test/check.test.js" from "js/test/check.test.js",
    "config.toml" from "config.toml",
    "README.md" from "js/README.md",
    ".gitignore" from "js/gitignore",
];

pub(super) const PYTHON: &[Template] = templates![
    "app.py" from "python/app.py",
    "check.py" from "python/check.py",
    "test_check.py" from "python/test_check.py",
    "requirements.txt" from "python/requirements.txt",
    "config.toml" from "config.toml",
    "README.md" from "python/README.md",
    ".gitignore" from "python/gitignore",
];

/// The crate `holdfast-plugin`, without its tests.
pub(super) const SDK: &[Template] = sdk![
    "config.rs",
    "context.rs",
    "error.rs",
    "guest.rs",
    "kubernetes.rs",
    "kubernetes/json.rs",
    "kubernetes/key.rs",
    "kubernetes/protobuf.rs",
    "lib.rs",
    "log.rs",
    "memory.rs",
    "report.rs",
    "snapshot.rs",
    "text.rs",
];

/// The contract, package by package; the last one holds the world.
pub(super) const WIT: [Template; 3] = [
    ("snapshot", include_str!("../../../../../wit/snapshot-0.1.0/snapshot.wit")),
    ("host", include_str!("../../../../../wit/host-0.1.0/host.wit")),
    ("verifier", include_str!("../../../../../wit/verifier-0.1.0/verifier.wit")),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_whole_sdk_is_there() {
        let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/sdk/src");
        let mut found = BTreeSet::new();
        let mut folders = vec![sdk.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.insert(format!("sdk/src/{}", path.strip_prefix(&sdk).unwrap().display()));
                }
            }
        }
        let known: BTreeSet<String> = SDK.iter().map(|(place, _)| (*place).to_owned()).collect();
        assert_eq!(known, found);
    }

    /// The SDK's own manifest takes its versions from the workspace; the one of projects says the same.
    #[test]
    fn the_sdk_of_a_project_needs_what_the_sdk_needs() {
        let read = |path: &str| -> toml::Table {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
            std::fs::read_to_string(path).unwrap().parse().unwrap()
        };
        let workspace = read("Cargo.toml");
        let sdk = read("plugins/sdk/Cargo.toml");
        let project: toml::Table =
            RUST.iter().find(|(place, _)| *place == "sdk/Cargo.toml").unwrap().1.parse().unwrap();
        let wasm = |manifest: &toml::Table| {
            manifest["target"]["cfg(target_arch = \"wasm32\")"]["dependencies"].as_table().unwrap().clone()
        };
        let mut wanted = toml::Table::new();
        for name in sdk["dependencies"].as_table().unwrap().keys().chain(wasm(&sdk).keys()) {
            wanted.insert(name.clone(), workspace["workspace"]["dependencies"][name].clone());
        }
        let mut given = project["dependencies"].as_table().unwrap().clone();
        given.extend(wasm(&project));
        assert_eq!(given, wanted);
    }
}
