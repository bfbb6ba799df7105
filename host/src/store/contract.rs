//! The suite that every store passes: ours in tests, an author's by `holdfast plugin run`.

use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};

use super::{ByteStream, ObjectPath, Store, StoreError, body, list_all, read_small};

/// Objects beyond the page size of every store, so that listing has to turn a page.
const MANY: usize = 1100;
/// Calls at a time, where order does not matter.
const AT_ONCE: usize = 8;
/// Writers that race for one path.
const WRITERS: u8 = 4;
/// How long an upload is let run before it is dropped.
const MOMENT: Duration = Duration::from_millis(200);

/// One promise of [`Store`], and whether it was kept.
#[derive(Debug)]
pub struct Promise {
    /// The promise.
    pub name: &'static str,
    /// What was seen instead.
    pub result: Result<(), Breach>,
    /// How long it took to see.
    pub elapsed: Duration,
}

/// How a promise was broken.
#[derive(Debug, thiserror::Error)]
pub enum Breach {
    /// A call failed.
    #[error("{what}")]
    Call {
        /// Which.
        what: String,
        /// How.
        source: StoreError,
    },
    /// A call gave another answer than it must.
    #[error("{0}")]
    Answer(String),
}

impl Breach {
    /// What a person can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Call { source, .. } => source.hint(),
            Self::Answer(_) => None,
        }
    }
}

/// Checks a store against the contract of [`Store`], below `within`, where nothing may lie. What is written there is removed
/// again. A promise that is broken does not keep the others from being looked at, unless the store cannot be used at all.
pub async fn run(store: &dyn Store, within: &str) -> Vec<Promise> {
    let suite = Suite { store, within };
    let mut promises = Vec::new();
    macro_rules! look {
        ($($name:expr => $check:ident),* $(,)?) => {$(
            if promises.iter().all(|one: &Promise| one.name != USABLE || one.result.is_ok()) {
                let started = Instant::now();
                let result = suite.$check().await;
                promises.push(Promise { name: $name, result, elapsed: started.elapsed() });
            }
        )*};
    }
    look! {
        USABLE => usable,
        "an object comes back whole, and in ranges" => whole_and_in_ranges,
        "a range ends where the object does" => cut_ranges,
        "an object is never replaced" => never_replaced,
        "of writers at once one wins" => one_wins,
        "a broken stream leaves nothing" => broken_stream,
        "an upload that is given up leaves nothing" => given_up,
        "a sweep spares who is writing" => sweep_spares,
        "missing objects are told" => missing,
        "a removal can be repeated" => removal,
        "calls at once do not disturb each other" => at_once,
        "a listing is in the order of paths" => order,
        "a listing is complete, however many pages" => complete,
        "what was written is gone when it was removed" => clean,
    }
    promises
}

const USABLE: &str = "an empty store can be used";

/// Checks a store.
///
/// # Panics
/// When a promise is broken.
#[cfg(test)]
pub(crate) async fn check(store: &dyn Store) {
    let promises = run(store, "contract").await;
    let broken: Vec<&Promise> = promises.iter().filter(|promise| promise.result.is_err()).collect();
    assert!(broken.is_empty(), "{}: {broken:#?}", store.describe());
}

/// Puts what was seen into words.
macro_rules! expect {
    ($condition:expr, $($words:tt)+) => {
        if !$condition {
            return Err(Breach::Answer(format!($($words)+)));
        }
    };
}

fn called<T>(what: &str, result: Result<T, StoreError>) -> Result<T, Breach> {
    result.map_err(|source| Breach::Call { what: what.to_owned(), source })
}

struct Suite<'a> {
    store: &'a dyn Store,
    within: &'a str,
}

