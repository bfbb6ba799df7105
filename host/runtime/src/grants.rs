//! What one use of a plugin may reach beyond its input: nothing, but for what an operator lists.
//!
//! An operator grants ([`Grants`]), a plugin says what it would like ([`Wants`], from its description), and the effect is what
//! both name. A grant that the plugin never asked for has no effect, and a want without a grant is refused when it is used.

mod address;
mod pattern;
mod redact;
mod wants;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use zeroize::Zeroizing;

pub(crate) use address::AddressRules;
pub use address::{AddressRange, RangeError};
pub(crate) use pattern::{Host, Scheme, Target};
pub use pattern::{HttpPattern, PatternError};
pub(crate) use redact::Redactor;
pub use wants::Wants;

/// A secret's value. It can be handed to a guest but not printed, and is wiped from memory when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Takes the value over.
    pub fn new(value: impl Into<String>) -> SecretText {
        SecretText(Zeroizing::new(value.into()))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretText(…)")
    }
}

/// The names in an operator's `allow` table: what one use of a plugin may reach. The default is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allow {
    /// Where HTTP requests may go.
    pub http: Vec<HttpPattern>,
    /// Addresses that are not public, and to which the names in `http` may lead all the same.
    pub http_addresses: Vec<AddressRange>,
    /// Names of secrets.
    pub secrets: BTreeSet<String>,
    /// Names of state stores.
    pub state: BTreeSet<String>,
}

impl Allow {
    /// What is left when the plugin wants only that.
    fn wanted(&self, wants: &Wants) -> Allow {
        let http =
            self.http.iter().flat_map(|granted| wants.http.iter().filter_map(|want| granted.and(want)));
        Allow {
            http: http.collect(),
            http_addresses: self.http_addresses.clone(),
            secrets: self.secrets.iter().filter(|name| wants.wants_secret(name)).cloned().collect(),
            state: self.state.iter().filter(|name| wants.wants_state(name)).cloned().collect(),
        }
    }
}

/// As a config writes it: `allow = { http = ["https://a.example"] }`.
impl fmt::Display for Allow {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut keys = Vec::new();
        let mut key = |name: &str, values: Vec<String>| {
            if !values.is_empty() {
                let quoted: Vec<String> = values.iter().map(|value| format!("\"{value}\"")).collect();
                keys.push(format!("{name} = [{}]", quoted.join(", ")));
            }
        };
        key("http", self.http.iter().map(ToString::to_string).collect());
        key("http_addresses", self.http_addresses.iter().map(ToString::to_string).collect());
        key("secrets", self.secrets.iter().cloned().collect());
        key("state", self.state.iter().cloned().collect());
        write!(formatter, "allow = {{ {} }}", keys.join(", "))
    }
}

/// What an operator grants to one use of a plugin, with the secrets' values. The default is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    allow: Allow,
    secrets: BTreeMap<String, SecretText>,
}

impl Grants {
    /// Grants with the values of the secrets that `allow` names. One without a value is not granted.
    pub fn new(allow: Allow, secrets: BTreeMap<String, SecretText>) -> Grants {
        Grants { allow, secrets }
    }

    /// What is left when the plugin wants only that.
    pub(crate) fn wanted(&self, wants: &Wants) -> Grants {
        let allow = self.allow.wanted(wants);
        let secrets = self.secrets.iter().filter(|(name, _)| allow.secrets.contains(*name));
        Grants { secrets: secrets.map(|(name, value)| (name.clone(), value.clone())).collect(), allow }
    }

    pub(crate) fn allow(&self) -> &Allow {
        &self.allow
    }

    pub(crate) fn secret(&self, name: &str) -> Option<&SecretText> {
        self.secrets.get(name)
    }

    /// Blots the secrets out of what the guest writes.
    pub(crate) fn redactor(&self) -> Redactor {
        Redactor::new(self.secrets.iter().map(|(name, value)| (name.as_str(), value.expose())))
    }
}

/// Something that a guest asked for and did not get.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Denial {
    /// `http`, `secrets`, `state` or `network`.
    pub grant: &'static str,
    /// What was asked for, safe to show.
    pub asked: String,
    /// Why it was refused.
    pub reason: String,
    /// What would grant it, where something can.
    pub hint: Option<String>,
    /// How often.
    pub times: u64,
}

impl fmt::Display for Denial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.asked, self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(http: &[&str]) -> Grants {
        let allow = Allow {
            http: http.iter().map(|text| HttpPattern::parse(text).expect("a pattern")).collect(),
            secrets: ["token".to_owned()].into(),
            state: ["seen".to_owned()].into(),
            ..Allow::default()
        };
        Grants::new(allow, [("token".to_owned(), SecretText::new("hunter2"))].into())
    }

    fn effect(http: &[&str], wants: &[&str]) -> String {
        let wants: Vec<String> = wants.iter().map(|&want| want.to_owned()).collect();
        let effective = grants(http).wanted(&Wants::parse(&wants).expect("sound wants"));
        let http: Vec<String> = effective.allow.http.iter().map(ToString::to_string).collect();
        let secrets: Vec<&str> = effective.secrets.keys().map(String::as_str).collect();
        let state: Vec<&str> = effective.allow.state.iter().map(String::as_str).collect();
        format!("{} | {} | {}", http.join(" "), secrets.join(" "), state.join(" "))
    }

    #[test]
    fn the_effect_is_what_both_name() {
        let hooks = "https://hooks.slack.com";
        assert_eq!(effect(&[hooks], &[]), " |  | ", "what is not wanted has no effect");
        assert_eq!(
            effect(&[hooks], &[r#"http = ["https://*"]"#, r#"secrets = ["*"]"#]),
            "https://hooks.slack.com | token | "
        );
        assert_eq!(
            effect(&["https://*.slack.com"], &[r#"http = ["https://hooks.slack.com"]"#]),
            "https://hooks.slack.com |  | ",
            "the narrower of the two"
        );
        assert_eq!(effect(&["http://hooks.slack.com"], &[r#"http = ["https://*"]"#]), " |  | ");
        assert_eq!(effect(&[hooks], &[r#"secrets = ["other"]"#, r#"state = ["seen"]"#]), " |  | seen");
    }

    #[test]
    fn a_secret_is_never_shown() {
        assert!(!format!("{:?}", grants(&[])).contains("hunter2"));
    }
}
