//! The reference of all keys, as a configuration: what `holdfast generate config-reference` prints.

use std::fmt::Write as _;

use super::keys::{
    self, EXAMPLE_NAMES, EXAMPLE_OTHER_NOTIFIER, EXAMPLE_OTHER_STORES, Key, Kind, Presence, Table,
};

const HEAD: &str = "\
# Configuration of holdfast: every key there is.
#
# A line that begins with `# ` explains. A line that begins with `#` and no blank is a key that may be left out: it shows
# its default, or an example where the text says so. Sizes have units: B, KiB, MiB, GiB, TiB (powers of 1024), kB,
# MB, GB, TB (powers of 1000). Durations as well: ms, s, m, h, d, and sums such as 1h30m. A relative path starts
# at the folder of this file. Check it with `holdfast config check`.
";

/// A configuration with every key, its meaning and its default. It is valid as it stands, and with
/// every key put in force.
pub fn reference() -> String {
    let mut text = HEAD.to_owned();
    for key in keys::ROOT.keys {
        let needed = matches!(key.presence, Presence::Required(_) | Presence::Usual(_));
        match key.kind {
            Kind::Table(table) => section(&mut text, table, key.name, needed),
            Kind::Named(table) => {
                let example =
                    EXAMPLE_NAMES.iter().find(|(name, _)| *name == key.name).map_or("NAME", |(_, it)| it);
                section(&mut text, table, &format!("{}.{example}", key.name), needed);
            }
            Kind::Tables(table) => section(&mut text, table, &format!("[{}]", key.name), needed),
            _ => line(&mut text, key, needed),
        }
    }
    text
}

/// A table: its keys, then the tables within. Those that may be left out are commented out.
fn section(text: &mut String, table: &Table, path: &str, needed: bool) {
    let inner = |key: &&Key| matches!(key.kind, Kind::Table(_) | Kind::Named(_));
    let again = |key: &&Key| matches!(key.presence, Presence::Again(_));
    text.push('\n');
    comment(text, table.doc);
    // A table that has only tables within is written by them.
    if table.keys.iter().any(|key| !inner(&key)) {
        let _ = writeln!(text, "{}[{path}]", if needed { "" } else { "#" });
    }
    for key in table.keys.iter().filter(|key| !inner(key)) {
        line(text, key, needed);
    }
    for (index, key) in table.keys.iter().filter(inner).filter(|key| !again(key)).enumerate() {
        if let Kind::Table(table) = key.kind {
            // The first kind of store must be written out, for there must be a store. The others are stores of their own.
            let first = index == 0;
            let needed = needed && first && path.starts_with("store.");
            match path.split_once('.') {
                Some(("store", name)) if !first && !name.contains('.') => {
                    let example = EXAMPLE_OTHER_STORES.iter().find(|(kind, _)| *kind == key.name);
                    let example = example.map_or("NAME", |(_, example)| example);
                    section(text, table, &format!("store.{example}.{}", key.name), needed);
                }
                Some(("notify", _)) if key.name == "email" => {
                    section(text, table, &format!("notify.{EXAMPLE_OTHER_NOTIFIER}.{}", key.name), needed);
                }
                _ => section(text, table, &format!("{path}.{}", key.name), needed),
            }
        }
    }
}

fn line(text: &mut String, key: &Key, in_force: bool) {
    comment(text, key.doc);
    let (value, mark) = match key.presence {
        Presence::Required(value) | Presence::Usual(value) if in_force => (value, ""),
        Presence::Required(value) | Presence::Usual(value) | Presence::Default(value) => (value, "#"),
        Presence::Optional(value) | Presence::Again(value) => {
            text.push_str("# Not set by default; an example:\n");
            (value, "#")
        }
        // Beside the other it would be an error, so it is not a line to put in force.
        Presence::Instead(value) => {
            text.push_str("# In place of the key before; an example:\n");
            (value, "# ")
        }
    };
    if let Kind::Choice(choices) = key.kind
        && key.doc.is_empty()
    {
        comment(text, &choices.join(", "));
    }
    for line in format!("{} = {value}", key.name).lines() {
        let _ = writeln!(text, "{mark}{line}");
    }
}

fn comment(text: &mut String, doc: &str) {
    for line in doc.lines() {
        let _ = writeln!(text, "# {line}");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Config;
    use super::*;

    fn parse(text: &str) -> Config {
        Config::parse(Path::new("/etc/holdfast/holdfast.toml"), text)
            .unwrap_or_else(|errors| panic!("{text}\n{errors:?}"))
    }

    #[test]
    fn is_valid_as_it_stands() {
        let config = parse(&reference());
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
        assert_eq!(config.cluster.name, "prod-eu");
        assert_eq!(config.preflight, crate::pipeline::preflight::Policy::default());
    }

    #[test]
    fn is_valid_with_every_key_in_force() {
        let in_force = |line: &str| match line.strip_prefix('#') {
            Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => rest.to_owned(),
            // The inner lines of a value that covers several.
            Some(rest) if rest.starts_with("  ") => rest.to_owned(),
            _ => line.to_owned(),
        };
        let text: Vec<String> = reference().lines().map(in_force).collect();
        let config = parse(&text.join("\n"));
        assert_eq!(config.backup.schedule.unwrap().to_string(), "0 * * * *");
        assert_eq!(config.chains["sanity"].steps.len(), 3);
        assert_eq!(config.verify.len(), 1);
        assert_eq!(
            (config.verify[0].store.as_deref(), &config.verify[0].chains[..]),
            (Some("local"), &["sanity".to_owned()][..])
        );
        assert!(config.plugins.plugins.contains_key("required-keys"));
    }

    /// What is said of a default in one place only cannot be wrong in another.
    #[test]
    fn default_packing_is_that_of_the_packer() {
        let config = parse(&reference());
        let (ours, theirs) = (config.backup.pack().unwrap(), crate::pack::Options::default());
        assert_eq!((ours.zstd_level, ours.threads), (theirs.zstd_level, theirs.threads));
        assert!(!config.backup.is_encrypted());
    }
}
