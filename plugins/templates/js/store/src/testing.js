// What tests put in place of the agent.
import { PluginError } from './holdfast.js';

/** A host that answers every request by `answer(request)`, which gives [status, text, headers]; what was sent is in `sent`. */
export function testHost(answer, { secrets = {} } = {}) {
  const sent = [];
  const send = (request) => {
    sent.push(request);
    const [status, text = '', headers = {}] = answer(request);
    return { status, text, headers };
  };
  return {
    sent,
    send,
    upload(request, source) {
      const parts = [];
      for (let piece = source.read(1 << 20); piece.length > 0; piece = source.read(1 << 20)) parts.push(piece);
      const body = Buffer.concat(parts);
      return { ...send({ ...request, body: body.toString() }), sent: body.length };
    },
    download(request, use) {
      const { status, text, headers } = send(request);
      const read = halting(Buffer.from(text));
      return use({ status, headers, read, text: () => text });
    },
    secret: (name) => secrets[name],
    log() {},
  };
}

// Two bytes at once: what holds across small pieces holds across large ones.
const halting = (content) => () => {
  const piece = content.subarray(0, 2);
  content = content.subarray(piece.length);
  return piece;
};

/** The bytes of an object to be stored; one that breaks off never says that it is whole. */
export function memoryBody(content, { breaksOff = false } = {}) {
  const next = halting(Buffer.from(content));
  return {
    read() {
      const piece = next();
      if (piece.length === 0 && breaksOff) throw new PluginError('broken', 'the body broke off');
      return piece;
    },
  };
}

/** Keeps what is handed on: `begun` is [sizeBytes, tag], `text` all the bytes. */
export function memorySink() {
  const sink = { begun: undefined, text: '', begin: (...head) => (sink.begun = head), write: (piece) => (sink.text += piece) };
  return sink;
}
