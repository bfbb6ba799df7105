//! What a plugin file is, before anything of it runs or is compiled: a component? whole? what does it import and export?
//!
//! The answers are sentences for whoever put the file there. The linker would refuse the same files, but in words
//! about instances and types.

use wasmparser::{Parser, Payload, Validator, WasmFeatures};

use crate::contract;
use crate::kind::Kind;

/// What a component imports and exports, and what this agent says to it.
#[derive(Debug)]
pub(crate) struct Interfaces {
    /// Each import, with the reason why it cannot be served, if it cannot.
    pub(crate) imports: Vec<(String, Option<String>)>,
    pub(crate) exports: Vec<String>,
    /// What its exports make it, or why it is no plugin that this agent calls.
    pub(crate) kind: Result<Kind, String>,
}

impl Interfaces {
    /// Reads the names, without looking into the code.
    ///
    /// # Errors
    /// One sentence that says why this is no component.
    pub(crate) fn read(bytes: &[u8]) -> Result<Interfaces, String> {
        let names = names(bytes)?;
        let kind = contract::kind_of(&names.exports);
        Ok(Interfaces {
            imports: names
                .imports
                .into_iter()
                .map(|name| {
                    let refusal = contract::refuse_import(kind.as_ref().ok().copied(), &name);
                    (name, refusal)
                })
                .collect(),
            exports: names.exports,
            kind,
        })
    }
}

/// Checks what kind of plugin this is and what it imports and exports, without looking into its code.
///
/// # Errors
/// One sentence that says what is wrong and, where there is one, what to do.
pub(crate) fn check_names(bytes: &[u8]) -> Result<Kind, String> {
    let Interfaces { imports, kind, .. } = Interfaces::read(bytes)?;
    let refused = imports.into_iter().filter_map(|(_, refusal)| refusal);
    let mut refusals: Vec<String> = Vec::new();
    for refusal in kind.as_ref().err().cloned().into_iter().chain(refused) {
        // Each package once, however many of its interfaces are imported.
        if !refusals.contains(&refusal) {
            refusals.push(refusal);
        }
    }
    if refusals.is_empty() { kind } else { Err(refusals.join("; ")) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_files_are_told_apart() {
        assert!(check_names(b"\x7fELF").expect_err("elf").contains("is not a WebAssembly component"));
        assert!(check_names(b"\0asm\x01\0\0\0").expect_err("module").contains("wasm32-wasip2"));
        assert!(check_names(b"\0asm\x0d\0\x01\0").expect_err("empty").contains("is not a plugin"));
    }
}
