"""Sends requests through the agent: `wasi:http`."""

from urllib.parse import urlsplit

from componentize_py_types import Err, Ok
from wit_world.imports import outgoing_handler, types
from wit_world.imports.streams import StreamError_Closed

from answer import MOST_BYTES, Answer, Request
from holdfast import PluginError

# What one write of a stream takes at most.
WRITE_BYTES = 4096
READ_BYTES = 1 << 18

_METHODS = {
    "GET": types.Method_Get,
    "HEAD": types.Method_Head,
    "POST": types.Method_Post,
    "PUT": types.Method_Put,
    "DELETE": types.Method_Delete,
    "OPTIONS": types.Method_Options,
    "PATCH": types.Method_Patch,
}
_DENIED = (types.ErrorCode_HttpRequestDenied, types.ErrorCode_DestinationIpProhibited)
_TLS = (types.ErrorCode_TlsCertificateError, types.ErrorCode_TlsProtocolError, types.ErrorCode_TlsAlertReceived)


def send(request: Request) -> Answer:
    """A request that could not be sent is a PluginError: `unavailable` may work another time, `denied` is not granted, `tls` means that the
    far end shows no good certificate, `config` that the request makes no sense."""
    pending, body = begin(request)
    _write(body, request.body)
    return receive(request, answered(request, pending))


def begin(request: Request) -> tuple[types.FutureIncomingResponse, types.OutgoingBody]:
    """Sends a request's head: what becomes the answer, and the body that is to be written and finished."""
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
        return outgoing_handler.handle(outgoing, options), body
    except Err as error:
        raise _unanswered(request, error.value) from None


def answered(request: Request, pending: types.FutureIncomingResponse) -> types.IncomingResponse:
    """Waits for the head of the answer."""
    with pending:
        with pending.subscribe() as ready:
            ready.block()
        answer = pending.get()
    # What was asked for once is there once: an answer, or why there is none.
    if not isinstance(answer, Ok):
        raise PluginError("unavailable", f"{request.origin} gave no answer")
    if not isinstance(answer.value, Ok):
        raise _unanswered(request, answer.value.value)
    return answer.value.value


def headers(response: types.IncomingResponse) -> dict[str, str]:
    with response.headers() as fields:
        return {name.lower(): value.decode(errors="replace") for name, value in fields.entries()}


def read(request: Request, stream) -> bytes:
    """The next bytes of an answer; none at the end."""
    while True:
        try:
            part = stream.blocking_read(READ_BYTES)
        except Err as error:
            if isinstance(error.value, StreamError_Closed):
                return b""
            raise PluginError("unavailable", f"the answer of {request.origin} broke off") from None
        # Nothing yet is not the end.
        if part:
            return part


def receive(request: Request, response: types.IncomingResponse) -> Answer:
    """The whole answer."""
    with response, response.consume() as body, body.stream() as stream:
        content = bytearray()
        while part := read(request, stream):
            content += part
            if len(content) > MOST_BYTES:
                raise PluginError("refused", f"the answer of {request.origin} has more than {MOST_BYTES} bytes")
        return Answer(response.status(), headers(response), bytes(content))


def _unanswered(request: Request, code) -> PluginError:
    kind = "denied" if isinstance(code, _DENIED) else "tls" if isinstance(code, _TLS) else "unavailable"
    reason = type(code).__name__.removeprefix("ErrorCode_") or "it failed"
    return PluginError(kind, f"{request.origin} cannot be asked: {reason}")


def _outgoing(request: Request) -> types.OutgoingRequest:
    parts = urlsplit(request.url)
    fields = types.Fields.from_list([(name, value.encode()) for name, value in request.headers.items()])
    outgoing = types.OutgoingRequest(fields)
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
