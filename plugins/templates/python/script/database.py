"""The restored etcd that a script works with."""

from dataclasses import dataclass
from typing import Any, Iterator

from rows import Row, walk


@dataclass(frozen=True)
class Query:
    """Which keys. `Query()` is every live key, ascending; every field that is set narrows it. `at` is a revision, 0 for now. `columns` is
    `all`, `keys` or `keys-and-values`."""

    prefix: bytes = b""
    # Keys in [start, end).
    start: bytes = b""
    end: bytes = b""
    changed_after: int = 0
    at: int = 0
    descending: bool = False
    # None for all.
    limit: int | None = None
    columns: str = "all"


class Database:
    """A view of what the agent lends (`contract`), which has more: leases, watches, transactions. `new_query` makes a query of it."""

    def __init__(self, contract: Any, new_query: Any):
        self.contract = contract
        self._new_query = new_query

    def _ask(self, query: Query) -> Any:
        asked = self._new_query()
        if query.prefix:
            asked.prefix(query.prefix)
        if query.start or query.end:
            asked.range(query.start, query.end)
        if query.changed_after:
            asked.changed_after(query.changed_after)
        if query.at:
            asked.at(query.at)
        if query.descending:
            asked.descending()
        if query.limit is not None:
            asked.limit(query.limit)
        asked.columns(True, query.columns != "keys", query.columns == "all")
        return asked

    def status(self) -> dict[str, str]:
        """What it says of itself, by name: `version`, `revision`, `db-size`, …"""
        return dict(self.contract.status())

    def get(self, key: bytes) -> Row | None:
        """One key."""
        live = self.contract.get(key)
        if live is None:
            return None
        return Row(bytes(live.key), bytes(live.value), live.create_revision, live.mod_revision, live.version, live.lease)

    def count(self, query: Query = Query()) -> int:
        with self._ask(query) as asked:
            return self.contract.count(asked)

    def rows(self, query: Query = Query()) -> Iterator[Row]:
        """for row in database.rows(Query(prefix=b"/registry/pods/", columns="keys")): … All rows are of one revision."""
        with self._ask(query) as asked:
            opened = self.contract.open(asked)
        yield from walk(opened)

    def put(self, key: bytes, value: bytes, lease: int = 0) -> int:
        """Sets a key; gives the revision."""
        return self.contract.put(key, value, lease)

    def delete(self, query: Query) -> int:
        """Deletes the keys of a query; gives how many there were."""
        with self._ask(query) as asked:
            return self.contract.delete(asked)
