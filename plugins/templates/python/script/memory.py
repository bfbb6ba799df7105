"""An etcd made up in memory, for tests: keys without history, and no leases, watches or transactions."""

from types import SimpleNamespace

from database import Database
from rows import Row


class _Lent:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


class _Query(_Lent):
    def __init__(self):
        self.wanted = {"columns": (True, True, True)}

    def at(self, revision):
        raise NotImplementedError("a database in memory has no history")

    def __getattr__(self, name):
        return lambda *values: self.wanted.update({name: values})


class _Cursor(_Lent):
    def __init__(self, rows, columns):
        self._rows, self._columns = rows, columns

    def next(self, max_rows, max_bytes):
        # Two rows at once: what holds across small batches holds across large ones.
        rows, self._rows = self._rows[:2], self._rows[2:]
        keys, values, revisions = (rows if wanted else [] for wanted in self._columns)

        def ends(parts):
            return [sum(map(len, parts[: index + 1])) for index in range(len(parts))]

        return SimpleNamespace(
            keys=b"".join(row.key for row in keys),
            key_ends=ends([row.key for row in keys]),
            values=b"".join(row.value for row in values),
            value_ends=ends([row.value for row in values]),
            create_revisions=[row.create_revision for row in revisions],
            mod_revisions=[row.mod_revision for row in revisions],
            versions=[row.version for row in revisions],
            leases=[row.lease for row in revisions],
        )


class _Contract:
    def __init__(self):
        self._rows: dict[bytes, Row] = {}
        self._revision = 1

    def _matching(self, query):
        (prefix,) = query.wanted.get("prefix", (b"",))
        start, end = query.wanted.get("range", (b"", b""))
        (after,) = query.wanted.get("changed_after", (0,))
        (limit,) = query.wanted.get("limit", (None,))
        found = [
            row
            for key, row in sorted(self._rows.items())
            if key.startswith(prefix) and key >= start and (not end or key < end) and row.mod_revision > after
        ]
        return (found[::-1] if "descending" in query.wanted else found)[:limit]

    def status(self):
        return [("version", "3.6.0"), ("revision", str(self._revision))]

    def get(self, key):
        return self._rows.get(key)

    def count(self, query):
        return len(self._matching(query))

    def open(self, query):
        return _Cursor(self._matching(query), query.wanted["columns"])

    def put(self, key, value, lease):
        self._revision += 1
        old = self._rows.get(key)
        created, version = (old.create_revision, old.version + 1) if old else (self._revision, 1)
        self._rows[key] = Row(key, value, created, self._revision, version, lease)
        return self._revision

    def delete(self, query):
        gone = self._matching(query)
        for row in gone:
            del self._rows[row.key]
        self._revision += bool(gone)
        return len(gone)


def memory_database(entries: dict[bytes, bytes]) -> Database:
    """`entries` are keys and values, written one after the other."""
    contract = _Contract()
    for key, value in entries.items():
        contract.put(key, value, 0)
    return Database(contract, _Query)
