"""Requests and answers of HTTP, and what the agent makes of an answer. It knows nothing of WebAssembly."""

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from holdfast import PluginError

# The longest answer that is taken.
MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Request:
    """A request to what is granted (`allow = { http = [...] }`) and wanted. No redirect is followed."""

    url: str
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    # How long to wait for the connection, for the answer, and between its parts.
    patience_seconds: int = 15

    @staticmethod
    def post_json(url: str, value: Any, headers: dict[str, str] | None = None) -> "Request":
        return Request(url, "POST", {"content-type": "application/json"} | (headers or {}), json.dumps(value).encode())

    @property
    def origin(self) -> str:
        """What may be told of the URL: paths and queries of hooks are secrets often enough."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.hostname}"


@dataclass(frozen=True)
class Answer:
    """An answer; names of headers are in lower case."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")


def check(answer: Answer) -> None:
    """Lets an answer of success pass, and raises what the agent makes of others: `unavailable` is tried again, `refused` is final."""
    if 200 <= answer.status < 300:
        return
    later = answer.status in (408, 429) or answer.status >= 500
    said = " ".join(answer.text.split())[:200]
    error = PluginError("unavailable" if later else "refused", f"it answered {answer.status}" + (f": {said}" if said else ""))
    pause = answer.headers.get("retry-after", "")
    if pause.isdigit():
        error.attributes.append(("retry-after", pause))
    raise error
