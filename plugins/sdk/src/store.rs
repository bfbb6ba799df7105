//! Stores: plugins that keep backups in some place.
//!
//! A store keeps whole objects under paths. It knows nothing of what is in them. Each call comes in an instance of its own, several
//! at a time; what is to outlast a call lies in the place itself.
//!
//! ```
//! use holdfast_plugin::http::{Request, Response};
//! use holdfast_plugin::store::{
//!     Body, Call, Feature, MemoryBody, Object, Page, Sink, Store, StoreError, put,
//! };
//! use holdfast_plugin::{Context, export_store, testing};
//! use schemars::JsonSchema;
//! use serde::Deserialize;
//!
//! /// What the operator writes as `config = { url = "https://objects.example.org" }`.
//! #[derive(Deserialize, JsonSchema)]
//! pub struct Config {
//!     /// Where the objects are.
//!     url: String,
//! }
//!
//! pub struct Objects {
//!     url: String,
//! }
//!
//! impl Store for Objects {
//!     const NAME: &'static str = "objects";
//!     const VERSION: &'static str = "0.1.0";
//!     const SUMMARY: &'static str = "Keeps backups at objects.example.org";
//!     const WANTS: &'static [&'static str] = &[r#"http = ["https://*"]"#];
//!     type Config = Config;
//!
//!     fn features(_config: &Config) -> Vec<Feature> {
//!         vec![Feature::Atomic, Feature::Exclusive]
//!     }
//!
//!     fn open(config: Config, _call: &Call<'_>) -> Result<Self, StoreError> {
//!         Ok(Self { url: config.url })
//!     }
//!
//!     fn put(&self, path: &str, body: &mut dyn Body) -> Result<u64, StoreError> {
//!         let request = Request::put(format!("{}/{path}", self.url)).header("if-none-match", "*");
//!         let mut sent = 0;
//!         let answer = holdfast_plugin::store::upload(&request, body, &mut sent)?;
//!         match answer.status() {
//!             201 => Ok(sent),
//!             412 => Err(StoreError::exists(path)),
//!             _ => Err(StoreError::answered(&answer)),
//!         }
//!     }
//!     // …
//! #    fn probe(&self) -> Result<(), StoreError> { Ok(()) }
//! #    fn get(&self, _: &str, _: u64, _: Option<u64>, _: &mut dyn Sink) -> Result<(), StoreError> { Ok(()) }
//! #    fn head(&self, _: &str) -> Result<Option<Object>, StoreError> { Ok(None) }
//! #    fn list(&self, _: &str, _: Option<&str>, _: u32) -> Result<Page, StoreError> { Ok(Page::default()) }
//! #    fn delete(&self, _: &str) -> Result<(), StoreError> { Ok(()) }
//! }
//!
//! export_store!(Objects);
//!
//! // The logic runs natively, with answers that a test makes up, so `cargo test` needs no agent.
//! testing::answer_http(|_| Ok(Response::new(201, vec![], "")));
//! let config = r#"{"url": "https://objects.example.org"}"#;
//! let stored = put::<Objects>(config, &Context::default(), "data/a", &mut MemoryBody::new("hello"));
//! assert_eq!(stored, Ok(5));
//! ```

mod double;
mod error;

use std::time::Duration;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::config;
use crate::context::Context;
use crate::http::stream::UploadError;
use crate::http::{Request, Response, stream};

pub use double::{MemoryBody, MemorySink};
pub use error::StoreError;

/// What is read of a body at once.
const PIECE_BYTES: u32 = 256 << 10;

