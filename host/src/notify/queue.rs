//! A notifier's queue on disk: one small file an event, and one for what it was told.
//!
//! ```text
//! notify/NAME/000000000042-5f0c….json   an event that waits, in the order in which they came
//! notify/NAME/memory.json               problems that it was told of, deliveries of the last hour, what became of the rest
//! notify/NAME/lock, delivery.lock       held while the queue is changed, and while it is delivered
//! ```
//!
//! The agent and commands share it. What is written first is the event, and what is removed last is its file, so a crash tells
//! something twice, never not at all; the event's id tells the far end that it is the same.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::admission::{self, Decision};
use super::{Event, Kind, Notifier, Status};
use crate::atomic;

/// Where queues lie in the scratch directory.
const DIRECTORY: &str = "notify";
const FORMAT: &str = "holdfast-event/1";
const MEMORY: &str = "memory.json";
/// Events that wait for one notifier. Of more, the least of them is dropped.
pub const MOST_WAITING: usize = 256;
/// The longest time over which deliveries are counted.
pub const RATE_WINDOW: Duration = Duration::from_hours(1);

/// An event that waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    pub(super) format: String,
    /// The event.
    pub event: Event,
    /// Since when it waits.
    pub queued: Timestamp,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried again.
    pub due: Timestamp,
    /// Why it was not delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

impl Item {
    pub(super) fn new(event: Event, now: Timestamp) -> Item {
        Item { format: FORMAT.to_owned(), event, queued: now, attempts: 0, due: now, last_error: None }
    }
}

/// An item and its file.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// What waits.
    pub item: Item,
    file: PathBuf,
}

impl Waiting {
    #[cfg(test)]
    pub(super) fn of(item: Item) -> Waiting {
        Waiting { item, file: PathBuf::new() }
    }
}

/// What a notifier was told, and what became of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// Problems that it knows of, by name.
    pub problems: BTreeMap<String, Told>,
    /// When events were delivered in the last hour.
    pub recent: VecDeque<Timestamp>,
    /// Events that were delivered.
    pub delivered: u64,
    /// Events that could not be, and are not tried any more.
    pub given_up: u64,
    /// Events for which there was no room.
    pub dropped: u64,
    /// Those of them that the next event tells of.
    pub dropped_untold: u64,
    /// When the last one was delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_delivered: Option<Timestamp>,
    /// The last failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Failure>,
    pub(super) next: u64,
}

/// A problem that a notifier was told of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// As what.
    pub kind: Kind,
    /// Since when it is there.
    pub since: Timestamp,
    /// When it was told last.
    pub at: Timestamp,
    /// How often it came again and was not told.
    pub held: u64,
}

/// Something that was not delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// When.
    pub time: Timestamp,
    /// What.
    pub kind: Kind,
    /// Why.
    pub error: String,
}

/// The queue of one notifier.
#[derive(Debug, Clone)]
pub struct Queue {
    folder: PathBuf,
}

/// Held while events are delivered: only one process at a time does.
#[derive(Debug)]
pub struct Turn {
    _lock: File,
}

impl Queue {
    /// The queue of the notifier of this name. Nothing is made yet.
    pub fn of(scratch: &Path, name: &str) -> Queue {
        Queue { folder: scratch.join(DIRECTORY).join(name) }
    }

    /// Queues those of the events that the notifier is to be told. Says how many.
    pub fn admit(&self, notifier: &Notifier, events: &[Event], now: Timestamp) -> io::Result<usize> {
        // Without anything to tell, or to end, nothing is written.
        let mut admitted = 0;
        let lock = self.lock()?;
        let mut memory = self.memory()?;
        let before = memory.clone();
        for event in events {
            let Decision::Tell(event) = admission::decide(notifier, &mut memory, event, now) else {
                continue;
            };
            let file = self.folder.join(format!("{:012}-{}.json", memory.next, event.id));
            memory.next += 1;
            write(&file, &Item::new(event, now))?;
            admitted += 1;
        }
        if memory != before {
            self.make_room(&mut memory)?;
            write(&self.folder.join(MEMORY), &memory)?;
        }
        drop(lock);
        Ok(admitted)
    }

