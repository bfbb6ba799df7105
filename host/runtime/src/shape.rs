//! What a plugin file is, before anything of it runs or is compiled: a component? whole? what does it import and export?
//!
//! The answers are sentences for whoever put the file there. The linker would refuse the same files, but in words
//! about instances and types.

use wasmparser::{Parser, Payload, Validator, WasmFeatures};

/// Packages of ours that this agent serves, with the version and the interfaces it serves of each.
const SERVED: [(&str, Version, &[&str]); 2] = [
    ("holdfast:snapshot", Version { major: 0, minor: 1, patch: 0 }, &["reader"]),
    ("holdfast:host", Version { major: 0, minor: 1, patch: 1 }, &["log", "secrets", "state"]),
];
/// The package whose exports make a verifier.
const VERIFIER: (&str, Version, &[&str]) =
    ("holdfast:verifier", Version { major: 0, minor: 1, patch: 0 }, &["plugin", "verify"]);
/// What is served of `wasi:http`.
const WASI_HTTP: [&str; 2] = ["types", "outgoing-handler"];
/// Parts of WASI 0.2 that are linked, with nothing granted.
const WASI: [&str; 6] =
    ["wasi:cli", "wasi:clocks", "wasi:filesystem", "wasi:io", "wasi:random", "wasi:sockets"];

/// What a component imports and exports, and what this agent says to it.
#[derive(Debug)]
pub(crate) struct Interfaces {
    /// Each import, with the reason why it cannot be served, if it cannot.
    pub(crate) imports: Vec<(String, Option<String>)>,
    pub(crate) exports: Vec<String>,
    /// Why its exports make no plugin that this agent calls, if they do not.
    pub(crate) no_verifier: Option<String>,
}

impl Interfaces {
    /// Reads the names, without looking into the code.
    ///
    /// # Errors
    /// One sentence that says why this is no component.
    pub(crate) fn read(bytes: &[u8]) -> Result<Interfaces, String> {
        let names = names(bytes)?;
        Ok(Interfaces {
            no_verifier: check_exports(&names.exports).err(),
            imports: names
                .imports
                .into_iter()
                .map(|name| {
                    let refusal = refuse_import(&name);
                    (name, refusal)
                })
                .collect(),
            exports: names.exports,
        })
    }
}

/// Checks what kind of file this is and what it imports and exports, without looking into its code.
///
/// # Errors
/// One sentence that says what is wrong and, where there is one, what to do.
pub(crate) fn check_names(bytes: &[u8]) -> Result<(), String> {
    let interfaces = Interfaces::read(bytes)?;
    let refusals: Vec<String> = interfaces.imports.into_iter().filter_map(|(_, refusal)| refusal).collect();
    if !refusals.is_empty() {
        return Err(refusals.join("; "));
    }
    interfaces.no_verifier.map_or(Ok(()), Err)
}

fn names(bytes: &[u8]) -> Result<Names, String> {
    if Parser::is_core_wasm(bytes) {
        return Err(
            "is a WebAssembly module, not a component: build it for `wasm32-wasip2`, or wrap it with \
                    `wasm-tools component new`"
                .into(),
        );
    }
    if !Parser::is_component(bytes) {
        return Err("is not a WebAssembly component".into());
    }
    Names::read(bytes).map_err(|error| format!("is not a whole component, perhaps cut short: {error}"))
}

/// Checks that every byte belongs to a valid component, before a compiler sees it.
///
/// # Errors
/// One sentence that says what is wrong.
pub(crate) fn check_content(bytes: &[u8]) -> Result<(), String> {
    Validator::new_with_features(features())
        .validate_all(bytes)
        .map(drop)
        .map_err(|error| format!("is not a valid component: {error}"))
}

/// The WebAssembly that plugins may be made of: what the engine runs, see [`crate::engine`].
fn features() -> WasmFeatures {
    WasmFeatures::default()
        - WasmFeatures::MEMORY64
        - WasmFeatures::THREADS
        - WasmFeatures::RELAXED_SIMD
        - WasmFeatures::CM_ASYNC
}

/// Names of a component's own imports and exports, not those of what is nested in it.
#[derive(Default)]
struct Names {
    imports: Vec<String>,
    exports: Vec<String>,
}

impl Names {
    fn read(bytes: &[u8]) -> wasmparser::Result<Names> {
        let mut names = Names::default();
        let mut depth = 0_u32;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 0 => {
                    for import in section {
                        names.imports.push(import?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section {
                        names.exports.push(export?.name.name.to_owned());
                    }
                }
                _ => {}
            }
        }
        Ok(names)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    major: u64,
    minor: u64,
    patch: u64,
}

impl Version {
    fn parse(text: &str) -> Option<Version> {
        // A pre-release or build part makes a version that links with itself only; none of ours has one.
        let mut parts = text.split('.').map(str::parse);
        let (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch)), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        Some(Version { major, minor, patch })
    }

