//! Pins: the operator's word that a backup stays. Added beside the backup; taken back by adding another document, so that
//! it works in a store that locks its objects. The newest document counts.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{BackupId, CatalogError};
use crate::session::SessionId;
use crate::store::Store;

/// The format written here.
pub const PIN_FORMAT: &str = "holdfast-pin/1";

/// What a pin document says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PinAction {
    /// From now on it may go.
    Unpin,
    /// It stays.
    Pin,
}

/// One word about one backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// [`PIN_FORMAT`].
    pub format: String,
    /// The backup.
    pub backup: BackupId,
    /// The command that said it.
    pub session: SessionId,
    /// When it was said.
    pub at: Timestamp,
    /// What was said.
    pub action: PinAction,
    /// When the pin ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Why, in the operator's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The pin that holds; none when the last word was to let go. Of two words of one moment the one that keeps counts.
/// Whether it has ended is for the caller to see.
pub fn in_force(pins: &[Pin]) -> Option<&Pin> {
    let last = pins.iter().max_by_key(|pin| (pin.at, pin.action))?;
    (last.action == PinAction::Pin).then_some(last)
}

/// Adds a word beside its backup. False when the store does not hold the backup.
pub async fn say_in(store: &dyn Store, pin: &Pin) -> Result<bool, CatalogError> {
    let there = super::manifest(store, &pin.backup).await?.is_some();
    if there {
        super::add_pin(store, pin).await?;
    }
    Ok(there)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(second: i64, action: PinAction) -> Pin {
        Pin {
            format: PIN_FORMAT.to_owned(),
            backup: "20261121T030000Z-1".parse().unwrap(),
            session: SessionId::random(),
            at: Timestamp::from_second(second).unwrap(),
            action,
            until: None,
            reason: None,
        }
    }

    #[test]
    fn the_last_word_counts_and_in_doubt_the_one_that_keeps() {
        assert!(in_force(&[]).is_none());
        let pinned = pin(1, PinAction::Pin);
        assert_eq!(in_force(std::slice::from_ref(&pinned)), Some(&pinned));
        assert!(in_force(&[pin(2, PinAction::Unpin), pinned.clone()]).is_none());
        let again = pin(2, PinAction::Pin);
        assert_eq!(in_force(&[again.clone(), pin(2, PinAction::Unpin), pinned]), Some(&again));
    }
}
