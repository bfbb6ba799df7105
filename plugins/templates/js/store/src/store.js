// The store: {{summary}}. It knows nothing of WebAssembly, so that it is tested with `npm test`.
//
// It speaks to a server that takes `PUT` with `If-None-Match: *`, `GET` with `Range`, `HEAD` and `DELETE`, and lists with
// `GET /?prefix=…&after=…&limit=…`. Put your own in its place.
import { PluginError } from './holdfast.js';
import { answered, exists, notFound } from './objects.js';

export const description = {
  name: '{{name}}',
  version: '0.1.0',
  summary: '{{summary}}',
  // Lines of an `allow` table that it would like.
  wants: ['http = ["https://*", "http://*"]'],
  // JSON Schema of the config: the agent checks a config with it before the store sees it.
  configSchema: {
    type: 'object',
    additionalProperties: false,
    required: ['url'],
    properties: { url: { type: 'string', format: 'uri', description: 'Where the objects are.' } },
  },
};

/** What the server truly does: whatever is promised here is relied upon. */
export const features = (config) => ['atomic', 'exclusive', 'ranges'];

/**
 * Made for one call, and gone after it: what is to outlast a call lies in the place itself. `host` is what the agent grants:
 * send(request), upload(request, body), download(request, use), secret(name), state, log(level, line). `context` tells of the call, by name.
 * A PluginError says why a call could not be done: of the codes of the contract `unavailable` is tried again.
 */
export class Store {
  #url;
  #host;

  constructor({ url }, host, context) {
    this.#url = url.replace(/\/+$/, '');
    this.#host = host;
  }

  #at(path) {
    return `${this.#url}/${path}`;
  }

  /** Is it there, and can it be written to? */
  probe() {
    this.list('', undefined, 1);
  }

  /**
   * Stores a new object, never in the place of another. `body` has sizeBytes, where that is known, and read(maxBytes): the next bytes, none
   * at the end; only then it is whole. Gives how many bytes were stored: all that `body` gave.
   */
  put(path, body) {
    // Piece by piece; what the engine keeps of them all the same, the README tells.
    const answer = this.#host.upload({ method: 'PUT', url: this.#at(path), headers: { 'if-none-match': '*' } }, body);
    if ([200, 201, 204].includes(answer.status)) return answer.sent;
    throw answer.status === 412 ? exists(path) : answered(answer);
  }

  /**
   * Hands on an object, from byte `start` on, up to `end`, which does not belong to it and may be undefined. What lies behind the object's
   * end is empty. `into` has begin(sizeBytes, tag), which comes before the first bytes, and write(bytes).
   */
  get(path, start, end, into) {
    const found = this.head(path);
    if (found === undefined) throw notFound(path);
    into.begin(found.sizeBytes, found.tag);
    const last = Math.min(end ?? found.sizeBytes, found.sizeBytes) - 1;
    if (start > last) return;
    this.#host.download({ url: this.#at(path), headers: { range: `bytes=${start}-${last}` } }, (answer) => {
      if (answer.status !== 206) throw answered({ ...answer, text: answer.text() });
      for (let left = last + 1 - start; left > 0; ) {
        const piece = answer.read();
        // The agent takes it up again where it broke off.
        if (piece.length === 0) throw new PluginError('unavailable', 'the answer ended early');
        left -= piece.length;
        into.write(piece);
      }
    });
  }

  /** One object: { path, sizeBytes, modified, tag, lockedUntil }, the last three where they are known. Undefined when there is none. */
  head(path) {
    const answer = this.#host.send({ method: 'HEAD', url: this.#at(path) });
    if (answer.status === 404) return undefined;
    if (answer.status !== 200) throw answered(answer);
    const size = answer.headers['content-length'];
    if (!/^\d+$/.test(size ?? '')) throw new PluginError('server', 'it does not tell a size');
    return { path, sizeBytes: Number(size), tag: answer.headers.etag };
  }

  /**
   * At most `limit` objects whose path begins with `prefix`, in the order of paths: { objects, next }. `next` is handed to the next call as
   * `after`; undefined on the last page.
   */
  list(prefix, after, limit) {
    // Paths, and so prefixes and what was handed on, need no encoding.
    const answer = this.#host.send({ url: this.#at(`?prefix=${prefix}&after=${after ?? ''}&limit=${limit}`) });
    if (answer.status !== 200) throw answered(answer);
    try {
      const { objects, next } = JSON.parse(answer.text);
      return { objects: objects.map((entry) => ({ path: entry.path, sizeBytes: entry.size_bytes })), next: next ?? undefined };
    } catch {
      throw new PluginError('server', 'it answers with something that is no listing');
    }
  }

  /** Removes an object. One that is not there is no error. */
  delete(path) {
    const answer = this.#host.send({ method: 'DELETE', url: this.#at(path) });
    if (answer.status !== 404 && (answer.status < 200 || answer.status >= 300)) throw answered(answer);
  }

  /** Removes what writers left that died longer ago; gives how many. Called only when the feature `sweep` is promised. */
  sweep(ageSeconds) {
    return 0;
  }
}
