"""What tests put in place of the agent."""

from dataclasses import replace
from typing import Callable

from answer import Answer, Request
from holdfast import PluginError


class Host:
    """Answers every request by `answer(request)`, and keeps what was sent."""

    def __init__(self, answer: Callable[[Request], Answer], secrets: dict[str, str] | None = None):
        self.sent: list[Request] = []
        self._answer, self._secrets = answer, secrets or {}

    def send(self, request: Request) -> Answer:
        self.sent.append(request)
        return self._answer(request)

    def upload(self, request: Request, body: "MemoryBody") -> tuple[Answer, int]:
        content = b""
        while piece := body.read(1 << 20):
            content += piece
        return self.send(replace(request, body=content)), len(content)

    def download(self, request: Request) -> "_Download":
        return _Download(self.send(request))

    def secret(self, name: str) -> str:
        return self._secrets[name]

    def log(self, level: str, line: str) -> None:
        pass


class _Download:
    def __init__(self, answer: Answer):
        self.status, self.headers, self._answer, self._left = answer.status, answer.headers, answer, answer.body

    def __enter__(self) -> "_Download":
        return self

    def __exit__(self, *_) -> None:
        pass

    def read(self) -> bytes:
        # Two bytes at once: what holds across small pieces holds across large ones.
        piece, self._left = self._left[:2], self._left[2:]
        return piece

    def whole(self) -> Answer:
        return self._answer


class MemoryBody:
    """The bytes of an object to be stored, two at once; one that breaks off never says that it is whole."""

    size_bytes = None

    def __init__(self, content: bytes, breaks_off: bool = False):
        self._left, self._breaks_off = content, breaks_off

    def read(self, max_bytes: int) -> bytes:
        piece, self._left = self._left[:2], self._left[2:]
        if not piece and self._breaks_off:
            raise PluginError("broken", "the body broke off")
        return piece


class MemorySink:
    """Keeps what is handed on."""

    def __init__(self) -> None:
        self.begun: tuple[int, str] | None = None
        self.content = bytearray()

    def begin(self, size_bytes: int, tag: str) -> None:
        self.begun = (size_bytes, tag)

    def write(self, content: bytes) -> None:
        self.content += content
