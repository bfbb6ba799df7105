"""Exchanges whose bodies go piece by piece, at the pace of whoever is slower."""

from componentize_py_types import Err
from wit_world.imports import types

import client
from answer import MOST_BYTES, Answer, Request
from holdfast import PluginError

# What is read of a body at once.
PIECE_BYTES = 1 << 18


def upload(request: Request, body) -> tuple[Answer, int]:
    """Sends a request with what `body` gives, to its end. Gives the answer, and how many bytes that were. When the body breaks off, so does
    the request: no server may take it for whole."""
    pending, outgoing = client.begin(request)
    try:
        sent, whole = _hand_on(outgoing, pending, body)
    except PluginError:
        _break_off(outgoing)
        raise
    if whole:
        try:
            types.OutgoingBody.finish(outgoing, None)
        except Err:
            whole = False
    else:
        _break_off(outgoing)
    answer = client.receive(request, client.answered(request, pending))
    if not whole and answer.status < 300:
        raise PluginError("unavailable", f"{request.origin} says that all is well, and has not taken all of the request")
    return answer, sent


def _break_off(outgoing: types.OutgoingBody) -> None:
    # Dropped without `finish`.
    with outgoing:
        pass


def _hand_on(outgoing: types.OutgoingBody, pending: types.FutureIncomingResponse, body) -> tuple[int, bool]:
    """Writes all that comes. False: the server takes no more, or has answered before it had all."""
    sent = 0
    try:
        with outgoing.write() as stream, stream.subscribe() as ready, pending.subscribe() as come:
            while piece := body.read(PIECE_BYTES):
                sent += len(piece)
                # Only now: who has answered with the last piece in hand has answered to all of it.
                if come.ready():
                    return sent, False
                start = 0
                while start < len(piece):
                    room = stream.check_write()
                    if room == 0:
                        ready.block()
                        continue
                    stream.write(piece[start : start + room])
                    start += room
        return sent, True
    except Err:
        return sent, False


class Download:
    """An answer whose body is on its way. `with` lets go of it in the end."""

    def __init__(self, request: Request, response: types.IncomingResponse):
        self.status = response.status()
        self.headers = client.headers(response)
        self._request, self._response = request, response
        self._body = response.consume()
        self._stream = self._body.stream()

    def __enter__(self) -> "Download":
        return self

    def __exit__(self, *_) -> None:
        # What comes of another goes before it.
        with self._response, self._body, self._stream:
            pass

    def read(self) -> bytes:
        """The next bytes; none at the end. What the head said of their number is not compared with what came."""
        return client.read(self._request, self._stream)

    def whole(self) -> Answer:
        """The answer with the rest of its body, up to what is taken of an answer."""
        content = bytearray()
        while len(content) < MOST_BYTES and (part := self.read()):
            content += part
        return Answer(self.status, self.headers, bytes(content[:MOST_BYTES]))


def download(request: Request) -> Download:
    """Sends a request without a body, and waits for the head of the answer."""
    pending, outgoing = client.begin(request)
    try:
        types.OutgoingBody.finish(outgoing, None)
    except Err:
        # Explained by the answer.
        pass
    return Download(request, client.answered(request, pending))