/// A place that keeps objects.
///
/// A path has segments of ASCII letters, digits, `.`, `_` and `-`, joined by `/`; none begins with a dot; at most 512 bytes. So a
/// name with a leading dot is free for the plugin's own use.
pub trait Store: Sized {
    /// The plugin's name: lower case, digits and dashes. It must equal the name of the file.
    const NAME: &'static str;
    /// The plugin's own version; `env!("CARGO_PKG_VERSION")` is a good one.
    const VERSION: &'static str;
    /// One sentence on what it does.
    const SUMMARY: &'static str;
    /// Grants it would like, as the TOML of the `allow` table, one a line. Nothing is granted by this.
    const WANTS: &'static [&'static str] = &[];

    /// What the operator may write in the store's `config` table; [`crate::NoConfig`] when there is nothing to say.
    type Config: DeserializeOwned + JsonSchema;

    /// What the store promises with this config. Asks nobody. Without [`Feature::Atomic`] it is not used.
    fn features(config: &Self::Config) -> Vec<Feature>;

    /// Makes ready for one call: reads secrets, puts together addresses.
    fn open(config: Self::Config, call: &Call<'_>) -> Result<Self, StoreError>;

    /// Is it there, and can it be written to? What it writes for that it takes away again.
    fn probe(&self) -> Result<(), StoreError>;

    /// Stores a new object. One that is there is never replaced: [`StoreError::exists`]. After any error nothing is seen under the
    /// path. Answers the bytes that were stored: all that `body` gave, read to its end.
    fn put(&self, path: &str, body: &mut dyn Body) -> Result<u64, StoreError>;

    /// Hands an object to `into`: all of it from byte `start` on, or up to `end`, which does not belong to it. A range that begins
    /// at the object's end or behind is empty and no error; one that ends behind it ends with it. No object:
    /// [`StoreError::not_found`].
    fn get(&self, path: &str, start: u64, end: Option<u64>, into: &mut dyn Sink) -> Result<(), StoreError>;

    /// One object, or none.
    fn head(&self, path: &str) -> Result<Option<Object>, StoreError>;

    /// At most `limit` of the objects whose path begins with `prefix`, ascending; `after` is what the last page handed on. See
    /// [`Page::of`].
    fn list(&self, prefix: &str, after: Option<&str>, limit: u32) -> Result<Page, StoreError>;

    /// Removes an object. One that is not there is no error. Takes along what dead writers of that path left.
    fn delete(&self, path: &str) -> Result<(), StoreError>;

    /// Removes what writers left that died longer ago than `age`, never what a living one is writing. Called only when
    /// [`Feature::Sweep`] is promised.
    fn sweep(&self, age: Duration) -> Result<u64, StoreError> {
        let _ = age;
        Ok(0)
    }
}

/// Something that a store promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// An object is seen whole or not at all, and is durable once `put` has answered. Without it, a store is not used.
    Atomic,
    /// Of two `put` of the same path one is answered `exists`, however close. Without it, the agent looks first.
    Exclusive,
    /// `get` reads a range without the rest. Without it, the agent is handed the whole, and cuts.
    Ranges,
    /// `sweep` finds what dead writers left. Without it, it is not called.
    Sweep,
    /// Objects can be locked against change and removal.
    ObjectLock,
    /// The place keeps older versions of an object.
    Versioning,
}

impl Feature {
    /// Its name in the contract.
    pub fn name(self) -> &'static str {
        match self {
            Feature::Atomic => "atomic",
            Feature::Exclusive => "exclusive",
            Feature::Ranges => "ranges",
            Feature::Sweep => "sweep",
            Feature::ObjectLock => "object-lock",
            Feature::Versioning => "versioning",
        }
    }
}

/// What is known of the call that is made.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    context: &'a Context,
}

impl<'a> Call<'a> {
    /// A call with these facts.
    pub fn new(context: &'a Context) -> Call<'a> {
        Call { context }
    }

    /// All that is known.
    pub fn context(&self) -> &'a Context {
        self.context
    }

    /// The name that the operator gave the store.
    pub fn store(&self) -> Option<&'a str> {
        self.context.get("store")
    }

    /// Which try it is, from 1.
    pub fn attempt(&self) -> u32 {
        self.context.get("attempt").and_then(|number| number.parse().ok()).unwrap_or(1)
    }

    /// Names the upload that a `put` belongs to: 16 letters and digits, the same in each try at one object, and never used for another.
    pub fn upload(&self) -> Option<&'a str> {
        self.context.get("upload")
    }
}

/// The bytes to be stored.
pub trait Body {
    /// How many there are, where that is known before the last one came.
    fn size_bytes(&self) -> Option<u64>;

    /// The next bytes: at least one, and at most `max_bytes` or 1 MiB. None at all is the end: only then the object is whole.
    ///
    /// # Errors
    /// [`StoreError::broken`]: leave nothing of it, and answer with this error.
    fn read(&mut self, max_bytes: u32) -> Result<Vec<u8>, StoreError>;
}

/// Takes the bytes that were asked for.
pub trait Sink {
    /// Comes before the first bytes, once: the size of the whole object, also when only a range of it was asked for, and its tag,
    /// empty if there is none.
    ///
    /// # Errors
    /// [`StoreError::closed`]: nobody reads on. Stop, and answer with this error.
    fn begin(&mut self, size_bytes: u64, tag: &str) -> Result<(), StoreError>;

    /// Hands on the next bytes, in their order: at most 1 MiB.
    ///
    /// # Errors
    /// As [`Sink::begin`].
    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError>;
}

/// What a store knows of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Object {
    /// Its path.
    pub path: String,
    /// Its size.
    pub size_bytes: u64,
    /// When it was written, by the place's clock: milliseconds since 1970, UTC.
    pub modified: Option<i64>,
    /// Another one for another object under the same path, such as an `ETag`; empty if not known.
    pub tag: String,
    /// Until when it cannot be removed, RFC 3339. Only [`Store::head`] has to tell.
    pub locked_until: Option<String>,
}

