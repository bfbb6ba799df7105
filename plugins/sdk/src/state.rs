//! A few bytes that outlast the call, in stores that the operator granted by name: `allow = { state = ["seen"] }`.
//!
//! A key has at most 256 bytes, a value 16 KiB, a store 64 KiB in all. Natively they are kept for the thread, so for the test.

/// What was asked for could not be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StateError {
    /// `denied`, `limit` or `storage`, as the agent says it.
    pub code: String,
    /// For a person.
    pub message: String,
}

/// The value of a key; none when it is not set.
///
/// # Errors
/// When the store is not granted, or cannot be read.
pub fn get(store: &str, key: &str) -> Result<Option<Vec<u8>>, StateError> {
    #[cfg(target_arch = "wasm32")]
    {
        Ok(crate::guest::host::state::get(store, key)?)
    }
    #[cfg(not(target_arch = "wasm32"))]
    {
        Ok(crate::testing::state(|stores| stores.get(store).and_then(|keys| keys.get(key)).cloned()))
    }
}

/// Sets a key. When it returns, the value is on disk.
///
/// # Errors
/// When the store is not granted, something is too large, or it cannot be written.
pub fn set(store: &str, key: &str, value: &[u8]) -> Result<(), StateError> {
    #[cfg(target_arch = "wasm32")]
    {
        Ok(crate::guest::host::state::set(store, key, value)?)
    }
    #[cfg(not(target_arch = "wasm32"))]
    {
        crate::testing::state(|stores| {
            stores.entry(store.to_owned()).or_default().insert(key.to_owned(), value.to_vec());
        });
        Ok(())
    }
}

/// Takes a key away; also one that is not there.
///
/// # Errors
/// When the store is not granted, or it cannot be written.
pub fn delete(store: &str, key: &str) -> Result<(), StateError> {
    #[cfg(target_arch = "wasm32")]
    {
        Ok(crate::guest::host::state::delete(store, key)?)
    }
    #[cfg(not(target_arch = "wasm32"))]
    {
        crate::testing::state(|stores| stores.get_mut(store).map(|keys| keys.remove(key)));
        Ok(())
    }
}

/// All keys of a store, sorted.
///
/// # Errors
/// When the store is not granted, or cannot be read.
pub fn keys(store: &str) -> Result<Vec<String>, StateError> {
    #[cfg(target_arch = "wasm32")]
    {
        Ok(crate::guest::host::state::keys(store)?)
    }
    #[cfg(not(target_arch = "wasm32"))]
    {
        Ok(crate::testing::state(|stores| {
            stores.get(store).map(|keys| keys.keys().cloned().collect()).unwrap_or_default()
        }))
    }
}

#[cfg(target_arch = "wasm32")]
impl From<crate::guest::host::state::Error> for StateError {
    fn from(error: crate::guest::host::state::Error) -> StateError {
        StateError { code: error.code, message: error.message }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_set_is_there_until_it_is_deleted() {
        super::set("seen", "b", b"1").expect("it can be set");
        super::set("seen", "a", b"2").expect("it can be set");
        assert_eq!(super::keys("seen").expect("it can be read"), ["a", "b"]);
        assert_eq!(super::get("seen", "a").expect("it can be read").as_deref(), Some(&b"2"[..]));
        super::delete("seen", "a").expect("it can be deleted");
        assert_eq!(super::get("seen", "a").expect("it can be read"), None);
    }
}
