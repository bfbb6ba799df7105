// An etcd made up in memory, for tests: keys without history, and no leases, watches or transactions.
import { Database } from './database.js';
import { bytes } from './holdfast.js';

class Query {
  wanted = {};

  prefix(prefix) { this.wanted.prefix = prefix; }
  range(start, end) { Object.assign(this.wanted, { start, end }); }
  changedAfter(revision) { this.wanted.changedAfter = revision; }
  at() { throw new Error('a database in memory has no history'); }
  descending() { this.wanted.descending = true; }
  limit(rows) { this.wanted.limit = rows; }
  columns(keys, values, revisions) { this.wanted.columns = [keys, values, revisions]; }
}

const buffer = (of) => Buffer.from(of.buffer, of.byteOffset, of.byteLength);
const compare = (a, b) => Buffer.compare(buffer(a), buffer(b));

/** `entries` are keys and values, texts or bytes, written one after the other. */
export function memoryDatabase(entries) {
  let rows = [];
  let revision = 1n;
  const subject = {
    put(key, value, lease) {
      revision += 1n;
      const old = subject.get(key);
      rows = rows.filter((row) => row !== old);
      const createRevision = old?.createRevision ?? revision;
      rows.push({ key, value, createRevision, modRevision: revision, version: (old?.version ?? 0n) + 1n, lease });
      rows.sort((a, b) => compare(a.key, b.key));
      return revision;
    },
    get: (key) => rows.find((row) => compare(row.key, key) === 0),
    status: () => [['version', '3.6.0'], ['revision', String(revision)]],
    count: (query) => BigInt(matching(query).length),
    delete(query) {
      const gone = new Set(matching(query));
      if (gone.size > 0) revision += 1n;
      rows = rows.filter((row) => !gone.has(row));
      return BigInt(gone.size);
    },
    open(query) {
      const found = matching(query);
      return { next: () => batch(found.splice(0, 2), query.wanted.columns) };
    },
  };
  const matching = ({ wanted }) => {
    const found = rows.filter(({ key, modRevision }) =>
      compare(key.subarray(0, wanted.prefix?.length ?? 0), wanted.prefix ?? bytes('')) === 0
      && compare(key, wanted.start ?? bytes('')) >= 0
      && (!wanted.end?.length || compare(key, wanted.end) < 0)
      && modRevision > (wanted.changedAfter ?? 0n));
    if (wanted.descending) found.reverse();
    return found.slice(0, wanted.limit === undefined ? undefined : Number(wanted.limit));
  };
  for (const [key, value] of Object.entries(entries)) subject.put(bytes(key), bytes(value), 0n);
  return new Database(subject, Query);
}

function batch(rows, [keys, values, revisions]) {
  const column = (of, wanted) => {
    const parts = wanted ? rows.map(of) : [];
    let end = 0;
    return [new Uint8Array(Buffer.concat(parts)), Uint32Array.from(parts, (part) => (end += part.length))];
  };
  const integers = (of) => BigInt64Array.from(revisions ? rows.map(of) : []);
  const [keyBytes, keyEnds] = column((row) => row.key, keys);
  const [valueBytes, valueEnds] = column((row) => row.value, values);
  return {
    keys: keyBytes,
    keyEnds,
    values: valueBytes,
    valueEnds,
    createRevisions: integers((row) => row.createRevision),
    modRevisions: integers((row) => row.modRevision),
    versions: integers((row) => row.version),
    leases: integers((row) => row.lease),
  };
}
