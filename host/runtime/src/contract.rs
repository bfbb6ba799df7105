//! What of the contract in `wit/` this agent serves: which exports make which kind of plugin, and what each kind may import.

use crate::kind::Kind;

/// A package of the contract, the version of it that is served, and its interfaces.
struct Package {
    name: &'static str,
    served: Version,
    interfaces: &'static [&'static str],
}

/// One kind of plugin: the package whose interfaces it exports, and the packages that only its kind may import.
struct World {
    kind: Kind,
    exports: Package,
    imports: &'static [Package],
}

/// Each kind that is called.
const WORLDS: [World; Kind::ALL.len()] = [
    World {
        kind: Kind::Verifier,
        exports: Package {
            name: "holdfast:verifier",
            served: Version { major: 0, minor: 1, patch: 0 },
            interfaces: &["plugin", "verify"],
        },
        imports: &[Package {
            name: "holdfast:snapshot",
            served: Version { major: 0, minor: 1, patch: 0 },
            interfaces: &["reader"],
        }],
    },
    World {
        kind: Kind::Script,
        exports: Package {
            name: "holdfast:script",
            served: Version { major: 0, minor: 1, patch: 0 },
            interfaces: &["plugin", "run"],
        },
        imports: &[Package {
            name: "holdfast:script",
            served: Version { major: 0, minor: 1, patch: 0 },
            interfaces: &["database"],
        }],
    },
    World {
        kind: Kind::Notifier,
        exports: Package {
            name: "holdfast:notifier",
            served: Version { major: 0, minor: 1, patch: 0 },
            interfaces: &["plugin", "notify"],
        },
        imports: &[],
    },
    World {
        kind: Kind::Store,
        exports: Package {
            name: "holdfast:store",
            served: Version { major: 0, minor: 1, patch: 0 },
            interfaces: &["plugin", "objects"],
        },
        imports: &[Package {
            name: "holdfast:store",
            served: Version { major: 0, minor: 1, patch: 0 },
            interfaces: &["transfer"],
        }],
    },
];
/// What every kind may import.
const HOST: Package = Package {
    name: "holdfast:host",
    served: Version { major: 0, minor: 1, patch: 1 },
    interfaces: &["log", "secrets", "state"],
};
/// What is served of `wasi:http`.
const WASI_HTTP: [&str; 2] = ["types", "outgoing-handler"];
/// Parts of WASI 0.2 that are linked, with nothing granted.
const WASI: [&str; 6] =
    ["wasi:cli", "wasi:clocks", "wasi:filesystem", "wasi:io", "wasi:random", "wasi:sockets"];

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

/// Which kind of plugin a component with these exports is.
///
/// # Errors
/// One sentence that says why it is none that this agent calls.
pub(crate) fn kind_of(exports: &[String]) -> Result<Kind, String> {
    // The one whose package it exports something of: what is missing or too new is told of that kind.
    let meant = WORLDS.iter().find(|world| {
        exports
            .iter()
            .filter_map(|name| InterfaceName::parse(name))
            .any(|export| export.package == world.exports.name)
    });
    let Some(world) = meant else {
        let known: Vec<String> = WORLDS
            .iter()
            .map(|world| {
                format!("a {} exports `{}/plugin@{}`", world.kind, world.exports.name, world.exports.served)
            })
            .collect();
        return Err(format!("is not a plugin that this agent knows: {}", known.join(", ")));
    };
    check_exports(world, exports)?;
    Ok(world.kind)
}

/// A plugin exports each interface of its kind's package in a version that we call.
fn check_exports(world: &World, exports: &[String]) -> Result<(), String> {
    let Package { name: package, served, interfaces } = &world.exports;
    for interface in *interfaces {
        let mut refusal =
            format!("is not a whole {}: it does not export `{package}/{interface}@{served}`", world.kind);
        let found = exports.iter().filter_map(|name| InterfaceName::parse(name)).any(|export| {
            if export.package != *package || export.interface != *interface {
                return false;
            }
            match refuse_version(package, *served, export.version) {
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

/// Why an import cannot be served to a plugin of this kind, if it cannot. A component of no kind is told what some kind could
/// import.
pub(crate) fn refuse_import(kind: Option<Kind>, name: &str) -> Option<String> {
    let Some(import) = InterfaceName::parse(name) else {
        return Some(format!("imports `{name}`, which this agent does not know"));
    };
    if import.package.starts_with("wasi:") {
        return refuse_wasi(name, &import);
    }
    let mut offered = WORLDS
        .iter()
        .filter(|world| kind.is_none_or(|kind| kind == world.kind))
        .flat_map(|world| world.imports)
        .chain([&HOST]);
    let Some(Package { name: package, served, interfaces }) =
        offered.find(|offered| offered.name == import.package)
    else {
        let whom = kind.map_or_else(|| "any plugin".to_owned(), |kind| format!("a {kind}"));
        return Some(format!("imports `{name}`, which this agent does not offer to {whom}"));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_package_is_refused_in_a_sentence() {
        assert_eq!(
            refuse_import(Some(Kind::Verifier), "holdfast:snapshot/reader@0.2.0").as_deref(),
            Some(
                "was built for `holdfast:snapshot@0.2.0`; this agent serves 0.1.0: update the agent, or use an older \
                 build of the plugin"
            )
        );
        assert_eq!(
            refuse_import(Some(Kind::Verifier), "holdfast:snapshot/reader@0.1.7"),
            None,
            "a minor addition may link"
        );
    }

    #[test]
    fn what_is_not_served_is_named() {
        for (name, part) in [
            ("wasi:http/incoming-handler@0.2.9", "does not serve"),
            ("wasi:cli/environment@0.3.0", "was built for WASI 0.3.0"),
            ("wasi:nn/graph@0.2.0", "does not serve"),
            ("holdfast:host/metrics@0.1.2", "built for a newer agent"),
            ("holdfast:host/secrets@0.2.0", "was built for `holdfast:host@0.2.0`; this agent serves 0.1.1"),
            ("acme:db/client@1.0.0", "does not offer to a verifier"),
            ("run", "does not know"),
        ] {
            let refusal =
                refuse_import(Some(Kind::Verifier), name).unwrap_or_else(|| panic!("`{name}` is refused"));
            assert!(refusal.contains(part), "{refusal}");
        }
        for served in
            ["wasi:sockets/tcp@0.2.13", "wasi:http/outgoing-handler@0.2.4", "holdfast:host/log@0.1.0"]
        {
            assert_eq!(refuse_import(Some(Kind::Verifier), served), None, "{served}");
        }
    }

    #[test]
    fn both_exports_are_needed_at_a_version_we_call() {
        let exports = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let good = exports(&["holdfast:verifier/plugin@0.1.0", "holdfast:verifier/verify@0.1.3", "extra"]);
        assert_eq!(kind_of(&good), Ok(Kind::Verifier));
        let newer = exports(&["holdfast:verifier/plugin@0.2.0", "holdfast:verifier/verify@0.2.0"]);
        assert!(kind_of(&newer).expect_err("newer").contains("was built for `holdfast:verifier@0.2.0`"));
        let half = exports(&["holdfast:verifier/plugin@0.1.0"]);
        assert!(
            kind_of(&half).expect_err("half").contains("does not export `holdfast:verifier/verify@0.1.0`")
        );
        assert!(
            kind_of(&[]).expect_err("none").contains("a verifier exports `holdfast:verifier/plugin@0.1.0`")
        );
    }
}
