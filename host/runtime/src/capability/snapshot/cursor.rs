//! A guest's place in the rows of a query, and the reading ahead of it.
//!
//! A guest that pulls one full batch after the other has the next ones gathered on a thread of their own while it works on
//! those it has. That is one thread for a call, however many cursors it opens, and some batches.

use std::sync::Arc;
use std::time::Duration;

use etcd_snapshot::SnapshotFile;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::live;
use super::scan::{Filling, Scan, Size};
use crate::bindings::holdfast::snapshot::reader::Error;
use crate::call::thread_cpu_time;

/// Batches that lie ready.
const READY: usize = 2;

/// A place in the rows of a query.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Cursor {
    file: Arc<SnapshotFile>,
    /// Where the next batch begins.
    scan: Scan,
    ahead: Option<Ahead>,
    /// The size of the batch before, if rows were left behind it.
    before: Option<Size>,
}

/// Batches that are gathered before they are asked for.
struct Ahead {
    size: Size,
    ready: Receiver<Ready>,
    _turn: OwnedSemaphorePermit,
}

struct Ready {
    filling: Filling,
    /// Where the batch after it begins.
    then: Scan,
    cpu: Duration,
}

/// A batch, and the processor time that another thread took for it.
pub(super) struct Next {
    pub(super) filling: Filling,
    pub(super) cpu: Duration,
}

impl Cursor {
    pub(super) fn new(file: Arc<SnapshotFile>, scan: Scan) -> Cursor {
        Cursor { file, scan, ahead: None, before: None }
    }

    /// The next batch. Who has a permit of `turns` may read ahead.
    ///
    /// # Errors
    /// The file's index cannot be read.
    pub(super) async fn next(&mut self, size: Size, turns: &Arc<Semaphore>) -> Result<Next, Error> {
        if let Some(ahead) = &mut self.ahead
            && ahead.size == size
            && let Some(Ready { filling, then, cpu }) = ahead.ready.recv().await
        {
            self.scan = then;
            return Ok(Next { filling, cpu });
        }
        // Another size is asked for, or these were the last: from here on as if nobody had read ahead.
        self.ahead = None;
        let filling = self.fill(size).await?;
        if self.before == Some(size) && !filling.is_last {
            self.ahead = self.read_ahead(size, turns);
        }
        self.before = (!filling.is_last).then_some(size);
        Ok(Next { filling, cpu: Duration::ZERO })
    }

    async fn fill(&mut self, size: Size) -> Result<Filling, Error> {
        let file = Arc::clone(&self.file);
        let live = live(&file)?;
        let mut filling = Filling::new(size);
        while !self.scan.fill(&live, &mut filling) {
            tokio::task::yield_now().await;
        }
        Ok(filling)
    }

    fn read_ahead(&self, size: Size, turns: &Arc<Semaphore>) -> Option<Ahead> {
        let turn = Arc::clone(turns).try_acquire_owned().ok()?;
        let (sender, ready) = mpsc::channel(READY);
        let (file, scan) = (Arc::clone(&self.file), self.scan.clone());
        tokio::task::spawn_blocking(move || gather(&file, scan, size, &sender));
        Some(Ahead { size, ready, _turn: turn })
    }
}

/// Gathers batches until there are no more rows, or nobody wants them.
fn gather(file: &SnapshotFile, mut scan: Scan, size: Size, ready: &Sender<Ready>) {
    // The cursor meets the same error, and tells it.
    let Ok(live) = live(file) else { return };
    loop {
        let before = thread_cpu_time();
        let mut filling = Filling::new(size);
        while !scan.fill(&live, &mut filling) {
            if ready.is_closed() {
                return;
            }
        }
        let is_last = filling.is_last;
        let cpu = thread_cpu_time().saturating_sub(before);
        if ready.blocking_send(Ready { filling, then: scan.clone(), cpu }).is_err() || is_last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::snapshot::query::Query;

    /// A snapshot of a real Kubernetes.
    fn file() -> Arc<SnapshotFile> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/kubernetes-t1.db.zst");
        let packed = std::fs::File::open(path).expect("the test data is there");
        let bytes = zstd::decode_all(packed).expect("the test data unpacks");
        Arc::new(SnapshotFile::from_bytes(bytes).expect("a snapshot"))
    }

    fn cursor(file: &Arc<SnapshotFile>, descending: bool) -> Cursor {
        let live = file.live().expect("an index");
        let query = Query { descending, ..Query::default() };
        Cursor::new(Arc::clone(file), Scan::new(query, &live))
    }

    /// All keys in the order in which they come, asked for in batches of these sizes, in turn.
    async fn keys(mut cursor: Cursor, sizes: &[Size], turns: &Arc<Semaphore>) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        for size in sizes.iter().cycle() {
            let filling =
                cursor.next(*size, turns).await.map_err(|error| error.message).expect("a batch").filling;
            let mut start = 0;
            for end in filling.batch.key_ends {
                keys.push(filling.batch.keys[start..end as usize].to_vec());
                start = end as usize;
            }
            if filling.rows == 0 {
                break;
            }
        }
        keys
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn whatever_was_read_ahead_no_row_is_lost_or_doubled() {
        let file = file();
        let live = file.live().expect("an index");
        let expected: Vec<Vec<u8>> = live.iter().map(|entry| entry.key.to_vec()).collect();
        assert!(expected.len() > 500, "only {} keys", expected.len());
        let size = Size::asked;
        let one = [size(10, 1 << 20)];
        let by_bytes = [size(u32::MAX, 3000)];
        let changing = [vec![size(7, 1 << 20); 5], vec![size(3, 100); 4], vec![size(1, 0); 3]].concat();
        for sizes in [&one[..], &by_bytes, &changing] {
            for (turns, descending) in [(0, false), (1, false), (1, true)] {
                let mut found =
                    keys(cursor(&file, descending), sizes, &Arc::new(Semaphore::new(turns))).await;
                if descending {
                    found.reverse();
                }
                assert!(found == expected, "{} of {} keys, {turns} turns", found.len(), expected.len());
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_cursor_at_a_time_reads_ahead() {
        let (file, turns, size) = (file(), Arc::new(Semaphore::new(1)), Size::asked(10, 1 << 20));
        let mut first = cursor(&file, false);
        let mut second = cursor(&file, false);
        for _ in 0..3 {
            assert!(first.next(size, &turns).await.is_ok() && second.next(size, &turns).await.is_ok());
        }
        assert!(first.ahead.is_some() && second.ahead.is_none());
        drop(first);
        assert!(second.next(size, &turns).await.is_ok() && second.ahead.is_some());
        // To its end, and the turn is free again.
        while second.next(size, &turns).await.is_ok_and(|next| next.filling.rows > 0) {}
        assert!(second.ahead.is_none());
        assert_eq!(turns.available_permits(), 1);
    }
}
