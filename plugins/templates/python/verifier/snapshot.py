"""The snapshot that a verifier looks into."""

from dataclasses import dataclass
from typing import Any, Iterator

from rows import Row, walk


@dataclass(frozen=True)
class Query:
    """Which rows. `Query()` is every live key, ascending; every field that is set narrows it. The agent does all of this on the file: ask
    narrowly. `columns` is `all`, `keys` or `keys-and-values`: values that are left out are never read."""

    prefix: bytes = b""
    # Keys in [start, end).
    start: bytes = b""
    end: bytes = b""
    key_contains: bytes = b""
    value_prefix: bytes = b""
    changed_after: int = 0
    descending: bool = False
    # None for all.
    limit: int | None = None
    columns: str = "all"


class Snapshot:
    """A view of what the agent lends (`subject`). `new_query` makes a query of the contract."""

    def __init__(self, subject: Any, new_query: Any):
        self._subject = subject
        self._new_query = new_query

    def _ask(self, query: Query) -> Any:
        asked = self._new_query()
        if query.prefix:
            asked.prefix(query.prefix)
        if query.start or query.end:
            asked.range(query.start, query.end)
        if query.key_contains:
            asked.key_contains(query.key_contains)
        if query.value_prefix:
            asked.value_prefix(query.value_prefix)
        if query.changed_after:
            asked.changed_after(query.changed_after)
        if query.descending:
            asked.descending()
        if query.limit is not None:
            asked.limit(query.limit)
        asked.columns(True, query.columns != "keys", query.columns == "all")
        return asked

    @property
    def revision(self) -> int:
        return self._subject.revision()

    @property
    def live_keys(self) -> int:
        return self._subject.live_keys()

    def fact(self, name: str) -> str | None:
        """A fact by name, e.g. `storage-version`."""
        return self._subject.fact(name)

    def get(self, key: bytes) -> Row | None:
        """One key."""
        live = self._subject.get(key)
        if live is None:
            return None
        return Row(bytes(live.key), bytes(live.value), live.create_revision, live.mod_revision, live.version, live.lease)

    def contains(self, key: bytes) -> bool:
        """Is there such a key? Its value is not read."""
        return self.totals(Query(start=key, end=key + b"\0")).keys > 0

    def totals(self, query: Query = Query()) -> Any:
        """keys, key_bytes and value_bytes of a query, summed up by the agent: no row crosses over."""
        with self._ask(query) as asked:
            return self._subject.totals(asked)

    def rows(self, query: Query = Query()) -> Iterator[Row]:
        """for row in snapshot.rows(Query(prefix=b"/registry/pods/", columns="keys")): …"""
        with self._ask(query) as asked:
            opened = self._subject.open(asked)
        yield from walk(opened)