    /// Whether one links where the other is wanted: `1.x.y` with `1`, `0.1.x` with `0.1`.
    fn links_with(self, other: Version) -> bool {
        self.major == other.major && (self.major > 0 || self.minor == other.minor)
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// `package/interface@version`, e.g. `holdfast:host/log@0.1.0`.
struct InterfaceName<'a> {
    package: &'a str,
    interface: &'a str,
    version: Option<&'a str>,
}

impl<'a> InterfaceName<'a> {
    fn parse(name: &'a str) -> Option<InterfaceName<'a>> {
        let (path, version) = match name.split_once('@') {
            Some((path, version)) => (path, Some(version)),
            None => (name, None),
        };
        let (package, interface) = path.split_once('/')?;
        Some(InterfaceName { package, interface, version })
    }
}

/// Why an import cannot be served, if it cannot.
fn refuse_import(name: &str) -> Option<String> {
    let Some(import) = InterfaceName::parse(name) else {
        return Some(format!("imports `{name}`, which this agent does not know"));
    };
    if import.package.starts_with("wasi:") {
        return refuse_wasi(name, &import);
    }
    let Some((package, served, interfaces)) =
        SERVED.iter().find(|(package, _, _)| *package == import.package)
    else {
        return Some(format!("imports `{name}`, which this agent does not offer to verifiers"));
    };
    refuse_version(package, *served, import.version).or_else(|| {
        let known = interfaces.contains(&import.interface);
        (!known).then(|| {
            format!(
                "imports `{name}`, which this agent does not know in `{package}`: it was built for a newer agent"
            )
        })
    })
}

fn refuse_wasi(name: &str, import: &InterfaceName<'_>) -> Option<String> {
    let served = match import.package {
        "wasi:http" => WASI_HTTP.contains(&import.interface),
        package => WASI.contains(&package),
    };
    let version = import.version.and_then(Version::parse);
    match version {
        Some(version) if (version.major, version.minor) != (0, 2) => {
            Some(format!("was built for WASI {version} (imports `{name}`); this agent serves WASI 0.2"))
        }
        Some(_) if served => None,
        _ => Some(format!("imports `{name}`, which this agent does not serve")),
    }
}

fn refuse_version(package: &str, served: Version, asked: Option<&str>) -> Option<String> {
    let asked_text = asked.unwrap_or("no version");
    let asked = asked.and_then(Version::parse);
    match asked {
        Some(asked) if asked.links_with(served) => None,
        Some(asked) => {
            let advice = if asked > served {
                "update the agent, or use an older build of the plugin"
            } else {
                "use a newer build of the plugin"
            };
            Some(format!("was built for `{package}@{asked}`; this agent serves {served}: {advice}"))
        }
        None => Some(format!("was built for `{package}` at {asked_text}; this agent serves {served}")),
    }
}

/// A verifier exports `plugin` and `verify` of a version that we call.
fn check_exports(exports: &[String]) -> Result<(), String> {
    let (package, served, interfaces) = VERIFIER;
    for interface in interfaces {
        let mut refusal = format!("is not a verifier: it does not export `{package}/{interface}@{served}`");
        let found = exports.iter().filter_map(|name| InterfaceName::parse(name)).any(|export| {
            if export.package != package || export.interface != *interface {
                return false;
            }
            match refuse_version(package, served, export.version) {
                Some(reason) => {
                    refusal = reason;
                    false
                }
                None => true,
            }
        });
        if !found {
            return Err(refusal);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_package_is_refused_in_a_sentence() {
        assert_eq!(
            refuse_import("holdfast:snapshot/reader@0.2.0").as_deref(),
            Some(
                "was built for `holdfast:snapshot@0.2.0`; this agent serves 0.1.0: update the agent, or use an older \
                 build of the plugin"
            )
        );
        assert_eq!(refuse_import("holdfast:snapshot/reader@0.1.7"), None, "a minor addition may link");
    }

    #[test]
    fn what_is_not_served_is_named() {
        for (name, part) in [
            ("wasi:http/incoming-handler@0.2.9", "does not serve"),
            ("wasi:cli/environment@0.3.0", "was built for WASI 0.3.0"),
            ("wasi:nn/graph@0.2.0", "does not serve"),
            ("holdfast:host/metrics@0.1.2", "built for a newer agent"),
            ("holdfast:host/secrets@0.2.0", "was built for `holdfast:host@0.2.0`; this agent serves 0.1.1"),
            ("acme:db/client@1.0.0", "does not offer to verifiers"),
            ("run", "does not know"),
        ] {
            let refusal = refuse_import(name).unwrap_or_else(|| panic!("`{name}` is refused"));
            assert!(refusal.contains(part), "{refusal}");
        }
        for served in
            ["wasi:sockets/tcp@0.2.13", "wasi:http/outgoing-handler@0.2.4", "holdfast:host/log@0.1.0"]
        {
            assert_eq!(refuse_import(served), None, "{served}");
        }
    }

    #[test]
    fn both_exports_are_needed_at_a_version_we_call() {
        let exports = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let good = exports(&["holdfast:verifier/plugin@0.1.0", "holdfast:verifier/verify@0.1.3", "extra"]);
        assert_eq!(check_exports(&good), Ok(()));
        let newer = exports(&["holdfast:verifier/plugin@0.2.0", "holdfast:verifier/verify@0.2.0"]);
        assert!(
            check_exports(&newer).expect_err("newer").contains("was built for `holdfast:verifier@0.2.0`")
        );
        assert!(check_exports(&[]).expect_err("none").contains("is not a verifier"));
    }

    #[test]
    fn other_files_are_told_apart() {
        assert!(check_names(b"\x7fELF").expect_err("elf").contains("is not a WebAssembly component"));
        assert!(check_names(b"\0asm\x01\0\0\0").expect_err("module").contains("wasm32-wasip2"));
        assert!(check_names(b"\0asm\x0d\0\x01\0").expect_err("empty").contains("is not a verifier"));
    }
}