impl Suite<'_> {
    fn path(&self, text: &str) -> ObjectPath {
        // The suite's own names are good ones, and so is what it is told to stay within.
        ObjectPath::new(format!("{}/{text}", self.within)).expect("a good path")
    }

    async fn put(&self, path: &ObjectPath, bytes: &[u8]) -> Result<(), Breach> {
        let written = called("writing an object", self.store.put(path, body(bytes.to_vec())).await)?;
        expect!(written == bytes.len() as u64, "{} bytes were written and {written} told", bytes.len());
        Ok(())
    }

    async fn read(&self, path: &ObjectPath) -> Result<Vec<u8>, Breach> {
        called("reading an object", read_small(self.store, path, u64::MAX).await)
    }

    async fn read_range(&self, path: &ObjectPath, start: u64, end: u64) -> Result<Vec<u8>, Breach> {
        collected(called("reading a range", self.store.get(path, Some(start..end)).await)?).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, Breach> {
        let within = format!("{}/{prefix}", self.within);
        let listed = called("listing", list_all(self.store, &within).await)?;
        let own = |path: String| path[self.within.len() + 1..].to_owned();
        Ok(listed.into_iter().map(|object| own(object.path.to_string())).collect())
    }

    async fn is_there(&self, path: &ObjectPath) -> Result<bool, Breach> {
        Ok(called("looking for an object", self.store.head(path).await)?.is_some())
    }

    async fn usable(&self) -> Result<(), Breach> {
        called("asking whether it can be used", self.store.probe().await)?;
        let found = self.list("").await?;
        expect!(found.is_empty(), "`{}` lies there already", found[0]);
        Ok(())
    }

    async fn whole_and_in_ranges(&self) -> Result<(), Breach> {
        let chunks: Vec<Bytes> = (0..9_u8).map(|index| Bytes::from(vec![index; 700_000])).collect();
        let whole: Vec<u8> = chunks.concat();
        let path = self.path("whole/object.bin");
        let stream = futures::stream::iter(chunks.into_iter().map(Ok));
        let written = called("writing an object", self.store.put(&path, Box::pin(stream)).await)?;
        expect!(written == whole.len() as u64, "{} bytes were written and {written} told", whole.len());
        expect!(self.read(&path).await? == whole, "it came back as something else");
        let info = called("looking for an object", self.store.head(&path).await)?;
        let Some(info) = info else { return Err(Breach::Answer("it is not there".to_owned())) };
        expect!(info.path == path, "it is called `{}`", info.path);
        expect!(info.size_bytes == whole.len() as u64, "it is said to have {} bytes", info.size_bytes);
        for (start, end) in [(699_990, 1_400_010), (0, 1), (6_299_999, 6_300_000), (5, 5)] {
            let part = self.read_range(&path, start, end).await?;
            let expected = &whole[start as usize..end as usize];
            expect!(part == expected, "bytes {start} to {end} came back as {} others", part.len());
        }
        let empty = self.path("whole/empty");
        self.put(&empty, b"").await?;
        expect!(self.read(&empty).await?.is_empty(), "an empty object came back with bytes");
        Ok(())
    }

    async fn cut_ranges(&self) -> Result<(), Breach> {
        let path = self.path("cut/object");
        let whole: Vec<u8> = (0..=255).cycle().take(1000).collect();
        self.put(&path, &whole).await?;
        let far = 1 << 40;
        let ends = [(990, 1010), (999, far), (0, far), (0, u64::MAX), (1, u64::MAX)];
        for (start, end) in ends.into_iter().chain([(1000, 1001), (1000, far), (5000, 5001), (far, u64::MAX)])
        {
            let part = self.read_range(&path, start, end).await?;
            let expected = &whole[(start as usize).min(whole.len())..];
            let (came, size) = (part.len(), whole.len());
            expect!(part == expected, "of bytes {start} to {end} of {size} came {came}, or others");
        }
        let empty = self.path("cut/empty");
        self.put(&empty, b"").await?;
        for (start, end) in [(0, 1), (0, far), (7, 8)] {
            let part = self.read_range(&empty, start, end).await?;
            expect!(part.is_empty(), "of an empty object {} bytes came", part.len());
        }
        let none = self.path("cut/none");
        let missing = self.store.get(&none, Some(0..1)).await.map(drop);
        let told = matches!(missing, Err(StoreError::NotFound { .. }));
        expect!(told, "a range of what is not there was answered {missing:?}");
        Ok(())
    }

    async fn never_replaced(&self) -> Result<(), Breach> {
        let path = self.path("once/object");
        self.put(&path, b"first").await?;
        let again = self.store.put(&path, body(b"second".to_vec())).await;
        expect!(matches!(again, Err(StoreError::Exists { .. })), "another one was answered {again:?}");
        expect!(self.read(&path).await? == b"first", "the second one took its place");
        Ok(())
    }

    async fn one_wins(&self) -> Result<(), Breach> {
        if !self.store.features().exclusive {
            return Ok(());
        }
        let path = self.path("race/object");
        let race = (0..WRITERS).map(|writer| self.store.put(&path, body(vec![writer; 300_000])));
        let ended = futures::future::join_all(race).await;
        let winners: Vec<usize> = (0..ended.len()).filter(|writer| ended[*writer].is_ok()).collect();
        let [winner] = winners[..] else {
            return Err(Breach::Answer(format!("of {WRITERS} writers {} won: {ended:?}", winners.len())));
        };
        for lost in ended.iter().filter(|one| one.is_err()) {
            expect!(matches!(lost, Err(StoreError::Exists { .. })), "one that lost was answered {lost:?}");
        }
        let stored = self.read(&path).await?;
        expect!(stored == vec![winner as u8; 300_000], "what lies there is not the winner's");
        Ok(())
    }

    async fn broken_stream(&self) -> Result<(), Breach> {
        let path = self.path("broken/object");
        let torn = [Ok(Bytes::from(vec![7; 100_000])), Err(io::Error::other("torn"))];
        let ended = self.store.put(&path, Box::pin(futures::stream::iter(torn))).await;
        expect!(ended.is_err(), "it was told to be stored: {ended:?}");
        expect!(!self.is_there(&path).await?, "it is there");
        expect!(self.list("broken/").await?.is_empty(), "something is listed");
        self.put(&path, b"whole").await
    }

    async fn given_up(&self) -> Result<(), Breach> {
        let path = self.path("dropped/object");
        let beginning: ByteStream = Box::pin(
            futures::stream::iter((0..9).map(|_| Ok(Bytes::from(vec![7; 1 << 20]))))
                .chain(futures::stream::pending()),
        );
        let ended = tokio::time::timeout(MOMENT, self.store.put(&path, beginning)).await;
        expect!(ended.is_err(), "an upload without an end ended: {ended:?}");
        expect!(!self.is_there(&path).await?, "it is there");
        expect!(self.list("dropped/").await?.is_empty(), "something is listed");
        self.put(&path, b"whole").await
    }

    async fn sweep_spares(&self) -> Result<(), Breach> {
        let path = self.path("swept/object");
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        let pieces = (0..3).map(|_| Ok(Bytes::from(vec![7; 1 << 20])));
        let rest = futures::stream::once(async move {
            // Gone or sent: it goes on either way.
            let _ = receiver.await;
            Ok(Bytes::from_static(b"end"))
        });
        let stream: ByteStream = Box::pin(futures::stream::iter(pieces).chain(rest));
        let sweeping = async {
            tokio::time::sleep(MOMENT).await;
            let swept = self.store.sweep().await;
            drop(sender);
            swept
        };
        let (written, swept) = tokio::join!(self.store.put(&path, stream), sweeping);
        called("sweeping", swept)?;
        let written = called("writing an object while it is swept", written)?;
        expect!(written == (3 << 20) + 3, "{written} bytes are told");
        expect!(self.is_there(&path).await?, "it is not there");
        Ok(())
    }

    async fn missing(&self) -> Result<(), Breach> {
        let path = self.path("none/at-all");
        expect!(!self.is_there(&path).await?, "what was never written is there");
        let missing = read_small(self.store, &path, 10).await;
        expect!(matches!(missing, Err(StoreError::NotFound { .. })), "reading it was answered {missing:?}");
        expect!(self.list("none/").await?.is_empty(), "something is listed");
        Ok(())
    }

    async fn removal(&self) -> Result<(), Breach> {
        let path = self.path("gone/object");
        self.put(&path, b"x").await?;
        called("removing an object", self.store.delete(&path).await)?;
        called("removing it again", self.store.delete(&path).await)?;
        expect!(!self.is_there(&path).await?, "it is still there");
        expect!(self.list("gone/").await?.is_empty(), "it is still listed");
        self.put(&path, b"another").await
    }

    async fn at_once(&self) -> Result<(), Breach> {
        let calls = (0..16_u8).map(|number| async move {
            let path = self.path(&format!("side-by-side/{}/object-{number}", number % 3));
            let bytes = vec![number; 1000 * usize::from(number)];
            self.put(&path, &bytes).await?;
            expect!(self.read(&path).await? == bytes, "object {number} came back as something else");
            Ok(())
        });
        futures::stream::iter(calls).buffer_unordered(AT_ONCE).try_collect().await
    }

    async fn order(&self) -> Result<(), Breach> {
        for name in ["a/b", "a-b", "a.b", "a/a/a", "a/a-a", "b"] {
            self.put(&self.path(&format!("order/{name}")), b"").await?;
        }
        let found = self.list("order/").await?;
        let expected = ["a-b", "a.b", "a/a-a", "a/a/a", "a/b", "b"].map(|name| format!("order/{name}"));
        expect!(found == expected, "it is {found:?}");
        let part = self.list("order/a/a").await?;
        expect!(part == expected[2..4], "of `order/a/a` it is {part:?}");
        Ok(())
    }

    async fn complete(&self) -> Result<(), Breach> {
        let names = (0..MANY).map(|index| format!("many/{index:05}"));
        let expected: Vec<String> = names.clone().collect();
        let paths: Vec<ObjectPath> = names.map(|name| self.path(&name)).collect();
        let writes = paths.iter().map(|path| self.put(path, b""));
        futures::stream::iter(writes).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        self.put(&self.path("many-more/x"), b"").await?;
        let found = self.list("many/").await?;
        expect!(found == expected, "{} of {MANY} objects are listed, or in another order", found.len());
        let by_part = self.list("many/0001").await?;
        expect!(by_part.len() == 10, "of ten that begin so {} are listed", by_part.len());
        Ok(())
    }

    async fn clean(&self) -> Result<(), Breach> {
        let within = format!("{}/", self.within);
        let listed = called("listing", list_all(self.store, &within).await)?;
        let removals = listed
            .iter()
            .map(|object| async move { called("removing an object", self.store.delete(&object.path).await) });
        futures::stream::iter(removals).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        let left = self.list("").await?;
        expect!(left.is_empty(), "{} objects are still listed", left.len());
        Ok(())
    }
}

async fn collected(mut stream: ByteStream) -> Result<Vec<u8>, Breach> {
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| Breach::Answer(format!("the stream broke: {error}")))?;
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
