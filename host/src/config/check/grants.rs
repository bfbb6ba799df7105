//! What plugins may reach: `[secret.NAME]`, the `allow` of each use, and how their requests leave.

use holdfast_runtime::{AddressRange, HttpOptions, HttpPattern, HttpProxy, is_store_name};

use super::super::Granted;
use super::super::diagnostic::Diagnostic;
use super::super::raw::{self, Fields, Spanned};
use super::{Check, Named, Spans};
use crate::secret::SecretSource;

impl Check<'_> {
    pub(super) fn secrets(&mut self, named: Vec<Named>) {
        for (name, fields) in named {
            // A table that is wrong is told of here; who names it needs no other error.
            let known = name.value.clone();
            self.secrets.insert(known.clone(), SecretSource::Env(String::new()));
            let Some(mut fields) = fields else {
                self.granted_secrets.insert(known);
                continue;
            };
            let (file, env) = (fields.text("file"), fields.text("env"));
            match (file, env) {
                (Some(path), None) => {
                    let path = self.path(path);
                    self.secrets.insert(name.value, SecretSource::File(path));
                }
                (None, Some(variable)) => {
                    if variable.value.contains('=') {
                        self.tell(
                            Diagnostic::error(format!(
                                "`{}.env` is not the name of an environment variable",
                                fields.path
                            ))
                            .at(variable.span)
                            .hint("give its name, not its value"),
                        );
                    }
                    self.secrets.insert(name.value, SecretSource::Env(variable.value));
                }
                (Some(_), Some(variable)) => {
                    self.granted_secrets.insert(known);
                    self.tell(
                        Diagnostic::error(format!("both `file` and `env` are given in `{}`", fields.path))
                            .at(variable.span)
                            .hint("keep one of them"),
                    );
                }
                (None, None) => {
                    self.granted_secrets.insert(known);
                    // Else it was told of as something that is wrong with the key.
                    if !fields.has_unknown && !fields.gives("file") && !fields.gives("env") {
                        self.tell(
                            Diagnostic::error(format!("`{}` does not say where the secret is", fields.path))
                                .at(fields.span.clone())
                                .hint("add `file = \"/etc/holdfast/…\"`, or `env = \"…\"`"),
                        );
                    }
                }
            }
        }
    }

    pub(super) fn unused_secrets(&mut self, spans: &Spans) {
        let unused: Vec<String> =
            self.secrets.keys().filter(|name| !self.granted_secrets.contains(*name)).cloned().collect();
        for name in unused {
            self.tell(
                Diagnostic::warning(format!("secret `{name}` is granted to no plugin"))
                    .at(spans.get(&name).cloned().flatten())
                    .hint(format!("name it where it is needed: `allow = {{ secrets = [\"{name}\"] }}`")),
            );
        }
    }

    /// The `allow` table of one use of a plugin.
    pub(super) fn allow(&mut self, mut fields: Fields) -> Granted {
        let mut granted = Granted::default();
        for text in fields.texts("http").map(|texts| texts.value).unwrap_or_default() {
            match HttpPattern::parse(&text.value) {
                Ok(pattern) => granted.allow.http.push(pattern),
                Err(error) => self.tell(
                    Diagnostic::error(format!("a grant of `http` {error}"))
                        .at(text.span)
                        .maybe_hint(error.advice().map(str::to_owned)),
                ),
            }
        }
        for text in fields.texts("http_addresses").map(|texts| texts.value).unwrap_or_default() {
            match AddressRange::parse(&text.value) {
                Ok(range) => granted.allow.http_addresses.push(range),
                Err(error) => self.tell(Diagnostic::error(format!("`{}` {error}", text.value)).at(text.span)),
            }
        }
        for text in fields.texts("secrets").map(|texts| texts.value).unwrap_or_default() {
            self.granted_secret(text, &mut granted);
        }
        for text in fields.texts("state").map(|texts| texts.value).unwrap_or_default() {
            if is_store_name(&text.value) {
                granted.allow.state.insert(text.value);
            } else {
                self.tell(
                    Diagnostic::error(format!(
                        "`{}` cannot be the name of a plugin's state",
                        text.value.escape_debug()
                    ))
                    .at(text.span)
                    .hint("a name has letters, digits, `-` and `_`, at most 64"),
                );
            }
        }
        granted
    }

    fn granted_secret(&mut self, text: Spanned<String>, granted: &mut Granted) {
        let name = text.value;
        if let Some(source) = self.secrets.get(&name) {
            granted.secrets.insert(name.clone(), source.clone());
            granted.allow.secrets.insert(name.clone());
            self.granted_secrets.insert(name);
            return;
        }
        let known: Vec<&String> = self.secrets.keys().collect();
        let meant = raw::did_you_mean(&name, &known).map(|meant| format!("{meant} ")).unwrap_or_default();
        let hint = match known.len() {
            0 => format!("add a table `[secret.{name}]` with `file = \"…\"` or `env = \"…\"`"),
            _ => format!("{meant}the secrets there are {}", raw::list(&known)),
        };
        self.tell(
            Diagnostic::error(format!("there is no secret `{}`", name.escape_debug()))
                .at(text.span)
                .hint(hint),
        );
    }

    /// How plugins' requests leave.
    pub(super) fn http(&mut self, fields: &mut Fields) -> Option<HttpOptions> {
        let ca = fields.text("http_ca").map(|path| self.path(path));
        let proxy = fields.text("http_proxy").and_then(|text| match HttpProxy::parse(&text.value) {
            Ok(proxy) => Some(proxy),
            Err(reason) => {
                self.tell(
                    Diagnostic::error(format!("`plugins.http_proxy` {reason}"))
                        .at(text.span)
                        .hint("write `http://host:port`; a proxy that asks for a password cannot be used"),
                );
                None
            }
        });
        let no_proxy = fields.texts("no_proxy")?.value.into_iter().map(|text| text.value).collect();
        Some(HttpOptions { ca, proxy, no_proxy })
    }
}