/// A page of a listing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Ascending by path, compared as bytes, each once.
    pub objects: Vec<Object>,
    /// Handed to the next call as it is; none on the last page.
    pub next: Option<String>,
}

impl Page {
    /// A page of objects that come in ascending order: those behind `after`, which is the last path of the page before, and at most
    /// `limit`. Stops asking `objects` as soon as it is known whether there is more.
    ///
    /// # Errors
    /// Those of `objects`.
    pub fn of(
        objects: impl Iterator<Item = Result<Object, StoreError>>,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page, StoreError> {
        let mut page = Page::default();
        for object in objects {
            let object = object?;
            if after.is_some_and(|after| object.path.as_str() <= after) {
                continue;
            }
            if page.objects.len() >= limit as usize {
                page.next = page.objects.last().map(|last| last.path.clone());
                break;
            }
            page.objects.push(object);
        }
        Ok(page)
    }
}

/// Whether the agent would take this path; what is called otherwise is no object, and does not belong into a listing.
pub fn is_path(path: &str) -> bool {
    !path.is_empty()
        && path.len() <= 512
        && path.split('/').all(|segment| {
            !segment.is_empty()
                && !segment.starts_with('.')
                && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        })
}

/// Sends a request with what `body` gives, piece by piece. `sent` is how much that was.
///
/// # Errors
/// That of the body when it breaks off; then the request breaks off too. When there is no answer, [`StoreError::unavailable`] or
/// what else it is.
pub fn upload(request: &Request, body: &mut dyn Body, sent: &mut u64) -> Result<Response, StoreError> {
    let mut next = || {
        let piece = body.read(PIECE_BYTES)?;
        *sent += piece.len() as u64;
        Ok(piece)
    };
    stream::upload(request, &mut next).map_err(|error| match error {
        UploadError::Http(error) => error.into(),
        UploadError::Source(error) => error,
    })
}

/// Makes ready for a call, as the agent would: `config` is the JSON of the store's config table.
///
/// # Errors
/// When the config does not fit, or the store cannot be opened.
pub fn open<S: Store>(config: &str, context: &Context) -> Result<S, StoreError> {
    let config = config::parse::<S::Config>(config)?;
    S::open(config, &Call::new(context))
}

/// Stores an object, as the agent would.
///
/// # Errors
/// Those of the store.
pub fn put<S: Store>(
    config: &str,
    context: &Context,
    path: &str,
    body: &mut dyn Body,
) -> Result<u64, StoreError> {
    open::<S>(config, context)?.put(path, body)
}

/// What a store promises, as the agent would ask for it.
///
/// # Errors
/// When the config does not fit.
pub fn features<S: Store>(config: &str) -> Result<Vec<Feature>, StoreError> {
    Ok(S::features(&config::parse::<S::Config>(config)?))
}

/// Makes a [`Store`] the component's exports. Once in a crate, at its root; on targets other than `wasm32` it is nothing at all, so
/// that tests run natively.
#[macro_export]
macro_rules! export_store {
    ($store:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Component = $crate::guest::store::Component<$store>;
    $crate::guest::store::bindings::export!(Component with_types_in $crate::guest::store::bindings);
        };
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_goes_on_behind_the_last_one() {
        let objects = |paths: &'static [&str]| {
            paths.iter().map(|path| Ok(Object { path: (*path).to_owned(), ..Object::default() }))
        };
        let all = &["a", "a-b", "a/b", "b"];
        let paths = |page: &Page| page.objects.iter().map(|object| object.path.clone()).collect::<Vec<_>>();
        let first = Page::of(objects(all), None, 3).expect("no error");
        assert_eq!(
            (paths(&first), first.next.as_deref()),
            (vec!["a".into(), "a-b".into(), "a/b".into()], Some("a/b"))
        );
        let second = Page::of(objects(all), first.next.as_deref(), 3).expect("no error");
        assert_eq!((paths(&second), second.next), (vec!["b".to_owned()], None));
        assert_eq!(
            Page::of(objects(all), None, 4).expect("no error").next,
            None,
            "it is known that there is no more"
        );
    }

    #[test]
    fn what_is_no_path_is_no_object() {
        for good in ["a", "data/20261121T030000Z-00f1.db.zst.age", "A-1_b/c.d"] {
            assert!(is_path(good), "{good}");
        }
        for bad in ["", "/a", "a/", "a//b", "..", "a/../b", ".hidden", "a/.b", "a b", "ä", &"a".repeat(513)]
        {
            assert!(!is_path(bad), "{bad}");
        }
    }
}
