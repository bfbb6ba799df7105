// The snapshot that a verifier looks into.
import { bytes } from './holdfast.js';
import { walk } from './rows.js';

/**
 * Wherever a query is asked for: { prefix, start, end, keyContains, valuePrefix, changedAfter, descending, limit, columns }. What is left
 * out does not narrow it; {} is every live key, ascending. `start` and `end` are keys in [start, end). `columns` is 'all', 'keys' or
 * 'keys-and-values': values that are left out are never read. The agent does all of this on the file: ask narrowly.
 */
export class Snapshot {
  #subject;
  #Query;

  constructor(subject, Query) {
    this.#subject = subject;
    this.#Query = Query;
  }

  #ask(wanted, use) {
    const query = new this.#Query();
    if (wanted.prefix !== undefined) query.prefix(bytes(wanted.prefix));
    if (wanted.start !== undefined || wanted.end !== undefined) query.range(bytes(wanted.start ?? ''), bytes(wanted.end ?? ''));
    if (wanted.keyContains !== undefined) query.keyContains(bytes(wanted.keyContains));
    if (wanted.valuePrefix !== undefined) query.valuePrefix(bytes(wanted.valuePrefix));
    if (wanted.changedAfter !== undefined) query.changedAfter(BigInt(wanted.changedAfter));
    if (wanted.descending) query.descending();
    if (wanted.limit !== undefined) query.limit(BigInt(wanted.limit));
    const { columns = 'all' } = wanted;
    query.columns(true, columns !== 'keys', columns === 'all');
    try {
      return use(query);
    } finally {
      query[Symbol.dispose]?.();
    }
  }

  /** Revisions are BigInts, as everything of 64 bits. */
  get revision() {
    return this.#subject.revision();
  }

  get liveKeys() {
    return Number(this.#subject.liveKeys());
  }

  /** A fact by name, e.g. `storage-version`; undefined when it is not known. */
  fact(name) {
    return this.#subject.fact(name);
  }

  /** One key: { key, value, createRevision, modRevision, version, lease }, or undefined. */
  get(key) {
    return this.#subject.get(bytes(key));
  }

  /** Is there such a key? Its value is not read. */
  contains(key) {
    const start = bytes(key);
    const end = new Uint8Array(start.length + 1);
    end.set(start);
    return this.totals({ start, end }).keys > 0;
  }

  /** { keys, keyBytes, valueBytes } of a query, summed up by the agent: no row crosses over. */
  totals(query = {}) {
    const { keys, keyBytes, valueBytes } = this.#ask(query, (asked) => this.#subject.totals(asked));
    return { keys: Number(keys), keyBytes: Number(keyBytes), valueBytes: Number(valueBytes) };
  }

  /** for (const row of snapshot.rows({ prefix: '/registry/pods/', columns: 'keys' })) … */
  *rows(query = {}) {
    yield* walk(this.#ask(query, (asked) => this.#subject.open(asked)));
  }
}
