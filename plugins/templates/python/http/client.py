"""Sends requests through the agent: `wasi:http`."""

from urllib.parse import urlsplit

from componentize_py_types import Err, Ok
from wit_world.imports import outgoing_handler, types
from wit_world.imports.streams import StreamError_Closed

from answer import MOST_BYTES, Answer, Request
from holdfast import PluginError

# What one write of a stream takes at most.
WRITE_BYTES = 4096
READ_BYTES = 1 << 16

_METHODS = {
    "GET": types.Method_Get,
    "HEAD": types.Method_Head,
    "POST": types.Method_Post,
    "PUT": types.Method_Put,
    "DELETE": types.Method_Delete,
    "OPTIONS": types.Method_Options,
    "PATCH": types.Method_Patch,
}


def send(request: Request) -> Answer:
    """A request that could not be sent is a PluginError: `unavailable` is tried again, `config` says that the request makes no sense."""
    parts = urlsplit(request.url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise PluginError("config", "a URL begins with `https://` or `http://`, and names a host")
    try:
        outgoing = _outgoing(request)
        options = types.RequestOptions()
        patience = request.patience_seconds * 10**9
        options.set_connect_timeout(patience)
        options.set_first_byte_timeout(patience)
        options.set_between_bytes_timeout(patience)
        body = outgoing.body()
        pending = outgoing_handler.handle(outgoing, options)
        _write(body, request.body)
        with pending.subscribe() as ready:
            ready.block()
        answered = pending.get()
        # What was asked for once is there once: an answer, or why there is none.
        if not isinstance(answered, Ok):
            raise PluginError("unavailable", f"{request.origin} gave no answer")
        if not isinstance(answered.value, Ok):
            raise Err(answered.value.value)
        return _receive(request, answered.value.value)
    except Err as error:
        reason = type(error.value).__name__.removeprefix("ErrorCode_") or "it failed"
        raise PluginError("unavailable", f"{request.origin} cannot be asked: {reason}") from None


def _outgoing(request: Request) -> types.OutgoingRequest:
    parts = urlsplit(request.url)
    headers = types.Fields.from_list([(name, value.encode()) for name, value in request.headers.items()])
    outgoing = types.OutgoingRequest(headers)
    outgoing.set_scheme(types.Scheme_Https() if parts.scheme == "https" else types.Scheme_Http())
    outgoing.set_authority(parts.netloc)
    outgoing.set_path_with_query((parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
    method = _METHODS.get(request.method)
    outgoing.set_method(method() if method else types.Method_Other(request.method))
    return outgoing


def _write(body: types.OutgoingBody, content: bytes) -> None:
    try:
        with body.write() as stream:
            for start in range(0, len(content), WRITE_BYTES):
                stream.blocking_write_and_flush(content[start : start + WRITE_BYTES])
        types.OutgoingBody.finish(body, None)
    except Err:
        # Who answers before he has heard all may have said why: the answer tells.
        return


def _receive(request: Request, response: types.IncomingResponse) -> Answer:
    with response.headers() as fields:
        headers = {name.lower(): value.decode(errors="replace") for name, value in fields.entries()}
    content = bytearray()
    with response.consume() as body, body.stream() as stream:
        while True:
            try:
                content += stream.blocking_read(READ_BYTES)
            except Err as error:
                if isinstance(error.value, StreamError_Closed):
                    break
                raise PluginError("unavailable", f"the answer of {request.origin} broke off") from None
            if len(content) > MOST_BYTES:
                raise PluginError("refused", f"the answer of {request.origin} has more than {MOST_BYTES} bytes")
    return Answer(response.status(), headers, bytes(content))
