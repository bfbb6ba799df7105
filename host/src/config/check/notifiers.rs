//! Who is told what happens: `[notify.NAME]`.

use std::collections::BTreeMap;

use lettre::message::Mailbox;

use super::super::diagnostic::Diagnostic;
use super::super::raw::{self, Fields, Spanned};
use super::{Check, Named};
use crate::notify::email::{self, Login, Tls};
use crate::notify::{Kind, Means, Notifier, Pattern, When};

impl Check<'_> {
    pub(super) fn notifiers(&mut self, named: Vec<Named>) -> BTreeMap<String, Notifier> {
        let mut notifiers = BTreeMap::new();
        for (name, fields) in named {
            let Some(fields) = fields else { continue };
            if let Some(notifier) = self.notifier(&name, fields) {
                notifiers.insert(name.value, notifier);
            }
        }
        notifiers
    }

    fn notifier(&mut self, name: &Spanned<String>, mut fields: Fields) -> Option<Notifier> {
        let when = self.when(&mut fields);
        let means = self.means(name, &mut fields);
        Some(Notifier {
            name: name.value.clone(),
            when: when?,
            means: means?,
            remind: fields.duration("remind")?.value,
            resolved: fields.flag("resolved")?.value,
            give_up_after: fields.duration("give_up_after")?.value,
            per_hour: u32::try_from(fields.integer("per_hour")?.value).ok()?,
        })
    }

    fn when(&mut self, fields: &mut Fields) -> Option<When> {
        let texts = fields.texts("when")?;
        if texts.value.is_empty() {
            self.tell(
                Diagnostic::error(format!(
                    "`{}.when` is empty: it would never be told anything",
                    fields.path
                ))
                .at(texts.span)
                .hint("name what it is told, e.g. `when = [\"backup.failed\", \"verify.*\"]`"),
            );
            return None;
        }
        let mut patterns = Vec::new();
        for text in texts.value {
            if let Some(pattern) = Pattern::parse(&text.value) {
                patterns.push(pattern);
            } else {
                self.tell(
                    Diagnostic::error(format!("there is no event `{}`", text.value.escape_debug()))
                        .at(text.span)
                        .hint(meant(&text.value)),
                );
            }
        }
        Some(When(patterns))
    }

    fn means(&mut self, name: &Spanned<String>, fields: &mut Fields) -> Option<Means> {
        let span = fields.span.clone().or(name.span.clone());
        let (is_plugin, is_email) = (fields.gives("plugin"), fields.gives("email"));
        match (is_plugin, is_email) {
            (true, true) => {
                self.tell(
                    Diagnostic::error(format!("notifier `{}` has both a plugin and email", name.value))
                        .at(fields.span_of("plugin").or(span))
                        .hint("make a notifier of each, with a name of its own"),
                );
                return None;
            }
            (false, false) => {
                if !fields.has_unknown {
                    self.tell(
                        Diagnostic::error(format!("notifier `{}` tells nobody", name.value)).at(span).hint(
                            format!(
                                "name a plugin, `plugin = \"slack\"`, or write it as `[notify.{}.email]`",
                                name.value
                            ),
                        ),
                    );
                }
                return None;
            }
            _ => {}
        }
        if is_email {
            for key in ["config", "allow"] {
                if fields.gives(key) {
                    self.tell(
                        Diagnostic::error(format!("notifier `{}` has a `{key}` but no `plugin`", name.value))
                            .at(fields.span_of(key).or_else(|| span.clone()))
                            .hint("only plugins take it"),
                    );
                }
            }
            let email = fields.fields("email")?;
            return self.email(email.value).map(|options| Means::Email(Box::new(options)));
        }
        let granted = fields.fields("allow").map(|allow| self.allow(allow.value));
        let config_given = fields.gives("config");
        let config = fields.json("config").map(|config| config.value);
        if config.is_none() && config_given {
            return None;
        }
        Some(Means::Plugin {
            plugin: fields.text("plugin")?.value,
            config: config.unwrap_or_else(|| serde_json::Value::Object(serde_json::Map::new())),
            granted: granted?,
        })
    }

    fn email(&mut self, mut fields: Fields) -> Option<email::Options> {
        let tls = fields.text("tls").map(|tls| match tls.value.as_str() {
            "implicit" => Tls::Implicit,
            "none" => Tls::None,
            _ => Tls::StartTls,
        });
        let login = self.mail_login(&mut fields, tls);
        let server = fields.text("server");
        if let Some(server) = &server
            && server.value.contains([':', '/', '@', ' '])
        {
            self.tell(
                Diagnostic::error(format!("`{}.server` is not the name of a server", fields.path))
                    .at(server.span.clone())
                    .hint("give its name alone, `mail.example.org`, and the port as `port`"),
            );
        }
        let from = fields.text("from").and_then(|from| self.mailbox(&from));
        let to = fields.texts("to");
        if let Some(to) = to.as_ref().filter(|to| to.value.is_empty()) {
            self.tell(
                Diagnostic::error(format!("`{}.to` is empty: nobody would read it", fields.path))
                    .at(to.span.clone())
                    .hint("name at least one address: `to = [\"oncall@example.org\"]`"),
            );
        }
        let to: Option<Vec<Mailbox>> =
            to.map(|to| to.value.iter().filter_map(|to| self.mailbox(to)).collect());
        let port = fields.integer("port").and_then(|port| u16::try_from(port.value).ok());
        let ca = fields.text("ca").map(|path| self.path(path));
        let tls = tls?;
        Some(email::Options {
            server: server?.value,
            port: port.unwrap_or(match tls {
                Tls::StartTls => 587,
                Tls::Implicit => 465,
                Tls::None => 25,
            }),
            tls,
            ca,
            login,
            from: from?,
            to: to?,
            timeout: fields.duration("timeout")?.value,
        })
    }

    fn mail_login(&mut self, fields: &mut Fields, tls: Option<Tls>) -> Option<Login> {
        let username = fields.text("username");
        let given = ["password_file", "password_env"].map(|key| (fields.gives(key), fields.span_of(key)));
        let password = self.secret(fields, "password_file", "password_env");
        let password_given = given.iter().find(|(given, _)| *given).map(|(_, span)| span.clone());
        match (&username, password_given) {
            (Some(username), None) => self.tell(
                Diagnostic::error("`username` is given but no password")
                    .at(username.span.clone())
                    .hint("add `password_file = \"/etc/holdfast/mail-password\"`, or `password_env = \"MAIL_PASSWORD\"`"),
            ),
            (None, Some(span)) => self.tell(
                Diagnostic::error("a password is given but no `username`")
                    .at(span)
                    .hint("add `username = \"holdfast\"`"),
            ),
            (Some(username), Some(_)) if tls == Some(Tls::None) => self.tell(
                Diagnostic::error("the password would go over a connection that is not encrypted")
                    .at(username.span.clone())
                    .hint("write `tls = \"starttls\"` or `tls = \"implicit\"`, or leave the login out"),
            ),
            _ => {}
        }
        Some(Login { username: username?.value, password: password? })
    }

    fn mailbox(&mut self, text: &Spanned<String>) -> Option<Mailbox> {
        match text.value.parse::<Mailbox>() {
            Ok(mailbox) => Some(mailbox),
            Err(error) => {
                self.tell(
                    Diagnostic::error(format!("`{}` is no address: {error}", text.value.escape_debug()))
                        .at(text.span.clone())
                        .hint("write `name@example.org`, or `Name <name@example.org>`"),
                );
                None
            }
        }
    }
}

/// What was perhaps meant by a name that names no event.
fn meant(text: &str) -> String {
    let names: Vec<&str> = Kind::all().map(Kind::name).collect();
    let areas: Vec<String> = Kind::all().map(|kind| format!("{}.*", kind.area())).collect();
    let known: Vec<&str> = names.iter().copied().chain(areas.iter().map(String::as_str)).collect();
    if let Some(meant) = raw::did_you_mean(text, &known) {
        return meant;
    }
    let area = text.split('.').next().unwrap_or_default();
    let same: Vec<&str> = names.into_iter().filter(|name| name.split('.').next() == Some(area)).collect();
    if same.is_empty() {
        "`holdfast notify kinds` lists what there is; `*` stands for all of an area, `backup.*`".to_owned()
    } else {
        format!("there is {}", raw::list(&same))
    }
}
