//! {{summary}}.

use holdfast_plugin::{
    Context, Error, Finding, Query, Report, SnapshotView, Verifier, export_verifier,
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

/// The verifier.
pub struct Plugin;

impl Verifier for Plugin {
    const NAME: &'static str = "{{name}}";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &'static str = "{{summary}}";
    type Config = Config;

    fn verify(
        snapshot: &SnapshotView<'_>,
        _context: &Context,
        config: Config,
    ) -> Result<Report, Error> {
        // The agent counts; no row crosses over. To look at rows, see `SnapshotView::rows`.
        let found = snapshot.totals(&Query::prefix(&config.prefix))?.keys;
        let summary = format!("{found} keys begin with `{}`", config.prefix);
        let report = if found >= config.at_least {
            Report::passed(summary)
        } else {
            let message = format!("{summary}, fewer than {}", config.at_least);
            Report::failed(&message).finding(Finding::error("too-few", message))
        };
        Ok(report.measure("keys", found, "keys"))
    }
}

export_verifier!(Plugin);

#[cfg(test)]
mod tests {
    use holdfast_plugin::{Context, MemorySnapshot, Outcome, run};

    use super::Plugin;

    fn outcome(config: &str) -> Outcome {
        let snapshot =
            MemorySnapshot::new().with("/app/a", "1").with("/app/b", "2").with("/other", "3");
        run::<Plugin>(&snapshot, &Context::default(), config).unwrap().outcome
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
