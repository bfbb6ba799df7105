//! {{summary}}.

use holdfast_plugin::{
    Context, DatabaseView, Error, Finding, KeyQuery, Report, Script, export_script,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// What the operator may write in the step's `config`. Doc comments become the descriptions in `holdfast plugin check`.
#[derive(Deserialize, JsonSchema)]
pub struct Config {
    /// How the keys begin that are counted.
    prefix: String,
    /// How many of them there must be.
    #[serde(default = "one")]
    at_least: u64,
}

fn one() -> u64 {
    1
}

/// The script.
pub struct Plugin;

impl Script for Plugin {
    const NAME: &'static str = "{{name}}";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &'static str = "{{summary}}";
    type Config = Config;

    fn run(
        database: &DatabaseView<'_>,
        _context: &Context,
        config: Config,
    ) -> Result<Report, Error> {
        let found = database.count(&KeyQuery::prefix(&config.prefix))?;
        let summary = format!("{found} keys begin with `{}`", config.prefix);
        if found < config.at_least {
            let message = format!("{summary}, fewer than {}", config.at_least);
            return Ok(Report::failed(&message).finding(Finding::error("too-few", message)));
        }
        // The database is thrown away afterwards, so whatever is written harms nobody.
        let key = "/{{name}}/trial";
        database.put(key, "written")?;
        let read = database.get(key)?.is_some_and(|row| row.value == b"written");
        let report = if read {
            Report::passed(format!("{summary}, and more can be written"))
        } else {
            let message = format!("`{key}` is not read as it was written");
            Report::failed(&message).finding(Finding::error("not-written", message).key(key))
        };
        Ok(report.measure("keys", found, "keys"))
    }
}

export_script!(Plugin);

#[cfg(test)]
mod tests {
    use holdfast_plugin::{Context, MemoryDatabase, Outcome, run_script};

    use super::Plugin;

    fn outcome(config: &str) -> Outcome {
        let database = MemoryDatabase::new().with("/app/a", "1").with("/app/b", "2");
        run_script::<Plugin>(&database, &Context::default(), config).unwrap().outcome
    }

    #[test]
    fn enough_keys_pass() {
        assert_eq!(outcome(r#"{"prefix": "/app/", "at_least": 2}"#), Outcome::Passed);
    }

    #[test]
    fn too_few_keys_fail() {
        assert_eq!(outcome(r#"{"prefix": "/app/", "at_least": 3}"#), Outcome::Failed);
    }
}
