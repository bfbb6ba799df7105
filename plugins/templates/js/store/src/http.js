// HTTP, through the agent's own sender (`wasi:http`): to what is granted (`allow = { http = [...] }`) and wanted, with TLS and proxies as the
// operator has them. No redirect is followed. It is not `fetch`: objects go through it piece by piece, at the pace of whoever is slower, and
// an upload whose source breaks off is broken off too.
import { handle } from 'wasi:http/outgoing-handler@0.2.0';
import { Fields, OutgoingBody, OutgoingRequest, RequestOptions } from 'wasi:http/types@0.2.0';
import { bytes, PluginError, text } from './holdfast.js';

// The longest answer that is held.
const MOST_BYTES = 4 << 20;
const PIECE_BYTES = 1 << 18;
// How long to wait for the connection, for the answer, and between its parts.
const PATIENCE = 15_000_000_000n;

/** Sends a request: { method, url, headers, body }. Gives { status, headers, text }, names of headers in lower case. */
export function send(request) {
  const { answered, body } = begin(request);
  const content = bytes(request.body ?? '');
  let at = 0;
  // What is not taken is explained by the answer.
  write(body, answered, () => content.subarray(at, (at += PIECE_BYTES)));
  finish(body);
  return receive(request, answered);
}

/**
 * Sends a request with what `body` gives, to its end. Gives the answer, with `sent`, how many bytes that were. When the body breaks off, so
 * does the request: no server may take it for whole.
 */
export function upload(request, source) {
  const { answered, body } = begin(request);
  let sent = 0;
  let whole = false;
  try {
    whole = write(body, answered, () => {
      const piece = source.read(PIECE_BYTES);
      sent += piece.length;
      return piece;
    });
  } finally {
    // Let go of without `finish`, it breaks off the request.
    if (!whole) drop(body);
  }
  if (whole) whole = finish(body);
  const answer = receive(request, answered);
  if (!whole && answer.status < 300) {
    throw new PluginError('unavailable', `${origin(request)} says that all is well, and has not taken all of the request`);
  }
  return { ...answer, sent };
}

/** Sends a request, and waits for the head of the answer, which is given to `use`: { status, headers, read(), text() }. `read` gives the next
 * bytes, none at the end. */
export function download(request, use) {
  const { answered, body } = begin(request);
  finish(body);
  return receiving(request, answered, use);
}

function begin(request) {
  const parts = /^(https?):\/\/([^/?#]+)([^#]*)/.exec(request.url);
  if (!parts) throw new PluginError('config', 'a URL begins with `https://` or `http://`, and names a host');
  const [, scheme, authority, path] = parts;
  const outgoing = new OutgoingRequest(
    Fields.fromList(Object.entries(request.headers ?? {}).map(([name, value]) => [name, bytes(value)])),
  );
  const method = request.method ?? 'GET';
  outgoing.setMethod(METHODS.has(method) ? { tag: method.toLowerCase() } : { tag: 'other', val: method });
  outgoing.setScheme({ tag: scheme.toUpperCase() });
  outgoing.setAuthority(authority);
  outgoing.setPathWithQuery(path.startsWith('/') ? path : `/${path}`);
  const options = new RequestOptions();
  options.setConnectTimeout(PATIENCE);
  options.setFirstByteTimeout(PATIENCE);
  options.setBetweenBytesTimeout(PATIENCE);
  const body = outgoing.body();
  try {
    return { answered: handle(outgoing, options), body };
  } catch (error) {
    throw unanswered(request, error.payload);
  }
}

const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH']);

// Writes all that `next` gives. False: the server takes no more, or has answered before it had all.
function write(body, answered, next) {
  const stream = body.write();
  const [ready, come] = [stream.subscribe(), answered.subscribe()];
  try {
    for (;;) {
      let rest = next();
      if (rest.length === 0) return true;
      // Only now: who has answered with the last piece in hand has answered to all of it.
      if (come.ready()) return false;
      while (rest.length > 0) {
        const room = taken(() => stream.checkWrite());
        if (room === undefined) return false;
        if (room === 0n) {
          ready.block();
          continue;
        }
        const now = rest.subarray(0, Number(room));
        if (taken(() => stream.write(now) ?? true) === undefined) return false;
        rest = rest.subarray(now.length);
      }
    }
  } finally {
    [come, ready, stream].forEach(drop);
  }
}

// Undefined when the stream takes no more.
function taken(call) {
  try {
    return call();
  } catch (error) {
    if (error?.payload === undefined) throw error;
    return undefined;
  }
}

function finish(body) {
  return taken(() => OutgoingBody.finish(body, undefined) ?? true) ?? false;
}

const drop = (handle) => handle[Symbol.dispose]();

const receive = (request, answered) =>
  receiving(request, answered, ({ status, headers, text: words }) => ({ status, headers, text: words() }));

function receiving(request, answered, use) {
  const held = [answered];
  // What comes of another goes before it.
  const hold = (handle) => (held.unshift(handle), handle);
  try {
    const ready = answered.subscribe();
    ready.block();
    drop(ready);
    const came = answered.get();
    if (came?.tag !== 'ok') throw new PluginError('unavailable', `${origin(request)} gave no answer`);
    if (came.val.tag !== 'ok') throw unanswered(request, came.val.val);
    const response = hold(came.val.val);
    const fields = hold(response.headers());
    const headers = Object.fromEntries(fields.entries().map(([name, value]) => [name.toLowerCase(), text(value)]));
    const stream = hold(hold(response.consume()).stream());
    const read = () => next(request, stream);
    const whole = () => {
      const parts = [];
      let length = 0;
      for (let part = read(); part.length > 0; part = read()) {
        parts.push(part);
        length += part.length;
        if (length > MOST_BYTES) throw new PluginError('http', `the answer of ${origin(request)} has more than ${MOST_BYTES} bytes`);
      }
      const all = new Uint8Array(length);
      parts.reduce((at, part) => (all.set(part, at), at + part.length), 0);
      return text(all);
    };
    return use({ status: response.status(), headers, read, text: whole });
  } finally {
    held.forEach(drop);
  }
}

function next(request, stream) {
  for (;;) {
    let part;
    try {
      part = stream.blockingRead(BigInt(PIECE_BYTES));
    } catch (error) {
      if (error?.payload?.tag === 'closed') return new Uint8Array();
      if (error?.payload === undefined) throw error;
      throw new PluginError('unavailable', `the answer of ${origin(request)} broke off`);
    }
    // Nothing yet is not the end.
    if (part.length > 0) return part;
  }
}

function unanswered(request, code) {
  const reason = code?.tag ?? 'it failed';
  let kind = 'unavailable';
  if (['HTTP-request-denied', 'destination-IP-prohibited'].includes(reason)) kind = 'denied';
  if (reason.startsWith('TLS-')) kind = 'tls';
  return new PluginError(kind, `${origin(request)} cannot be asked: ${reason}`);
}

// Paths and queries are secrets often enough.
const origin = ({ url }) => /^[a-z]+:\/\/[^/?#]*/i.exec(url)?.[0] ?? 'the URL';
