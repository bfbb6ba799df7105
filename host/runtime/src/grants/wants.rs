//! What a plugin says it would like, read from its description.

use toml::{Table, Value};

use super::{Allow, HttpPattern};

/// Stands for whatever name the operator chooses.
const ANY: &str = "*";

/// The grants that a plugin would like. Nothing is granted by this.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    pub(crate) http: Vec<HttpPattern>,
    secrets: Vec<String>,
    state: Vec<String>,
}

impl Wants {
    /// Reads lines of TOML as they would stand in an `allow` table. Keys that this agent does not know are passed over: a newer
    /// one may grant them, this one does not.
    ///
    /// # Errors
    /// The end of a sentence that begins with the plugin.
    pub(crate) fn parse(lines: &[String]) -> Result<Wants, String> {
        let mut wants = Wants::default();
        for line in lines {
            let table: Table =
                line.parse().map_err(|_| format!("wants `{line}`, which is no line of TOML"))?;
            for (key, value) in &table {
                let texts =
                    texts(value).ok_or_else(|| format!("wants `{line}`, which is no list of texts"))?;
                match key.as_str() {
                    "http" => {
                        for text in texts {
                            let pattern = HttpPattern::parse_wanted(text)
                                .map_err(|error| format!("wants http to `{text}`, which {error}"))?;
                            wants.http.push(pattern);
                        }
                    }
                    "secrets" => wants.secrets.extend(texts.into_iter().map(str::to_owned)),
                    "state" => wants.state.extend(texts.into_iter().map(str::to_owned)),
                    _ => {}
                }
            }
        }
        Ok(wants)
    }

    pub(crate) fn wants_secret(&self, name: &str) -> bool {
        self.secrets.iter().any(|want| want == ANY || want == name)
    }

    pub(crate) fn wants_state(&self, name: &str) -> bool {
        self.state.iter().any(|want| want == ANY || want == name)
    }

    /// The whole `allow` table that gives the plugin all it would like, beside what is granted already; none when nothing is
    /// missing. What only the operator can know is left for him to fill in.
    pub fn missing(&self, granted: &Allow) -> Option<String> {
        let mut wanted = granted.clone();
        let mut missing = false;
        for want in &self.http {
            if !granted.http.iter().any(|pattern| pattern.and(want).is_some()) {
                missing = true;
                wanted.http.push(want.clone());
            }
        }
        for (wants, granted, wanted) in [
            (&self.secrets, &granted.secrets, &mut wanted.secrets),
            (&self.state, &granted.state, &mut wanted.state),
        ] {
            for want in wants {
                let given = if want == ANY { !granted.is_empty() } else { granted.contains(want) };
                if !given {
                    missing = true;
                    wanted.insert(if want == ANY { "NAME".to_owned() } else { want.clone() });
                }
            }
        }
        missing
            .then(|| wanted.to_string().replace("://*\"", "://HOST\"").replace("\"*\"", "\"https://HOST\""))
    }

    /// What is granted and has no effect, because the plugin never asked for it.
    pub fn unwanted(&self, granted: &Allow) -> Vec<String> {
        let http = granted
            .http
            .iter()
            .filter(|pattern| !self.http.iter().any(|want| pattern.and(want).is_some()))
            .map(|pattern| format!("http to `{pattern}`"));
        let secrets = granted
            .secrets
            .iter()
            .filter(|name| !self.wants_secret(name))
            .map(|name| format!("secret `{name}`"));
        let state =
            granted.state.iter().filter(|name| !self.wants_state(name)).map(|name| format!("state `{name}`"));
        http.chain(secrets).chain(state).collect()
    }
}

fn texts(value: &Value) -> Option<Vec<&str>> {
    value.as_array()?.iter().map(Value::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wants(lines: &[&str]) -> Wants {
        let lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
        Wants::parse(&lines).expect("sound wants")
    }

    #[test]
    fn what_is_missing_is_told_as_the_line_to_write() {
        let slack = wants(&[r#"http = ["https://hooks.slack.com"]"#, r#"secrets = ["slack_url"]"#]);
        let nothing = Allow::default();
        assert_eq!(
            slack.missing(&nothing).as_deref(),
            Some(r#"allow = { http = ["https://hooks.slack.com"], secrets = ["slack_url"] }"#)
        );
        let some = Allow { secrets: ["slack_url".to_owned()].into(), ..Allow::default() };
        assert_eq!(
            slack.missing(&some).as_deref(),
            Some(r#"allow = { http = ["https://hooks.slack.com"], secrets = ["slack_url"] }"#),
            "with what is there already"
        );
        let all =
            Allow { http: vec![HttpPattern::parse("https://hooks.slack.com").expect("a pattern")], ..some };
        assert_eq!(slack.missing(&all), None);
        let open = wants(&[r#"http = ["https://*"]"#, r#"secrets = ["*"]"#]);
        assert_eq!(
            open.missing(&nothing).as_deref(),
            Some(r#"allow = { http = ["https://HOST"], secrets = ["NAME"] }"#)
        );
        assert_eq!(wants(&[]).missing(&nothing), None);
        assert_eq!(wants(&[]).unwanted(&all), ["http to `https://hooks.slack.com`", "secret `slack_url`"]);
    }

    #[test]
    fn nonsense_is_refused_and_the_unknown_passed_over() {
        let parse = |line: &str| Wants::parse(&[line.to_owned()]);
        assert!(parse("http = ").expect_err("no TOML").contains("no line of TOML"));
        assert!(parse("http = \"x\"").expect_err("no list").contains("no list of texts"));
        assert!(parse("http = [\"x\"]").expect_err("no pattern").contains("does not say whether"));
        assert_eq!(parse("teleport = [\"moon\"]"), Ok(Wants::default()));
    }
}
