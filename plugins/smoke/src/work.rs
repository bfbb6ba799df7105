//! What an etcd is for, done once: each answer is compared with what etcd promises.

use holdfast_plugin::{
    Answer, DatabaseView, Error, Finding, Findings, KeyNumber, KeyQuery, LeaseHandle, Operation, Operator,
    Transaction, WatchEventKind, WatchHandle,
};

use crate::Config;
use crate::refused;

/// How long the lease lives that is revoked long before.
const LEASE_SECONDS: i64 = 600;
/// Events fetched at once.
const EVENTS: u32 = 64;

/// Works with the database; the answer is how many operations were done.
pub(crate) fn work(
    database: &DatabaseView<'_>,
    config: &Config,
    findings: &mut Findings,
) -> Result<u64, Error> {
    let mut bench = Bench { database, findings, prefix: String::new(), done: 0 };
    let granted = database.grant(LEASE_SECONDS);
    let Some(lease) = bench.answered(granted, "lease-refused", "no lease is granted")? else {
        return Ok(bench.done);
    };
    // Its id is in no one else's hands, so neither is this prefix.
    bench.prefix = format!("{}{:x}/", config.prefix, lease.id());
    let watching = database.watch(&KeyQuery::prefix(&bench.prefix));
    let watch = bench.answered(watching, "watch-refused", "a watch is refused")?;
    let written = bench.write()?;
    if written {
        bench.swap()?;
        bench.lease(&lease)?;
        bench.delete()?;
        if let Some(watch) = watch {
            bench.watched(watch, config)?;
        }
    }
    bench.tidy()?;
    Ok(bench.done)
}

struct Bench<'a, 'd> {
    database: &'a DatabaseView<'d>,
    findings: &'a mut Findings,
    prefix: String,
    done: u64,
}

impl Bench<'_, '_> {
    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn answered<T>(
        &mut self,
        answer: Result<T, holdfast_plugin::DatabaseError>,
        code: &str,
        what: &str,
    ) -> Result<Option<T>, Error> {
        self.done += 1;
        refused(answer, code, what, self.findings)
    }

    fn expect(&mut self, holds: bool, code: &str, message: &str) {
        if !holds {
            self.findings.push(Finding::error(code, message));
        }
    }

    /// The key is there with this value, or is not there.
    fn expect_value(
        &mut self,
        name: &str,
        value: Option<&str>,
        code: &str,
        message: &str,
    ) -> Result<(), Error> {
        let read = self.database.get(self.key(name));
        if let Some(found) = self.answered(read, "read-refused", "a key cannot be read")? {
            let found = found.map(|row| row.value);
            self.expect(found.as_deref() == value.map(str::as_bytes), code, message);
        }
        Ok(())
    }

    /// Writes a key twice, and reads it as it is and as it was. False: nothing can be written.
    fn write(&mut self) -> Result<bool, Error> {
        let key = self.key("a");
        let first = self.database.put(&key, "one");
        let Some(first) = self.answered(first, "write-refused", "a key cannot be written")? else {
            return Ok(false);
        };
        let second = self.database.put(&key, "two");
        let Some(second) = self.answered(second, "write-refused", "a key cannot be written")? else {
            return Ok(false);
        };
        self.expect(second > first, "revision-stands", "a write does not raise the revision");
        let read = self.database.get(&key);
        if let Some(row) = self.answered(read, "read-refused", "a key cannot be read")? {
            let row = row.unwrap_or_default();
            self.expect(row.value == b"two", "read-differs", "a key is not read as it was written");
            let told = (row.create_revision, row.mod_revision, row.version);
            self.expect(
                told == (first, second, 2),
                "read-differs",
                "a key's revisions are not those of its writes",
            );
        }
        let rows = self.database.rows(&KeyQuery::key(&key).at(first));
        if let Some(mut rows) = self.answered(rows, "history-refused", "an older revision cannot be read")? {
            let was = rows.next_row()?.map(|row| row.value == b"one");
            self.expect(was == Some(true), "history-differs", "a key is not read as it was before");
        }
        Ok(true)
    }

