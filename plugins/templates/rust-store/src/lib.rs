//! {{summary}}.

use holdfast_plugin::export_store;
use holdfast_plugin::http::{Method, Request, stream};
use holdfast_plugin::store::{
    Body, Call, Feature, Object, Page, Sink, Store, StoreError, upload,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// The longest page of a listing, in bytes.
const PAGE_BYTES: usize = 4 << 20;
/// What a server says besides objects.
const WORDS_BYTES: usize = 64 << 10;

/// What the operator may write in the store's `config`. Doc comments become the descriptions in `holdfast plugin check`.
#[derive(Deserialize, JsonSchema)]
pub struct Config {
    /// Where the objects are.
    url: String,
}

/// The store.
pub struct Plugin {
    url: String,
}

/// A page as the server writes it.
#[derive(Deserialize)]
struct Listed {
    objects: Vec<Entry>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Entry {
    path: String,
    size_bytes: u64,
}

impl Plugin {
    fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.url)
    }
}

impl Store for Plugin {
    const NAME: &'static str = "{{name}}";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &'static str = "{{summary}}";
    const WANTS: &'static [&'static str] = &[r#"http = ["https://*", "http://*"]"#];
    type Config = Config;

    fn features(_config: &Config) -> Vec<Feature> {
        // What the server truly does: whatever is promised here is relied upon.
        vec![Feature::Atomic, Feature::Exclusive, Feature::Ranges]
    }

    fn open(config: Config, _call: &Call<'_>) -> Result<Self, StoreError> {
        Ok(Self { url: config.url.trim_end_matches('/').to_owned() })
    }

    fn probe(&self) -> Result<(), StoreError> {
        self.list("", None, 1).map(drop)
    }

    fn put(&self, path: &str, body: &mut dyn Body) -> Result<u64, StoreError> {
        let request = Request::put(self.url(path)).header("if-none-match", "*");
        let mut sent = 0;
        // Piece by piece: a backup may be larger than this plugin's memory.
        let answer = upload(&request, body, &mut sent)?;
        match answer.status() {
            200 | 201 | 204 => Ok(sent),
            412 => Err(StoreError::exists(path)),
            _ => Err(StoreError::answered(&answer)),
        }
    }

    fn get(
        &self,
        path: &str,
        start: u64,
        end: Option<u64>,
        into: &mut dyn Sink,
    ) -> Result<(), StoreError> {
        let Some(object) = self.head(path)? else { return Err(StoreError::not_found(path)) };
        into.begin(object.size_bytes, &object.tag)?;
        let end = end.unwrap_or(object.size_bytes).min(object.size_bytes);
        if start >= end {
            return Ok(());
        }
        let range = format!("bytes={start}-{}", end - 1);
        let mut answer = stream::download(&Request::get(self.url(path)).header("range", range))?;
        if answer.status() != 206 {
            return Err(StoreError::answered(&answer.whole(WORDS_BYTES)?));
        }
        let mut left = end - start;
        while left > 0 {
            let piece = answer.read()?;
            if piece.is_empty() {
                // The agent takes it up again where it broke off.
                return Err(StoreError::unavailable("the answer ended early"));
            }
            left = left.saturating_sub(piece.len() as u64);
            into.write(&piece)?;
        }
        Ok(())
    }

    fn head(&self, path: &str) -> Result<Option<Object>, StoreError> {
        let answer = Request::new(Method::new("HEAD"), self.url(path)).send()?;
        match answer.status() {
            200 => {
                let size = answer.header("content-length").and_then(|length| length.parse().ok());
                let size_bytes =
                    size.ok_or_else(|| StoreError::new("server", "it does not tell a size"))?;
                let tag = answer.header("etag").unwrap_or_default().to_owned();
                Ok(Some(Object { path: path.to_owned(), size_bytes, tag, ..Object::default() }))
            }
            404 => Ok(None),
            _ => Err(StoreError::answered(&answer)),
        }
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: u32) -> Result<Page, StoreError> {
        // Paths, and so prefixes and what was handed on, need no encoding.
        let after = after.unwrap_or_default();
        let url = self.url(&format!("?prefix={prefix}&after={after}&limit={limit}"));
        let answer = Request::get(url).at_most(PAGE_BYTES).send()?;
        if !answer.success() {
            return Err(StoreError::answered(&answer));
        }
        let listed: Listed = answer.json()?;
        let objects = listed.objects.into_iter().map(|entry| Object {
            path: entry.path,
            size_bytes: entry.size_bytes,
            ..Object::default()
        });
        Ok(Page { objects: objects.collect(), next: listed.next })
    }

    fn delete(&self, path: &str) -> Result<(), StoreError> {
        let answer = Request::delete(self.url(path)).send()?;
        match answer.status() {
            200..=299 | 404 => Ok(()),
            _ => Err(StoreError::answered(&answer)),
        }
    }
}

export_store!(Plugin);

#[cfg(test)]
mod tests {
    use holdfast_plugin::http::Response;
    use holdfast_plugin::store::{MemoryBody, MemorySink, Store, open, put};
    use holdfast_plugin::{Context, testing};

    use super::Plugin;

    const CONFIG: &str = r#"{"url": "https://objects.example.org/etcd/"}"#;

    #[test]
    fn an_object_that_is_there_is_not_replaced() {
        testing::answer_http(|request| {
            assert_eq!(request.header_value("if-none-match"), Some("*"));
            Ok(Response::new(412, vec![], ""))
        });
        let body = &mut MemoryBody::new("hello");
        let stored = put::<Plugin>(CONFIG, &Context::default(), "data/a", body);
        assert_eq!(stored.unwrap_err().code, "exists");
    }

    #[test]
    fn a_range_is_handed_on() {
        testing::answer_http(|request| {
            let length = vec![("content-length".to_owned(), "10".to_owned())];
            Ok(match request.method().name() {
                "HEAD" => Response::new(200, length, ""),
                _ => Response::new(206, vec![], "cde"),
            })
        });
        let store = open::<Plugin>(CONFIG, &Context::default()).unwrap();
        let mut sink = MemorySink::new();
        store.get("data/a", 2, Some(5), &mut sink).unwrap();
        assert_eq!((sink.begun(), sink.bytes()), (Some((10, "")), &b"cde"[..]));
    }
}
