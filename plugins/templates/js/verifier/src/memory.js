// A snapshot made up in memory, for tests: it answers every query as the agent does.
import { bytes } from './holdfast.js';
import { Snapshot } from './snapshot.js';

class Query {
  wanted = { columns: [true, true, true] };

  prefix(prefix) { this.wanted.prefix = prefix; }
  range(start, end) { Object.assign(this.wanted, { start, end }); }
  keyContains(needle) { this.wanted.keyContains = needle; }
  valuePrefix(prefix) { this.wanted.valuePrefix = prefix; }
  changedAfter(revision) { this.wanted.changedAfter = revision; }
  descending() { this.wanted.descending = true; }
  limit(rows) { this.wanted.limit = rows; }
  columns(keys, values, revisions) { this.wanted.columns = [keys, values, revisions]; }
}

const buffer = (of) => Buffer.from(of.buffer, of.byteOffset, of.byteLength);
const compare = (a, b) => Buffer.compare(buffer(a), buffer(b));
const beginsWith = (value, head) => compare(value.subarray(0, head.length), head) === 0;

/** `entries` are keys and values, texts or bytes, written one after the other. */
export function memorySnapshot(entries, { facts = {}, damagedAfter = Infinity } = {}) {
  const rows = Object.entries(entries).map(([key, value], index) => ({
    key: bytes(key),
    value: bytes(value),
    createRevision: BigInt(index + 2),
    modRevision: BigInt(index + 2),
    version: 1n,
    lease: 0n,
  }));
  rows.sort((a, b) => compare(a.key, b.key));

  const matching = ({ wanted }) => {
    const found = rows.filter(({ key, value, modRevision }) =>
      beginsWith(key, wanted.prefix ?? bytes(''))
      && compare(key, wanted.start ?? bytes('')) >= 0
      && (!wanted.end?.length || compare(key, wanted.end) < 0)
      && buffer(key).includes(buffer(wanted.keyContains ?? bytes('')))
      && beginsWith(value, wanted.valuePrefix ?? bytes(''))
      && modRevision > (wanted.changedAfter ?? 0n));
    if (wanted.descending) found.reverse();
    return found.slice(0, wanted.limit === undefined ? undefined : Number(wanted.limit));
  };

  const subject = {
    revision: () => BigInt(rows.length + 1),
    liveKeys: () => BigInt(rows.length),
    fact: (name) => facts[name],
    get: (key) => rows.find((row) => compare(row.key, key) === 0),
    totals: (query) => {
      const sum = (of) => BigInt(matching(query).reduce((total, row) => total + of(row), 0));
      return { keys: sum(() => 1), keyBytes: sum((row) => row.key.length), valueBytes: sum((row) => row.value.length) };
    },
    open(query) {
      const found = matching(query);
      let position = 0;
      // Two rows at once: what holds across small batches holds across large ones.
      return { next: () => {
        if (position >= damagedAfter && position < found.length) {
          // As the agent's error arrives.
          throw Object.assign(new Error('damaged'), { payload: { code: 'damaged', message: 'the file breaks off' } });
        }
        const part = found.slice(position, position + 2);
        position += part.length;
        return batch(part, query.wanted.columns);
      } };
    },
  };
  return new Snapshot(subject, Query);
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

