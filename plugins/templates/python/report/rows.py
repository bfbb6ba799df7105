"""Rows as they cross over, in columns, made rows again."""

from typing import Any, Iterator, NamedTuple

# Rows and bytes asked for at once: more make a row no cheaper, and one value can have 1.5 MiB.
BATCH_ROWS = 256
BATCH_BYTES = 1 << 20


class Row(NamedTuple):
    """One live key. What the columns left out is empty or 0."""

    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int


def walk(opened: Any) -> Iterator[Row]:
    """The rows of a cursor, which is given back at the end."""
    with opened as cursor:
        while True:
            batch = cursor.next(BATCH_ROWS, BATCH_BYTES)
            count = max(len(batch.key_ends), len(batch.value_ends), len(batch.mod_revisions))
            if count == 0:
                return
            none = [0] * count
            yield from map(
                Row,
                _split(batch.keys, batch.key_ends, count),
                _split(batch.values, batch.value_ends, count),
                batch.create_revisions or none,
                batch.mod_revisions or none,
                batch.versions or none,
                batch.leases or none,
            )


def _split(column: bytes, ends: list[int], count: int) -> Iterator[bytes]:
    start = 0
    for end in ends or [0] * count:
        yield column[start:end]
        start = end
