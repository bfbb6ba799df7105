// The restored etcd that a script works with.
import { bytes } from './holdfast.js';
import { walk } from './rows.js';

/**
 * Wherever a query is asked for: { prefix, start, end, changedAfter, at, descending, limit, columns }. What is left out does not narrow it;
 * {} is every live key, ascending. `start` and `end` are keys in [start, end); `at` is a revision. `columns` is 'all', 'keys' or
 * 'keys-and-values'.
 */
export class Database {
  #subject;
  #Query;

  constructor(subject, Query) {
    this.#subject = subject;
    this.#Query = Query;
  }

  /** The contract's own database, for what has no method here: leases, watches, transactions. */
  get contract() {
    return this.#subject;
  }

  #ask(wanted, use) {
    const query = new this.#Query();
    if (wanted.prefix !== undefined) query.prefix(bytes(wanted.prefix));
    if (wanted.start !== undefined || wanted.end !== undefined) query.range(bytes(wanted.start ?? ''), bytes(wanted.end ?? ''));
    if (wanted.changedAfter !== undefined) query.changedAfter(BigInt(wanted.changedAfter));
    if (wanted.at !== undefined) query.at(BigInt(wanted.at));
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

  /** What it says of itself, by name: `version`, `revision`, `db-size`, … */
  status() {
    return Object.fromEntries(this.#subject.status());
  }

  /** One key: { key, value, createRevision, modRevision, version, lease }, or undefined. */
  get(key) {
    return this.#subject.get(bytes(key));
  }

  count(query = {}) {
    return Number(this.#ask(query, (asked) => this.#subject.count(asked)));
  }

  /** for (const row of database.rows({ prefix: '/registry/pods/', columns: 'keys' })) … All rows are of one revision. */
  *rows(query = {}) {
    yield* walk(this.#ask(query, (asked) => this.#subject.open(asked)));
  }

  /** Sets a key; gives the revision. */
  put(key, value, lease = 0n) {
    return this.#subject.put(bytes(key), bytes(value), BigInt(lease));
  }

  /** Deletes the keys of a query; gives how many there were. */
  delete(query) {
    return Number(this.#ask(query, (asked) => this.#subject.delete(asked)));
  }
}
