//! What a verifier is told about the run that it is part of.

/// Facts about the run, by name. All of them may be missing: a snapshot file that is verified by hand belongs to no
/// cluster and no backup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    entries: Vec<(String, String)>,
}

impl Context {
    /// A context of these facts. The first of two with the same name counts.
    pub fn new(entries: Vec<(String, String)>) -> Context {
        Context { entries }
    }

    /// A fact by its name, also one that this crate has no method for.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.entries.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A fact that is a whole number. A script is told of its backup so: `revision`, `compact-revision`, `live-keys`, `leases`, `hash-kv`
    /// and others.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.get(name)?.parse().ok()
    }

    /// The cluster's name in the agent's config.
    pub fn cluster(&self) -> Option<&str> {
        self.get("cluster")
    }

    /// The backup that the snapshot belongs to.
    pub fn backup_id(&self) -> Option<&str> {
        self.get("backup-id")
    }

    /// When the run began, RFC 3339. A verifier that needs to know what time it is should ask here, so that the same
    /// run gives the same verdict again.
    pub fn time(&self) -> Option<&str> {
        self.get("time")
    }

    /// What the newest older backup that was proved remembers ([`crate::Report::remember`]); `None` when there is none.
    ///
    /// Only plugins with [`crate::Verifier::REMEMBERS`] are told.
    ///
    /// # Errors
    /// Why it could not be found out: nothing can be said of what was before.
    pub fn previous(&self) -> Result<Option<Previous<'_>>, &str> {
        if let Some(reason) = self.get("previous-unknown") {
            return Err(reason);
        }
        Ok(self
            .get("previous-memo")
            .map(|memo| Previous { backup_id: self.get("previous-backup").unwrap_or_default(), memo }))
    }

    /// The agent's session, as its log and its records name it.
    pub fn session(&self) -> Option<&str> {
        self.get("session")
    }
}

/// What an earlier proof remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Previous<'a> {
    /// The backup that was proved.
    pub backup_id: &'a str,
    /// What the plugin's own report wanted to be remembered.
    pub memo: &'a str,
}

#[cfg(test)]
mod tests {
    use super::Context;

    #[test]
    fn facts_are_found_by_name() {
        let entries = [("cluster", "prod-eu"), ("time", "2026-11-21T03:00:00Z"), ("site", "fra")];
        let context = Context::new(entries.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec());
        assert_eq!(context.cluster(), Some("prod-eu"));
        assert_eq!(context.time(), Some("2026-11-21T03:00:00Z"));
        assert_eq!(context.get("site"), Some("fra"));
        assert_eq!(context.backup_id(), None);
        assert_eq!(context.session(), None);
    }
}