    /// What waits, in the order in which it came.
    pub fn waiting(&self) -> io::Result<Vec<Waiting>> {
        let mut files: Vec<PathBuf> = match fs::read_dir(&self.folder) {
            Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        files.retain(|file| is_item(file));
        files.sort();
        let mut waiting = Vec::with_capacity(files.len());
        for file in files {
            match read::<Item>(&file) {
                Ok(Some(item)) if item.format == FORMAT => waiting.push(Waiting { item, file }),
                // Delivered meanwhile.
                Ok(None) => {}
                Ok(Some(_)) | Err(_) => set_aside(&file),
            }
        }
        Ok(waiting)
    }

    /// What the notifier was told.
    pub fn memory(&self) -> io::Result<Memory> {
        let file = self.folder.join(MEMORY);
        match read(&file) {
            Ok(memory) => Ok(memory.unwrap_or_default()),
            // Begun anew: something may be told twice.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                set_aside(&file);
                // A number that was used is never used again while its file is there.
                let next = self.waiting()?.len() as u64 + unix_seconds(Timestamp::now());
                Ok(Memory { next, ..Memory::default() })
            }
            Err(error) => Err(error),
        }
    }

    /// Takes the right to deliver. None: another process has it.
    pub fn turn(&self) -> io::Result<Option<Turn>> {
        let file = self.open("delivery.lock")?;
        match atomic::hold(&file) {
            Ok(()) => Ok(Some(Turn { _lock: file })),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// It was delivered.
    pub fn delivered(&self, waiting: &Waiting, now: Timestamp) -> io::Result<()> {
        self.remember(|memory| {
            memory.delivered += 1;
            memory.last_delivered = Some(now);
            memory.recent.push_back(now);
            forget_old(&mut memory.recent, now);
        })?;
        remove(&waiting.file)
    }

    /// It was not, and is tried again.
    pub fn put_off(&self, waiting: &Waiting, due: Timestamp, error: &str, now: Timestamp) -> io::Result<()> {
        let mut item = waiting.item.clone();
        item.attempts += 1;
        item.due = due;
        item.last_error = Some(error.to_owned());
        write(&waiting.file, &item)?;
        self.remember(|memory| memory.last_failure = Some(failure(&waiting.item, error, now)))
    }

    /// It was not, and never will be.
    pub fn give_up(&self, waiting: &Waiting, error: &str, now: Timestamp) -> io::Result<()> {
        self.remember(|memory| {
            memory.given_up += 1;
            memory.last_failure = Some(failure(&waiting.item, error, now));
        })?;
        remove(&waiting.file)
    }

    fn remember(&self, change: impl FnOnce(&mut Memory)) -> io::Result<()> {
        let _lock = self.lock()?;
        let mut memory = self.memory()?;
        change(&mut memory);
        write(&self.folder.join(MEMORY), &memory)
    }

    /// Drops what matters least when there is too much: the least severe, and of these the oldest.
    fn make_room(&self, memory: &mut Memory) -> io::Result<()> {
        let mut waiting = self.waiting()?;
        while waiting.len() > MOST_WAITING {
            let least = waiting
                .iter()
                .enumerate()
                .min_by_key(|(index, one)| (weight(&one.item.event), *index))
                .map(|(index, _)| index);
            let Some(index) = least else { return Ok(()) };
            remove(&waiting.remove(index).file)?;
            memory.dropped += 1;
            memory.dropped_untold += 1;
        }
        Ok(())
    }

    fn lock(&self) -> io::Result<File> {
        let file = self.open("lock")?;
        // Held for a few small writes.
        rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    }

    fn open(&self, name: &str) -> io::Result<File> {
        atomic::create_directory(&self.folder)?;
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(atomic::FILE_MODE)
            .open(self.folder.join(name))
    }
}

/// Deliveries older than the window count no more.
fn forget_old(recent: &mut VecDeque<Timestamp>, now: Timestamp) {
    while recent.front().is_some_and(|first| older(*first, now, RATE_WINDOW)) {
        recent.pop_front();
    }
}

/// Whether so long has passed since then. A clock that was set back makes what is ahead of it old.
pub(super) fn older(then: Timestamp, now: Timestamp, age: Duration) -> bool {
    match Duration::try_from(now.duration_since(then)) {
        Ok(passed) => passed >= age,
        Err(_) => true,
    }
}

/// The end of a problem weighs as much as the problem: who was told of one waits for the other.
fn weight(event: &Event) -> u8 {
    match (&event.status, event.severity()) {
        (Status::Once, etcd_snapshot::Severity::Info) => 0,
        (Status::Once, _) => 1,
        (Status::Firing { .. }, _) => 2,
        (Status::Resolved { .. }, _) => 3,
    }
}

fn failure(item: &Item, error: &str, now: Timestamp) -> Failure {
    Failure { time: now, kind: item.event.kind, error: error.to_owned() }
}

fn is_item(file: &Path) -> bool {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_json = file.extension().is_some_and(|extension| extension == "json");
    name.as_bytes().first().is_some_and(u8::is_ascii_digit) && is_json
}

fn unix_seconds(time: Timestamp) -> u64 {
    u64::try_from(time.as_second()).unwrap_or_default()
}

/// A file that cannot be read stays for whoever wants to look into it, and is in nobody's way.
fn set_aside(file: &Path) {
    let mut aside = file.as_os_str().to_owned();
    aside.push(".unreadable");
    tracing::warn!(file = %file.display(), "cannot be read, and is set aside: a notification may be missing");
    if let Err(error) = fs::rename(file, aside) {
        tracing::warn!(file = %file.display(), %error, "cannot be renamed");
    }
}

fn read<T: for<'de> Deserialize<'de>>(file: &Path) -> io::Result<Option<T>> {
    match fs::read(file) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write(file: &Path, value: &impl Serialize) -> io::Result<()> {
    atomic::write(file, &serde_json::to_vec(value).map_err(io::Error::other)?)
}

fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::admission::tests::notifier;
    use super::*;

    fn time(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn event(kind: Kind) -> Event {
        let event = Event::new(kind, "prod", time(0), kind.name());
        if kind.resolved().is_some() { event.firing(kind.area()) } else { event }
    }

    #[test]
    fn what_is_queued_waits_in_order_and_survives() {
        let scratch = tempfile::tempdir().unwrap();
        let queue = Queue::of(scratch.path(), "oncall");
        let notifier = notifier(&["*"]);
        let events = [event(Kind::BackupFailed), event(Kind::AgentStarted), event(Kind::PruneFailed)];
        assert_eq!(queue.admit(&notifier, &events, time(0)).unwrap(), 3);
        // Another process sees the same.
        let waiting = Queue::of(scratch.path(), "oncall").waiting().unwrap();
        let kinds: Vec<Kind> = waiting.iter().map(|one| one.item.event.kind).collect();
        assert_eq!(kinds, [Kind::BackupFailed, Kind::AgentStarted, Kind::PruneFailed]);
        for file in fs::read_dir(scratch.path().join("notify/oncall")).unwrap() {
            let mode = file.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        queue.delivered(&waiting[0], time(1)).unwrap();
        queue.put_off(&waiting[1], time(60), "nobody is there", time(1)).unwrap();
        queue.give_up(&waiting[2], "it is refused", time(2)).unwrap();
        let left = queue.waiting().unwrap();
        assert_eq!(left.len(), 1);
        assert_eq!((left[0].item.attempts, left[0].item.due), (1, time(60)));
        let memory = queue.memory().unwrap();
        assert_eq!((memory.delivered, memory.given_up), (1, 1));
        assert_eq!(memory.last_failure.unwrap().error, "it is refused");
    }

    #[test]
    fn of_too_much_the_least_is_dropped_and_told() {
        let scratch = tempfile::tempdir().unwrap();
        let queue = Queue::of(scratch.path(), "oncall");
        let notifier = notifier(&["*"]);
        queue.admit(&notifier, &[event(Kind::BackupFailed)], time(0)).unwrap();
        let many: Vec<Event> = (0..MOST_WAITING + 9).map(|_| event(Kind::AgentReloaded)).collect();
        queue.admit(&notifier, &many, time(1)).unwrap();
        let waiting = queue.waiting().unwrap();
        assert_eq!(waiting.len(), MOST_WAITING);
        assert_eq!(waiting[0].item.event.kind, Kind::BackupFailed, "what matters stays");
        assert_eq!(queue.memory().unwrap().dropped, 10);
        queue.admit(&notifier, &[event(Kind::PruneFailed)], time(2)).unwrap();
        let last = queue.waiting().unwrap().pop().unwrap();
        assert_eq!(last.item.event.attributes["dropped"], "10");
    }

    #[test]
    fn files_that_cannot_be_read_are_in_nobodys_way() {
        let scratch = tempfile::tempdir().unwrap();
        let queue = Queue::of(scratch.path(), "oncall");
        let notifier = notifier(&["*"]);
        queue.admit(&notifier, &[event(Kind::BackupFailed)], time(0)).unwrap();
        let folder = scratch.path().join("notify/oncall");
        fs::write(folder.join("000000000000-a.json"), "{").unwrap();
        fs::write(folder.join(MEMORY), "nonsense").unwrap();
        assert_eq!(queue.waiting().unwrap().len(), 1);
        assert_eq!(queue.admit(&notifier, &[event(Kind::AgentStarted)], time(1)).unwrap(), 1);
        assert_eq!(queue.waiting().unwrap().len(), 2);
        assert!(folder.join("000000000000-a.json.unreadable").exists());
    }

    #[test]
    fn one_process_delivers_at_a_time() {
        let scratch = tempfile::tempdir().unwrap();
        let queue = Queue::of(scratch.path(), "oncall");
        let turn = queue.turn().unwrap();
        assert!(turn.is_some());
        assert!(queue.turn().unwrap().is_none());
        drop(turn);
        assert!(queue.turn().unwrap().is_some());
    }
}