    /// Swaps a value by a transaction, which works once.
    fn swap(&mut self) -> Result<(), Error> {
        let swap = Transaction::new()
            .when_value(self.key("a"), Operator::Equal, "two")
            .when(self.key("b"), KeyNumber::Version, Operator::Equal, 0)
            .then(Operation::put(self.key("a"), "three"))
            .then(Operation::put(self.key("b"), "three"))
            .otherwise(Operation::get(self.key("a")));
        let first = self.database.commit(&swap);
        if let Some(first) = self.answered(first, "transaction-refused", "a transaction is refused")? {
            self.expect(
                first.succeeded,
                "transaction-differs",
                "a transaction takes what holds for what does not",
            );
        }
        let second = self.database.commit(&swap);
        if let Some(second) = self.answered(second, "transaction-refused", "a transaction is refused")? {
            let read = matches!(&second.answers[..], [Answer::Found(Some(row))] if row.value == b"three");
            self.expect(
                !second.succeeded && read,
                "transaction-differs",
                "a transaction takes what does not hold for what does",
            );
        }
        self.expect_value("b", Some("three"), "transaction-differs", "a transaction did not do all of it")
    }

    /// A key goes with its lease.
    fn lease(&mut self, lease: &LeaseHandle<'_>) -> Result<(), Error> {
        let put = self.database.put_leased(self.key("c"), "leased", lease);
        self.answered(put, "lease-refused", "a key cannot be written with a lease")?;
        let stands = lease.time_to_live();
        if let Some(stands) = self.answered(stands, "lease-refused", "a lease cannot be looked at")? {
            let right = stands.granted_seconds == LEASE_SECONDS
                && (1..=LEASE_SECONDS).contains(&stands.remaining_seconds)
                && stands.keys == [self.key("c").into_bytes()];
            self.expect(right, "lease-differs", "a lease is not as it was granted");
        }
        let kept = lease.keep_alive();
        if let Some(seconds) = self.answered(kept, "lease-refused", "a lease cannot be renewed")? {
            self.expect(
                seconds == LEASE_SECONDS,
                "lease-differs",
                "a lease is not renewed for its whole time",
            );
        }
        let revoked = lease.revoke();
        self.answered(revoked, "lease-refused", "a lease cannot be revoked")?;
        self.expect_value("c", None, "lease-differs", "a key did not go with its lease")
    }

    fn delete(&mut self) -> Result<(), Error> {
        let deleted = self.database.delete(self.key("b"));
        if let Some(was_there) = self.answered(deleted, "delete-refused", "a key cannot be deleted")? {
            self.expect(was_there, "delete-differs", "a key that was there is not found to be deleted");
        }
        self.expect_value("b", None, "delete-differs", "a deleted key is still there")
    }

    /// The watch tells of all of it, in its order.
    fn watched(&mut self, mut watch: WatchHandle<'_>, config: &Config) -> Result<(), Error> {
        use WatchEventKind::{Delete, Put};
        let expected = [
            (Put, "a", "one"),
            (Put, "a", "two"),
            (Put, "a", "three"),
            (Put, "b", "three"),
            (Put, "c", "leased"),
            (Delete, "c", ""),
            (Delete, "b", ""),
        ];
        let expected =
            expected.map(|(kind, key, value)| (kind, self.key(key).into_bytes(), value.as_bytes().to_vec()));
        let mut told = Vec::new();
        while told.len() < expected.len() {
            let events = watch.next(EVENTS, config.watch_seconds.saturating_mul(1000));
            let Some(events) = self.answered(events, "watch-refused", "a watch breaks off")? else {
                return Ok(());
            };
            if events.is_empty() {
                let message = format!(
                    "a watch told of {} of {} changes within {} seconds",
                    told.len(),
                    expected.len(),
                    config.watch_seconds
                );
                self.findings.push(Finding::error("watch-missed", message));
                return Ok(());
            }
            told.extend(events.into_iter().map(|event| (event.kind, event.row.key, event.row.value)));
        }
        self.expect(told == expected, "watch-differs", "a watch tells of other changes than were made");
        Ok(())
    }

    /// Takes away what is left.
    fn tidy(&mut self) -> Result<(), Error> {
        let own = KeyQuery::prefix(&self.prefix);
        let deleted = self.database.delete_all(&own);
        self.answered(deleted, "delete-refused", "keys cannot be deleted")?;
        let left = self.database.count(&own);
        if let Some(left) = self.answered(left, "count-refused", "keys cannot be counted")? {
            self.expect(left == 0, "delete-differs", "keys of a deleted range are still there");
        }
        Ok(())
    }
}
