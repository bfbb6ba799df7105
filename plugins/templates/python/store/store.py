"""The store: {{summary}}. It knows nothing of WebAssembly, so that it is tested with `python -m unittest`.

It speaks to a server that takes `PUT` with `If-None-Match: *`, `GET` with `Range`, `HEAD` and `DELETE`, and lists with
`GET /?prefix=…&after=…&limit=…`. Put your own in its place."""

import json

from answer import Request
from holdfast import PluginError
from objects import Body, Object, Page, Sink, answered, exists, not_found

NAME = "{{name}}"
VERSION = "0.1.0"
SUMMARY = "{{summary}}"
# Lines of an `allow` table that it would like.
WANTS = ['http = ["https://*", "http://*"]']
# JSON Schema of the config: the agent checks a config with it before the store sees it.
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["url"],
    "properties": {"url": {"type": "string", "format": "uri", "description": "Where the objects are."}},
}


def features(config: dict) -> list[str]:
    """What the server truly does: whatever is promised here is relied upon."""
    return ["atomic", "exclusive", "ranges"]


class Store:
    """Made for one call, and gone after it: what is to outlast a call lies in the place itself. `host` is what the agent grants:
    send(request), upload(request, body), download(request), secret(name), state, log(level, line). `context` tells of the call. A PluginError
    says why a call could not be done: of the codes of the contract `unavailable` is tried again."""

    def __init__(self, config: dict, host, context: dict[str, str]):
        self._url, self._host = config["url"].rstrip("/"), host

    def _at(self, path: str) -> str:
        return f"{self._url}/{path}"

    def probe(self) -> None:
        """Is it there, and can it be written to?"""
        self.list("", None, 1)

    def put(self, path: str, body: Body) -> int:
        """Stores a new object, never in the place of another. Gives the bytes that were stored: all that `body` gave."""
        # Piece by piece; what the bindings keep of them all the same, the README tells.
        answer, sent = self._host.upload(Request(self._at(path), "PUT", {"if-none-match": "*"}), body)
        if answer.status in (200, 201, 204):
            return sent
        raise exists(path) if answer.status == 412 else answered(answer)

    def get(self, path: str, start: int, end: int | None, into: Sink) -> None:
        """Hands on an object, from byte `start` on, up to `end`, which does not belong to it. What lies behind the object's end is empty."""
        found = self.head(path)
        if found is None:
            raise not_found(path)
        into.begin(found.size_bytes, found.tag)
        end = found.size_bytes if end is None else min(end, found.size_bytes)
        if start >= end:
            return
        with self._host.download(Request(self._at(path), headers={"range": f"bytes={start}-{end - 1}"})) as answer:
            if answer.status != 206:
                raise answered(answer.whole())
            left = end - start
            while left > 0:
                piece = answer.read()
                if not piece:
                    # The agent takes it up again where it broke off.
                    raise PluginError("unavailable", "the answer ended early")
                left -= len(piece)
                into.write(piece)

    def head(self, path: str) -> Object | None:
        """One object, or none."""
        answer = self._host.send(Request(self._at(path), "HEAD"))
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise answered(answer)
        size = answer.headers.get("content-length", "")
        if not size.isdecimal():
            raise PluginError("server", "it does not tell a size")
        return Object(path, int(size), tag=answer.headers.get("etag", ""))

    def list(self, prefix: str, after: str | None, limit: int) -> Page:
        """At most `limit` objects whose path begins with `prefix`, in the order of paths. `after` is what the last page handed on."""
        # Paths, and so prefixes and what was handed on, need no encoding.
        answer = self._host.send(Request(self._at(f"?prefix={prefix}&after={after or ''}&limit={limit}")))
        if answer.status != 200:
            raise answered(answer)
        try:
            listed = json.loads(answer.body)
            return Page([Object(entry["path"], entry["size_bytes"]) for entry in listed["objects"]], listed.get("next"))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise PluginError("server", "it answers with something that is no listing") from None

    def delete(self, path: str) -> None:
        """Removes an object. One that is not there is no error."""
        answer = self._host.send(Request(self._at(path), "DELETE"))
        if answer.status != 404 and not 200 <= answer.status < 300:
            raise answered(answer)

    def sweep(self, age_seconds: int) -> int:
        """Removes what writers left that died longer ago. Called only when the feature `sweep` is promised."""
        return 0
