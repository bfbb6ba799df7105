"""What a store speaks of: objects, pages of them, and why a call could not be done. It knows nothing of WebAssembly."""

from dataclasses import dataclass
from typing import Protocol

from answer import Answer
from holdfast import PluginError


@dataclass(frozen=True)
class Object:
    path: str
    size_bytes: int
    # When it was written, by the place's clock: milliseconds since 1970, UTC.
    modified: int | None = None
    # Another one for another object under the same path, such as an `ETag`; empty if not known.
    tag: str = ""
    # Until when it cannot be removed, RFC 3339. Only `head` has to tell.
    locked_until: str | None = None


@dataclass(frozen=True)
class Page:
    # Ascending by path, compared as bytes, each once.
    objects: list[Object]
    # Handed to the next call as it is; None on the last page.
    next: str | None = None


class Body(Protocol):
    """The bytes to be stored."""

    @property
    def size_bytes(self) -> int | None:
        """How many there are, where that is known before the last one came."""

    def read(self, max_bytes: int) -> bytes:
        """The next bytes: at least one, at most 1 MiB. None at all is the end: only then the object is whole. A PluginError `broken` is to
        be let through: nothing may be left of the object."""


class Sink(Protocol):
    """Takes the bytes that were asked for. A PluginError `closed` is to be let through: nobody reads on."""

    def begin(self, size_bytes: int, tag: str) -> None:
        """Before the first bytes, once: the size of the whole object, also when only a range of it was asked for, and its tag."""

    def write(self, content: bytes) -> None:
        """The next bytes, in their order, at most 1 MiB."""


def not_found(path: str) -> PluginError:
    return PluginError("not-found", f"there is no `{path}`")


def exists(path: str) -> PluginError:
    return PluginError("exists", f"`{path}` is there already")


def answered(answer: Answer) -> PluginError:
    """What a server answered, when it is no success and nothing that the store knows better: by its status."""
    said = " ".join(answer.text.split())[:300]
    message = f"the server answers {answer.status}" + (f": {said}" if said else "")
    if answer.status in (401, 403, 407):
        return PluginError("denied", message)
    if answer.status == 507:
        return PluginError("full", message)
    if 300 <= answer.status < 400:
        to = answer.headers.get("location", "somewhere else")
        return PluginError("config", f"the server answers {answer.status} and leads to `{to}`: name that address")
    if answer.status in (408, 423, 425, 429, 500, 502, 503, 504):
        error = PluginError("unavailable", message)
        pause = answer.headers.get("retry-after", "")
        if pause.isdigit():
            error.attributes.append(("retry-after", pause))
        return error
    return PluginError("http", message)
