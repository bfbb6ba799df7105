//! The id of a backup that is about to be committed: one that no store holds, and that sorts behind those made before it.

use jiff::{SignedDuration, Timestamp};

use super::BackupError;
use super::store::{NamedStore, StoreFailure, failed};
use crate::catalog::{self, BackupId};
use crate::store::StoreError;

/// How far ahead of a run's second a backup may lie that was made before it: it was moved there, or the clock was set back by as little.
/// What lies further ahead tells of a clock that was wrong, and is not followed.
const NEAR: SignedDuration = SignedDuration::from_mins(1);
/// How far an id may move ahead in all.
const MAX_SHIFT: SignedDuration = SignedDuration::from_hours(1);

/// The id of a backup begun at `started`. Runs within one second would share it, or sort by their revisions: the later moves ahead, behind
/// every backup that any store holds of that second and of those right after it. A second that has become free in between is not
/// taken: what was moved ahead would sort after the one that follows it.
///
/// # Errors
/// When no store can be asked, or there is a backup in every minute of the next hour.
pub(super) async fn free_id(
    stores: &[NamedStore],
    started: Timestamp,
    revision: i64,
) -> Result<BackupId, BackupError> {
    let mut time = started;
    while let Some(last) = last_near(stores, time).await? {
        time = last.saturating_add(SignedDuration::from_secs(1)).unwrap_or(last);
        if time.duration_since(started) > MAX_SHIFT || time == last {
            let name = stores.first().map_or_else(String::new, |named| named.name.clone());
            return Err(failed(&name, StoreFailure::NoFreeId));
        }
    }
    Ok(BackupId::new(time, revision))
}

/// When the last backup begins, by its id, that a store holds of this second and of those right after it.
async fn last_near(stores: &[NamedStore], time: Timestamp) -> Result<Option<Timestamp>, BackupError> {
    let first = BackupId::new(time, 0);
    let end = first.time().saturating_add(NEAR).unwrap_or(Timestamp::MAX);
    // Ids of a minute begin alike.
    let minutes = [first.minute(), BackupId::new(end, 0).minute()];
    let looks = stores.iter().map(|named| async {
        let store = named.store.as_ref();
        let (one, next) =
            futures::try_join!(catalog::ids_from(store, &minutes[0]), catalog::ids_from(store, &minutes[1]))?;
        Ok::<_, StoreError>(one.into_iter().chain(next))
    });
    let looks = futures::future::join_all(looks).await;
    // A store that cannot be asked has no say; it will not be able to take the manifest either, nor replaces one.
    let (answers, mut errors): (Vec<_>, Vec<_>) =
        stores.iter().zip(looks).partition(|(_, look)| look.is_ok());
    if answers.is_empty()
        && let Some((named, Err(error))) = errors.pop()
    {
        return Err(failed(&named.name, error));
    }
    let ids = answers.into_iter().filter_map(|(_, look)| look.ok()).flatten();
    Ok(ids.map(|id| id.time()).filter(|time| (first.time()..end).contains(time)).max())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::catalog::testing::{Repository, repository, sample};
    use crate::catalog::{commit, remove, seal};
    use crate::pipeline::named;

    async fn add(repository: &Repository, id: &BackupId) {
        commit(&repository.store, &seal(&sample(&id.to_string()), None).unwrap()).await.unwrap();
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn an_id_sorts_behind_what_was_made_before_it_whatever_was_removed() {
        let (one, other) = (repository(), repository());
        let stores =
            [named("one", Arc::new(one.store.clone())), named("other", Arc::new(other.store.clone()))];
        // The last second of a minute: what is moved ahead begins with another minute.
        let started = at("2026-11-21T03:00:59.5Z");
        let free = async |revision| free_id(&stores, started, revision).await.unwrap();
        let mut made = Vec::new();
        for number in 0..4 {
            // Later revisions, and smaller ones: a cluster was restored.
            let id = free(100 - number).await;
            add(if number % 2 == 0 { &one } else { &other }, &id).await;
            made.push(id);
        }
        assert_eq!(made[0].to_string(), "20261121T030059Z-100");
        assert_eq!(made[3].to_string(), "20261121T030102Z-97");
        // Within the same second the first two are pruned, and the run after that begins.
        for (repository, id) in [(&one, &made[0]), (&other, &made[1])] {
            remove(&repository.store, &sample(&id.to_string()), false).await.unwrap();
        }
        let next = free(500).await;
        assert_eq!(next.to_string(), "20261121T030103Z-500");
        assert!(made.is_sorted() && next > made[3], "{made:?}, {next}");
    }

    #[tokio::test]
    async fn a_clock_that_was_far_ahead_is_not_followed() {
        let one = repository();
        let stores = [named("one", Arc::new(one.store.clone()))];
        add(&one, &BackupId::new(at("2026-11-21T03:01:00Z"), 7)).await;
        let id = |text: &str| free_id(&stores, at(text), 8);
        assert_eq!(id("2026-11-21T03:00:00Z").await.unwrap().to_string(), "20261121T030000Z-8");
        assert_eq!(id("2026-11-21T03:00:01Z").await.unwrap().to_string(), "20261121T030101Z-8");
        assert_eq!(id("2026-11-21T03:01:01Z").await.unwrap().to_string(), "20261121T030101Z-8");
        for minute in 0..=62 {
            let time = at("2026-11-21T03:00:30Z").saturating_add(SignedDuration::from_mins(minute)).unwrap();
            add(&one, &BackupId::new(time, 7)).await;
        }
        let error = id("2026-11-21T03:00:30Z").await.unwrap_err();
        let told = crate::config::probe::with_causes(&error);
        assert!(told.contains("of the next hour"), "{told}");
    }
}
