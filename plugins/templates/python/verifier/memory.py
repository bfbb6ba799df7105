"""A snapshot made up in memory, for tests: it answers every query as the agent does."""

from types import SimpleNamespace

from rows import Row
from snapshot import Snapshot


class _Lent:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


class _Query(_Lent):
    def __init__(self):
        self.wanted = {"columns": (True, True, True)}

    def __getattr__(self, name):
        return lambda *values: self.wanted.update({name: values})


class Damaged(Exception):
    """As the agent's error arrives: `value` has code and message."""

    def __init__(self):
        super().__init__("the file breaks off")
        self.value = SimpleNamespace(code="damaged", message="the file breaks off")


class _Cursor(_Lent):
    def __init__(self, rows, columns, damaged_after):
        self._rows, self._columns, self._damaged_after, self._position = rows, columns, damaged_after, 0

    def next(self, max_rows, max_bytes):
        if self._damaged_after is not None and self._damaged_after <= self._position < len(self._rows):
            raise Damaged()
        # Two rows at once: what holds across small batches holds across large ones.
        rows = self._rows[self._position : self._position + 2]
        self._position += len(rows)
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


class _Subject:
    def __init__(self, entries, facts, damaged_after):
        self._rows = sorted(Row(key, value, index, index, 1, 0) for index, (key, value) in enumerate(entries.items(), 2))
        self._facts, self._damaged_after = facts, damaged_after

    def _matching(self, query):
        (prefix,) = query.wanted.get("prefix", (b"",))
        start, end = query.wanted.get("range", (b"", b""))
        (needle,) = query.wanted.get("key_contains", (b"",))
        (head,) = query.wanted.get("value_prefix", (b"",))
        (after,) = query.wanted.get("changed_after", (0,))
        (limit,) = query.wanted.get("limit", (None,))
        found = [
            row
            for row in self._rows
            if row.key.startswith(prefix)
            and row.key >= start
            and (not end or row.key < end)
            and needle in row.key
            and row.value.startswith(head)
            and row.mod_revision > after
        ]
        return (found[::-1] if "descending" in query.wanted else found)[:limit]

    def revision(self):
        return len(self._rows) + 1

    def live_keys(self):
        return len(self._rows)

    def fact(self, name):
        return self._facts.get(name)

    def get(self, key):
        return next((row for row in self._rows if row.key == key), None)

    def totals(self, query):
        found = self._matching(query)
        return SimpleNamespace(
            keys=len(found), key_bytes=sum(len(row.key) for row in found), value_bytes=sum(len(row.value) for row in found)
        )

    def open(self, query):
        return _Cursor(self._matching(query), query.wanted["columns"], self._damaged_after)


def memory_snapshot(entries: dict[bytes, bytes], facts: dict[str, str] = {}, damaged_after: int | None = None) -> Snapshot:
    """`entries` are keys and values, written one after the other."""
    return Snapshot(_Subject(entries, facts, damaged_after), _Query)
